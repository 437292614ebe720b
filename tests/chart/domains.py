"""Five domains and a Kafka cluster, deployed as docs/deploy.md says it: each release in a namespace of its own.

What people and operators of other software do between the commands of that page is done here as they would: Strimzi's
user operator makes users and their ACLs of KafkaUser resources, and somebody copies each password to its role's own
namespace. Keys are made by `evenstream keys make`, one domain at a time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from chart.cluster import CHART, Cluster
from chart.pod_process import REPOSITORY, Json
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from streams.kafka import acls, topics
from streams.kafka.dev_broker import BrokerProcess
from streams.kafka.dev_security import ADMIN, BrokerSecurity, client_file
from streams.settings import Settings, load_settings

EXAMPLES = REPOSITORY / "examples" / "helm"
CRDS = Path(__file__).parent / "crds"
DEPLOYMENT = "fair"
DOMAINS = {
    "recommender": ("seal",),
    "estimator": ("attach",),
    "party-a": ("a",),
    "party-b": ("b",),
    "publisher": ("publish", "retention"),
}
"""Namespace, which is also the name of its values file -> its roles."""

WITH_KEYS = ("seal", "attach", "a", "b", "publish")
"""Those that hold keys, answer probes and have metrics."""

_OPERATIONS = {name.title().replace("_", ""): operation for name, operation in AclOperation.__members__.items()}
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}


def evenstream(*arguments: str) -> str:
    """What a person's command prints."""
    command = [str(Path(sys.prefix) / "bin" / "evenstream"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Deployment:
    """What all of it stands on.

    Args:
        bootstrap: the brokers' address. authority: PEM, by which they are known.
        further: values over those of the examples, as ``name=value``.
    """

    cluster: Cluster
    folder: Path
    bootstrap: str
    authority: bytes
    further: tuple[str, ...] = ()
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def trusted(self) -> Path:
        """Everyone's public keys."""
        return self.folder / "trusted.json"

    def make_namespaces(self) -> None:
        """One a domain, and the one of the Kafka cluster; none takes a pod beyond `restricted`."""
        for name in ("kafka", *DOMAINS):
            self.cluster.make_namespace(name)
        self.cluster.kubectl("apply", "--server-side", "--filename", str(CRDS))
        self.cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")

    def make_keys(self) -> None:
        """Each domain its own, and trusted.json of what they hand out."""
        public = []
        for who in (*WITH_KEYS, "governance", "operator"):
            place = self.folder / "keys" / who
            evenstream("--set", f"deployment={DEPLOYMENT}", "--set", f"keys.dir={place}", "keys", "make", who)
            public.append(str(place / who / "public.json"))
        threshold = ("--set", "keys.governance_threshold=1", "--set", f"deployment={DEPLOYMENT}")
        evenstream(*threshold, "keys", "trust", *public, "--out", str(self.trusted))

    def keep_keys(self) -> None:
        """Put each role's keys into a Secret of its own namespace."""
        for namespace, roles in DOMAINS.items():
            self.cluster.make_secret(namespace, "kafka-ca", ca__crt=self.authority)
            for role in set(roles) & set(WITH_KEYS):
                folder = self.folder / "keys" / role / role
                self.cluster.make_secret(
                    namespace,
                    f"{DEPLOYMENT}-keys-{role}",
                    identity__key=(folder / "identity.key").read_bytes(),
                    state__key=(folder / "state.key").read_bytes(),
                )
        self.cluster.make_secret("kafka", "kafka-ca", ca__crt=self.authority)

    def arguments(self, namespace: str, *further: str) -> list[str]:
        """Of `helm install` and `helm upgrade`, for one domain's release."""
        values = ["--values", str(EXAMPLES / "common.yaml"), "--values", str(EXAMPLES / f"{namespace}.yaml")]
        chosen = [f"kafka.bootstrap={self.bootstrap.replace(',', chr(92) + ',')}", *self.further, *further]
        sets = [part for one in chosen for part in ("--set", one)]
        return [
            DEPLOYMENT, str(CHART), "--namespace", namespace, *values, *sets,
            "--set-file", f"keys.trusted={self.trusted}", "--wait", "--timeout", "120s",
        ]  # fmt: skip

    def install(self, namespace: str, *further: str) -> str:
        """`helm install` of one domain."""
        self.values[namespace] = further
        return self.cluster.helm("install", *self.arguments(namespace, *further))

    def upgrade(self, namespace: str, *further: str) -> str:
        """`helm upgrade` of one domain."""
        self.values[namespace] = further
        return self.cluster.helm("upgrade", *self.arguments(namespace, *further))

    def hooks(self, namespace: str, release: str = DEPLOYMENT) -> list[Json]:
        """The hooks of a release, as Helm sends them."""
        text = self.cluster.helm("get", "hooks", release, "--namespace", namespace)
        return [one for one in yaml.safe_load_all(text) if one]


@dataclass
class Brokers:
    """A secured broker, and what Strimzi's operators would do on it."""

    process: BrokerProcess
    security: BrokerSecurity
    folder: Path
    overrides: Sequence[str]

    def make_users(self, users: Sequence[Json]) -> None:
        """Of KafkaUser resources: users with passwords, and their ACLs."""
        names = [user["metadata"]["name"] for user in users]
        self.security.add_users(self.process.bootstrap, [*names])
        acls.create(self.settings_of(ADMIN), [binding for user in users for binding in _bindings(user)])

    def password(self, user: str) -> str:
        """A user's, as Strimzi keeps it in a Secret."""
        return self.security.properties(user)["sasl.password"]

    def settings_of(self, user: str, *further: str) -> Settings:
        """Settings of a person's command under one user."""
        return load_settings(self.config_of(user, *further), [], environment={})

    def config_of(self, user: str, *further: str) -> Path:
        """The same as a file."""
        path = self.folder / f"{user}.yaml"
        overrides = [f"kafka.bootstrap={self.process.bootstrap}", *self.overrides, *further]
        path.unlink(missing_ok=True)
        client_file(path, overrides, self.security.properties(user))
        return path

    def make_inputs(self) -> None:
        """The company's own topics."""
        settings = self.settings_of(ADMIN)
        topics.create(settings, topics.input_plan(settings, settings.sources()))


def _bindings(user: Json) -> list[AclBinding]:
    """A KafkaUser's ACLs, as Strimzi's operator gives them to Kafka."""
    assert user["spec"]["authorization"]["type"] == "simple"
    return [
        AclBinding(
            _RESOURCES[rule["resource"]["type"]],
            rule["resource"]["name"],
            {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}[
                rule["resource"]["patternType"]
            ],
            f"User:{user['metadata']['name']}",
            rule["host"],
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for rule in user["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
    ]
