"""Secrets are named and never written, nobody may read them by the chart's doing, and the parties share nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from chart.matrix import CHECKED, DOMAINS, MATRIX, Pod, Release, release, settings_of
from chart.rendering import notes, refusal

pytestmark = pytest.mark.chart
everywhere = pytest.mark.parametrize("name", MATRIX)

_SECRET = re.compile(r"password|passwd|secret|token|credential|private.?key|\.pem$|jaas", re.IGNORECASE)
_PATHS = {"property_files", "token_file", "key_file"}
"""Names that end like secrets, whose values are paths."""


@everywhere
def test_the_chart_makes_no_secret(name: str) -> None:
    """There is no Secret among the objects: Helm would keep a copy of it, and show it to whoever may read releases."""
    assert release(name).of("Secret") == []


@everywhere
def test_rbac_lets_nobody_read(name: str) -> None:
    """There is RBAC for the keys Job alone, in its namespace, and it may create Secrets and do nothing else."""
    found = release(name)
    assert found.of("ClusterRole", "ClusterRoleBinding") == []
    made = [pod for pod in found.pods() if pod.component == "keys"]
    assert len(found.of("Role")) == len(found.of("RoleBinding")) == len(made)
    for role in found.of("Role"):
        assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]
    for binding in found.of("RoleBinding"):
        (job,) = made
        (subject,) = binding["subjects"]
        assert binding["roleRef"]["kind"] == "Role"
        assert (subject["kind"], subject["name"]) == ("ServiceAccount", job.spec["serviceAccountName"])
        others = {pod.spec["serviceAccountName"] for pod in found.pods() if pod != job}
        assert subject["name"] not in others


@everywhere
def test_keys_are_made_only_where_that_is_chosen(name: str) -> None:
    """The Job that makes everyone's keys is there with keys.source=generate alone."""
    values = [one.get("keys", {}).get("source") for one in MATRIX[name].values]
    made = [pod for pod in release(name).pods() if pod.component == "keys"]
    assert bool(made) == ("generate" in values)


@everywhere
def test_settings_hold_no_secret(name: str) -> None:
    """No setting is a password, a token or a key; only paths of mounted files stand for them."""
    for of, settings in settings_of(release(name)).items():
        assert list(_secrets(settings)) == [], of
        properties = settings["kafka"]["properties"]
        assert properties.keys().isdisjoint({"sasl.password", "ssl.key.password", "ssl.key.pem"})
        for path in settings["kafka"].get("property_files", {}).values():
            assert path.startswith("/etc/evenstream/kafka/")


