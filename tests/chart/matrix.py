"""The values that the chart is tried with: each domain, each choice of keys, of security, of monitoring, and all.

Every entry is rendered once a run. ``release`` gives what the tests ask of: its objects, and its pods with who makes
them. An entry is a list of values files, of which the later win, as people give them to Helm.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from chart.domains import DOMAINS, EXAMPLES, WITH_KEYS
from chart.rendering import CHART, Values, refusal, render

ROLES = ("seal", "attach", "a", "b", "publish", "retention")
CHECKED = WITH_KEYS
"""Those that hold keys, answer probes and have metrics."""

DIGEST = "sha256:" + "0" * 64
BASE: Values = {
    "image": {"repository": "registry.example/evenstream", "digest": DIGEST},
    "kafka": {"bootstrap": "kafka:9093"},
}
"""The least that every release needs."""

_ALL = {"allowBothParties": True, "roles": {role: {"enabled": True} for role in ROLES}}
_STRIMZI = {"strimzi": {"enabled": True, "cluster": "my-kafka"}}
_TLS_KAFKA = {"kafka": {"tls": {"caSecret": "kafka-ca", "caKey": "ca.pem"}, "auth": {
    "type": "tls", "certificateKey": "tls.crt", "privateKeyKey": "tls.key"}}}  # fmt: skip
_HTTP = {"http": {"tlsSecret": "fair-http", "tokenSecret": "fair-token"}}
_WORKERS = {"roles": {"seal": {"replicas": 3}, "attach": {"replicas": 2}}, "persistence": {
    "accessModes": ["ReadWriteMany"], "storageClassName": "shared",
}}  # fmt: skip
_OPERATED = {
    "imagePullSecrets": [{"name": "registry"}],
    "podDefaults": {
        "podAnnotations": {"example.org/team": "fairness"},
        "podLabels": {"example.org/cost": "7"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "only", "operator": "Equal", "value": "fairness", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
        ]}}},
        "priorityClassName": "high",
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraVolumes": [{"name": "more", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "terminationGracePeriodSeconds": 45,
    },
    "roles": {
        "attach": {"pod": {"podAnnotations": {"example.org/role": "attach"}, "priorityClassName": "highest",
                           "extraEnv": [{"name": "MALLOC_ARENA_MAX", "value": "2"}]}},
        "publish": {"service": {"port": 80, "annotations": {"example.org/page": "fairness"}}},
    },
}  # fmt: skip
_WATCHED = {
    "monitoring": {
        "interval": "15s",
        "tlsConfig": {"ca": {"secret": {"name": "fair-http", "key": "ca.crt"}}},
        "labels": {"release": "prometheus", "team": "fairness"},
        "rules": {
            "enabled": True,
            "selector": {"deployment": "fair"},
            "labels": {"team": "fairness"},
            "runbooks": "https://example.org/runbooks",
            "alerts": {"EvenstreamMetricsStale": {"threshold": 5, "for": "10m"}},
        },
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "evenstream"}},
    }
}
_NARROW = {
    "networkPolicy": {
        "kafka": {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [9093, 9094]},
        "dns": {"to": [{"namespaceSelector": {"matchLabels": {"dns": "yes"}}}], "ports": [53, 5353]},
        "pageFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
        "apiServer": {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [8443]},
    }
}

_LARGE = {"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"memory": "4Gi", "cpu": 4}}
_SPREAD = [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]
_REST = {
    "image": {"pullPolicy": "Always"},
    "kafka": {
        "properties": {"socket.keepalive.enable": "true"},
        "auth": {"type": "scram-sha-256", "passwordKey": "secret.txt"},
    },
    "keys": {"generate": {"reviewers": 5}},
    "operator": {"kafka": {"existingSecret": "on-call", "username": "on-call@shop"}},
    "persistence": {"size": "2Gi"},
    "podDefaults": {"topologySpreadConstraints": _SPREAD},
    "preflight": {"timeoutSeconds": 60},
    "test": {"waitSeconds": 0},
    "networkPolicy": {"metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
    "monitoring": {"dashboards": {"enabled": True, "labels": {"board": "yes"}}},
    "roles": {
        role: {
            "resources": _LARGE,
            "pod": {"podLabels": {"example.org/of": role}, "topologySpreadConstraints": []},
            "settings": {"logging": {"format": "text"}},
        }
        for role in ROLES
    },
}
"""What no other entry sets."""


@dataclass(frozen=True)
class Entry:
    """Values files, and how the chart is installed with them.

    Attributes:
        namespace: of the release. parent: values of a parent chart's, in which the chart is a dependency.
    """

    values: tuple[Values, ...]
    namespace: str = "fairness"
    parent: Values | None = None


def _role(*roles: str, **more: Any) -> dict[str, Any]:
    return {"roles": {role: {"enabled": True, **more} for role in roles}}


def file(name: str) -> Values:
    """One values file of ``examples/helm``."""
    found: Values = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    return found


def _keys(source: str, **more: Any) -> Values:
    return {"keys": {"source": source, "trusted": '{"identities": {}}', **more}}


_STORE = {
    "externalSecret": {
        "remoteKey": "fair/ROLE/keys",
        "refreshInterval": "5m",
        "storeRef": {"name": "vault", "kind": "ClusterSecretStore"},
    }
}
_ISSUER = {"certManager": {"issuerRef": {"name": "any", "kind": "ClusterIssuer"}}}

_TRUSTED = {"keys": {"trusted": '{"identities": {}}'}}

MATRIX: Mapping[str, Entry] = {
    "minimal": Entry((BASE, _role("retention"))),
    **{f"only {role}": Entry((BASE, _role(role))) for role in CHECKED},
    **{name: Entry((file("common"), file(name), _TRUSTED), name) for name in DOMAINS},
    "kafka's own namespace": Entry((file("common"), file("kafka")), "kafka"),
    "trial": Entry((file("common"), file("trial"))),
    "trial beside Strimzi": Entry((file("common"), file("trial"), _STRIMZI, {"strimzi": {"topics": False}})),
    "everything": Entry((BASE, _ALL, _WORKERS, _OPERATED, _WATCHED, _HTTP, _NARROW, {
        "keys": {"trustedConfigMap": "everyone"},
        "topics": {"create": True},
        "settings": {"topics": {"partitions": 8}, "seal": {"commit_interval_seconds": 2.0}},
    })),
    "everything, kept by names of its own": Entry((BASE, _ALL, {
        "nameOverride": "monitor", "fullnameOverride": "fairness-monitor", "deployment": "shop-eu",
        "roles": {role: {"kafka": {"existingSecret": f"{role}-user", "username": f"{role}@shop"}} for role in ROLES},
    }, {"roles": {role: {"keys": {"existingSecret": f"{role}-keys"}} for role in CHECKED}},
       {"roles": {role: {"existingClaim": f"claim-{role}"} for role in CHECKED[:-1]}})),
    "the rest": Entry((BASE, _ALL, _REST, {"topics": {"create": True}, "keys": {"source": "generate"}, "roles": {
        role: {"accessModes": ["ReadWriteOncePod"]} for role in ("seal", "attach")}})),
    "Strimzi": Entry((_STRIMZI,), "kafka"),
    "Strimzi, certificates": Entry((_STRIMZI, {"strimzi": {"authentication": "tls"}}), "kafka"),
    "Strimzi, topics alone": Entry((_STRIMZI, {"strimzi": {"users": False}}), "kafka"),
    "Strimzi, a party's user": Entry((_STRIMZI, {"strimzi": {"topics": False, "principals": ["a"]}}), "kafka"),
    "Kafka by certificates": Entry((BASE, _role("seal", "attach"), _TLS_KAFKA)),
    "Kafka by plain passwords": Entry((BASE, _role("seal"), {"kafka": {"auth": {"type": "plain"}}})),
    "Kafka without security": Entry((BASE, _role("publish"), {"kafka": {"auth": {"type": "none"}, "tls": {
        "enabled": False}}})),
    "HTTP by TLS and token": Entry((BASE, _role("attach", "publish"), _HTTP)),
    "HTTP by token": Entry((BASE, _role("publish"), {"http": {"tokenSecret": "fair-token"}})),
    "OpenShift": Entry((file("common"), file("trial"), {"openshift": True, "networkPolicy": {"dns": {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}],
        "ports": [5353]}}})),
    "keys of existing Secrets": Entry((BASE, _role("seal"), {"roles": {"seal": {"keys": {"existingSecret": "mine"}}}})),
    "keys by External Secrets": Entry((BASE, _role("a", "retention"), _keys("externalSecret", **_STORE))),
    "keys by cert-manager": Entry((BASE, _role("b", "publish"), _keys("certManager", **_ISSUER))),
    "ServiceMonitor": Entry((BASE, _role("publish"), {"monitoring": {"scrape": "serviceMonitor"}}, _HTTP)),
    "annotations": Entry((BASE, _role("seal", "publish"), {"monitoring": {"scrape": "annotations"}})),
    "unwatched": Entry((BASE, _role("seal"), {"monitoring": {"scrape": "none"}})),
    "rules and dashboards alone": Entry((_WATCHED,), "monitoring"),
    "several workers": Entry((BASE, _role("seal", "attach"), _WORKERS)),
    "no policies, no budgets, no checks": Entry((BASE, _role("seal", "retention"), {
        "networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False},
        "preflight": {"enabled": False}, "persistence": {"keep": False}})),
    "subchart": Entry((), parent={"global": {"imageRegistry": "registry.example"}, "evenstream": {
        **BASE, **_role("seal"), "enabled": True, "global": {"team": "fairness"}}}),
    "subchart switched off": Entry((), parent={"evenstream": {"enabled": False}}),
}  # fmt: skip
"""Name -> what is given to Helm. Few of them say more than what is tried by them."""

UNSECURED = {"no policies, no budgets, no checks"}
"""Where the operator has switched network policies off."""


@dataclass(frozen=True)
class Pod:
    """One pod that a release makes, whoever makes it.

    Attributes:
        kind: StatefulSet, Deployment, Job, or Pod. hook: when, such as "test"; empty: it is part of the release.
    """

    kind: str
    name: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    hook: str

    @property
    def component(self) -> str:
        """The role, or what the hook is for."""
        return self.labels["app.kubernetes.io/component"]

    @property
    def container(self) -> Mapping[str, Any]:
        """Its only container."""
        assert not self.spec.get("initContainers")
        assert not self.spec.get("ephemeralContainers")
        (found,) = self.spec["containers"]
        return dict(found)

    @property
    def volumes(self) -> dict[str, Mapping[str, Any]]:
        """By name."""
        found = {volume["name"]: volume for volume in self.spec["volumes"]}
        assert len(found) == len(self.spec["volumes"]), f"{self.name}: two volumes of one name"
        return found

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Release:
    """What Helm makes of an entry."""

    name: str
    objects: Sequence[dict[str, Any]] = field(repr=False)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Objects of some kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """An object that is there once."""
        (found,) = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        return found

    def pods(self) -> list[Pod]:
        """Of everything that makes pods, hooks too; a kind that makes some and is not read here is an error."""
        strange = {one["kind"] for one in self.of("DaemonSet", "CronJob", "ReplicaSet", "ReplicationController")}
        assert not strange, f"{strange}: teach Release.pods to read them"
        found = [_pod(one) for one in self.of("StatefulSet", "Deployment", "Job", "Pod")]
        return sorted(found, key=str)

    def roles(self) -> list[Pod]:
        """The pods that run as long as the release does."""
        return [pod for pod in self.pods() if not pod.hook]


def _pod(one: Mapping[str, Any]) -> Pod:
    meta = one["metadata"]
    template = one if one["kind"] == "Pod" else one["spec"]["template"]
    of = template["metadata"]
    hook = hooks_of(one)
    return Pod(
        one["kind"], meta["name"], meta["namespace"], of["labels"], of.get("annotations", {}), template["spec"], hook
    )


def hooks_of(one: Mapping[str, Any]) -> str:
    """When Helm makes this object, where it is a hook: comma-separated."""
    return str(one["metadata"].get("annotations", {}).get("helm.sh/hook", ""))


def settings_of(release: Release) -> dict[str, Mapping[str, Any]]:
    """Each settings file that a release mounts somewhere, by the name of its ConfigMap."""
    return {
        one["metadata"]["name"]: yaml.safe_load(one["data"]["settings.yaml"])
        for one in release.of("ConfigMap")
        if "settings.yaml" in one["data"]
    }


@cache
def release(name: str) -> Release:
    """An entry of the matrix, rendered."""
    entry = MATRIX[name]
    if entry.parent is None:
        return Release(name, render(entry.values, namespace=entry.namespace))
    with parent_chart() as chart:
        return Release(name, render(entry.parent, namespace=entry.namespace, chart=Path(chart)))


def parent_chart() -> tempfile.TemporaryDirectory[str]:
    """A chart of a company's own, in which evenstream is a dependency that a value switches on and off."""
    folder = tempfile.TemporaryDirectory(prefix="parent-")
    chart = Path(folder.name)
    dependency = {"name": "evenstream", "version": "0.x", "condition": "evenstream.enabled"}
    meta = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(meta))
    (chart / "templates").mkdir()
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "own", "namespace": "{{ .Release.Namespace }}", "labels": {"of": "parent"}}, "data": {}}  # fmt: skip
    (chart / "templates" / "own.yaml").write_text(yaml.safe_dump(own))
    shutil.copytree(CHART, chart / "charts" / "evenstream")
    return folder


__all__ = ["BASE", "CHECKED", "DOMAINS", "MATRIX", "ROLES", "Entry", "Pod", "Release", "refusal", "release"]