def _secrets(settings: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from () if name in _PATHS else _secrets(value, (*path, str(name)))
    elif path and _SECRET.search(path[-1]) and not path[-1].endswith(".location"):
        yield ".".join(path)


@everywhere
def test_config_maps_hold_settings_public_keys_and_dashboards_only(name: str) -> None:
    """Whatever is in a ConfigMap is one of these; PEM blocks and other key material are in none."""
    for one in release(name).of("ConfigMap"):
        if one["metadata"]["labels"] == {"of": "parent"}:
            continue
        (key,) = one["data"]
        assert key in ("settings.yaml", "trusted.json") or key.endswith(".json")
        assert "-----BEGIN" not in one["data"][key]
        assert "binaryData" not in one


@everywhere
def test_variables_hold_no_secret(name: str) -> None:
    """A dump of a container's environment tells paths and the number of a worker, and nothing of a Secret."""
    for pod in release(name).pods():
        assert "envFrom" not in pod.container
        for variable in pod.container.get("env", ()):
            assert not _SECRET.search(variable["name"]), (pod, variable["name"])
            if "valueFrom" in variable:
                (kind,) = variable["valueFrom"]
                assert kind == "fieldRef", (pod, variable["name"])
        assert not [word for word in pod.container["args"] if _SECRET.search(word) and word != "--as-secrets"]


def secrets(pod: Pod) -> set[str]:
    """The Secrets that a pod mounts."""
    found = set()
    for volume in pod.volumes.values():
        sources = [volume, *volume.get("projected", {}).get("sources", ())]
        found |= {
            source["secret"].get("secretName") or source["secret"]["name"] for source in sources if "secret" in source
        }
    return found  # fmt: skip


def holdings(found: Release, role: str) -> dict[str, set[str]]:
    """What a role has: Secrets, account, claims, ConfigMaps and Kafka's user, of its pods and of its hooks."""
    pods = [pod for pod in found.pods() if pod.component.split("-")[0] == role]
    assert pods
    config = {volume["configMap"]["name"] for pod in pods for volume in pod.volumes.values() if "configMap" in volume}
    users = {settings_of(found)[one]["kafka"]["properties"]["sasl.username"] for one in config}
    return {
        "secrets": {one for pod in pods for one in secrets(pod)},
        "accounts": {pod.spec["serviceAccountName"] for pod in pods},
        "claims": {
            volume["persistentVolumeClaim"]["claimName"]
            for pod in pods
            for volume in pod.volumes.values()
            if "persistentVolumeClaim" in volume
        },
        "settings": config,
        "users": users,
    }


_TOGETHER = ("trial", "everything", "everything, kept by names of its own", "the rest", "OpenShift")


@pytest.mark.parametrize("name", _TOGETHER)
def test_roles_of_one_release_share_nothing(name: str) -> None:
    """Even where all roles are in one release, no two share a Secret of theirs, an account, a claim or a user."""
    found = release(name)
    shared = {"kafka-ca", "fair-http", "fair-token"}  # public, or the release's own page
    held = {role: holdings(found, role) for role in CHECKED}
    for one in CHECKED:
        for other in CHECKED:
            if one < other:
                for what in held[one]:
                    assert held[one][what] & held[other][what] <= shared, (one, other, what)


def test_the_parties_releases_share_nothing() -> None:
    """As examples/helm installs them, a and b share no Secret, account, claim, volume or principal."""
    one, other = holdings(release("party-a"), "a"), holdings(release("party-b"), "b")
    assert one.keys() == other.keys()
    namespaces = {name: {x["metadata"]["namespace"] for x in release(name).objects} for name in ("party-a", "party-b")}
    assert namespaces == {"party-a": {"party-a"}, "party-b": {"party-b"}}
    assert one["users"].isdisjoint(other["users"])
    for what in one:
        # The authority of the brokers is public, and a copy of it lies in each namespace.
        assert one[what] - {"kafka-ca"} != set()
        assert (one[what] & other[what]) <= {"kafka-ca"}, what


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_names_no_other_role(domain: str) -> None:
    """A domain's release has nothing of a role of another domain's: no object, Secret, user or command."""
    others = {role for name, roles in DOMAINS.items() if name != domain for role in roles}
    found = release(domain)
    for pod in found.pods():
        assert pod.component.split("-")[0] in DOMAINS[domain]
    text = yaml.safe_dump([one for one in found.objects if "dashboard" not in one["metadata"]["name"]
                           and one["kind"] != "PrometheusRule"])  # fmt: skip
    for role in others:
        assert not re.search(rf"\bfair-(keys-|evenstream-)?{role}\b", text), role


def test_both_parties_only_on_purpose() -> None:
    """Both in one release are refused; with allowBothParties the notes warn, and warn of nothing in a lone party's."""
    base, *_ = MATRIX["only a"].values
    both = {"roles": {"a": {"enabled": True}, "b": {"enabled": True}}}
    told = refusal([base, both])
    assert "roles.a.enabled and roles.b.enabled are both true" in told
    assert "allowBothParties" in told
    warned = notes([base, both, {"allowBothParties": True}])
    assert "WARNING: allowBothParties is true" in warned
    assert "allowBothParties" not in notes(MATRIX["only a"].values)


def test_each_source_of_keys_is_mounted_alike() -> None:
    """Wherever keys come from, a role finds identity.key, state.key and trusted.json in its folder."""
    named = {
        "keys of existing Secrets": {"mine"},
        "keys by External Secrets": {"evenstream-keys-a", "fair-evenstream-trusted"},
        "keys by cert-manager": {
            f"fair-evenstream-{what}" for what in ("b-identity", "b-state", "publish-identity", "publish-state")
        }
        | {"fair-evenstream-trusted"},
        "trial": {f"fair-keys-{role}" for role in CHECKED},
    }  # fmt: skip
    for name, expected in named.items():
        met = set()
        for pod in release(name).roles():
            if pod.component == "retention":
                assert "keys" not in pod.volumes
                continue
            sources = [next(iter(one.values())) for one in pod.volumes["keys"]["projected"]["sources"]]
            assert sorted(item["path"] for source in sources for item in source["items"]) == [
                "identity.key",
                "state.key",
                "trusted.json",
            ]
            met |= {source["name"] for source in sources}
            (mount,) = [one for one in pod.container["volumeMounts"] if one["name"] == "keys"]
            assert mount["mountPath"] == f"/etc/evenstream/keys/{pod.component}"
        assert met == expected, name


def test_what_others_keep_is_what_pods_mount() -> None:
    """External Secrets and cert-manager are asked for the very Secrets that pods mount; keys are never made anew."""
    of_store = release("keys by External Secrets")
    (made,) = of_store.of("ExternalSecret")
    (pod,) = [one for one in of_store.roles() if one.component == "a"]
    assert made["spec"]["target"]["name"] in secrets(pod)
    assert {(one["remoteRef"]["key"], one["remoteRef"]["property"]) for one in made["spec"]["data"]} == {
        ("fair/a/keys", "identity.key"),
        ("fair/a/keys", "state.key"),
    }
    of_issuer = release("keys by cert-manager")
    certificates = of_issuer.of("Certificate")
    mounted = set().union(*(secrets(one) for one in of_issuer.roles())) - {"evenstream-b", "evenstream-publish"}
    assert {one["spec"]["secretName"] for one in certificates} == mounted
    for one in certificates:
        assert one["spec"]["privateKey"] == {"algorithm": "Ed25519", "encoding": "PKCS8", "rotationPolicy": "Never"}
