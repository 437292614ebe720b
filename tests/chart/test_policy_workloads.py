"""Workloads as an operator expects them: singletons, selectors, what restarts whom, hooks in order, labels, scaling."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.matrix import BASE, CHECKED, MATRIX, ROLES, hooks_of, release
from chart.rendering import CHART, render
from chart.test_policy_network import selects

pytestmark = pytest.mark.chart
everywhere = pytest.mark.parametrize("name", MATRIX)

_ALL: Mapping[str, Any] = {
    **BASE, "allowBothParties": True, "roles": {role: {"enabled": True} for role in ROLES}
}  # fmt: skip


@everywhere
def test_roles_are_stateful_sets(name: str) -> None:
    """Every role is a StatefulSet, of which two pods of one number never run; a, b and publish have one pod, always."""
    for one in release(name).of("StatefulSet"):
        role = one["metadata"]["labels"]["app.kubernetes.io/component"]
        workers = {"everything": {"seal": 3, "attach": 2}, "several workers": {"seal": 3, "attach": 2}}.get(name, {})
        assert one["spec"]["replicas"] == workers.get(role, 1)
        assert one["spec"]["podManagementPolicy"] == "Parallel"
        assert one["spec"]["updateStrategy"] == {"type": "RollingUpdate"}
        assert role in CHECKED
    for one in release(name).of("Deployment"):
        assert one["metadata"]["labels"]["app.kubernetes.io/component"] == "retention"
        assert one["spec"]["replicas"] == 1
        assert one["spec"]["strategy"] == {"type": "Recreate"}


@everywhere
def test_a_worker_s_number_is_its_pod_s(name: str) -> None:
    """seal and attach read their shard from the label that Kubernetes gives their pods; nobody else has one."""
    for pod in release(name).pods():
        shards = [one for one in pod.container.get("env", ()) if one["name"].endswith("__SHARD")]
        if pod.hook or pod.component not in ("seal", "attach"):
            assert shards == []
            continue
        (shard,) = shards
        assert shard == {
            "name": f"EVENSTREAM_{pod.component.upper()}__SHARD",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
        }


@everywhere
def test_workers_share_their_folder_of_keys(name: str) -> None:
    """Several workers have one claim, which several nodes can mount; claims are kept, unless values say no."""
    found = release(name)
    for one in found.of("StatefulSet"):
        assert "volumeClaimTemplates" not in one["spec"]
        if one["spec"]["replicas"] > 1:
            claim = found.one("PersistentVolumeClaim", one["metadata"]["name"])
            assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for claim in found.of("PersistentVolumeClaim"):
        kept = claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        assert kept == (name != "no policies, no budgets, no checks")


@everywhere
def test_nothing_scales_by_itself(name: str) -> None:
    """No autoscaler: who has which partition is decided by the signed layout, and not by a number of replicas."""
    assert release(name).of("HorizontalPodAutoscaler", "VerticalPodAutoscaler", "ScaledObject", "ScaledJob") == []


@everywhere
def test_selectors_select_one_component(name: str) -> None:
    """Services, budgets, monitors, workloads: each selects the pods of one role, and none a hook's or a test's."""
    found = release(name)
    kinds = ("Service", "PodDisruptionBudget", "PodMonitor", "StatefulSet", "Deployment")
    for one in found.of(*kinds):
        selector = one["spec"]["selector"]
        selector = {"matchLabels": selector} if one["kind"] == "Service" else selector
        met = [pod for pod in found.pods() if selects(selector, pod.labels)]
        assert len(met) == 1, (one["kind"], one["metadata"]["name"], [str(pod) for pod in met])
        assert not met[0].hook
        expected = one["metadata"]["labels"]["app.kubernetes.io/component"]
        assert met[0].component == {"page": "publish"}.get(expected, expected)
    for one in found.of("ServiceMonitor"):
        services = [
            other for other in found.of("Service") if selects(one["spec"]["selector"], other["metadata"]["labels"])
        ]
        assert len(services) == 1, "a role that two Services name would be scraped twice"
    for pod in found.pods():
        for constraint in pod.spec.get("topologySpreadConstraints", ()):
            assert selects(constraint["labelSelector"], pod.labels)
            assert constraint["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == pod.component


def test_two_releases_in_a_namespace_select_their_own() -> None:
    """Selectors name the release: those of another release in the same namespace select none of its pods."""
    values = MATRIX["only seal"].values
    one, other = render(values, name="one"), render(values, name="other")
    pods = [set_["spec"]["template"]["metadata"]["labels"] for set_ in other if set_["kind"] == "StatefulSet"]
    for found in one:
        selector = found.get("spec", {}).get("selector") or found.get("spec", {}).get("podSelector")
        if selector:
            selector = {"matchLabels": selector} if found["kind"] == "Service" else selector
            assert not any(selects(selector, labels) for labels in pods), found["metadata"]["name"]


@everywhere
def test_budgets_let_one_go(name: str) -> None:
    """Each checked role has a budget that lets one pod go: none would block every drain of a node."""
    found = release(name)
    expected = [] if name == "no policies, no budgets, no checks" else [
        pod.component for pod in found.roles() if pod.component in CHECKED]  # fmt: skip
    budgets = found.of("PodDisruptionBudget")
    assert sorted(one["metadata"]["labels"]["app.kubernetes.io/component"] for one in budgets) == sorted(expected)
    for one in budgets:
        assert (one["spec"]["maxUnavailable"], one["spec"].get("minAvailable")) == (1, None)


@everywhere
def test_services_name_pods(name: str) -> None:
    """A StatefulSet's Service is there, has no address of its own, and names pods that are not ready as well."""
    found = release(name)
    for one in found.of("StatefulSet"):
        service = found.one("Service", one["spec"]["serviceName"])["spec"]
        assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
        assert service["ports"] == [{"name": "http", "port": 9100, "targetPort": "http"}]
    for service in found.of("Service"):
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP", "nothing is open to beyond the cluster"


@everywhere
def test_scraping_is_by_one_way(name: str) -> None:
    """Each checked role is found by Prometheus in the one way that values name; the token and TLS are named with it."""
    found = release(name)
    roles = {pod.component for pod in found.roles() if pod.component in CHECKED}
    annotated = {pod.component for pod in found.roles() if pod.annotations.get("prometheus.io/scrape") == "true"}
    monitors = {kind: found.of(kind) for kind in ("PodMonitor", "ServiceMonitor")}
    by = {
        kind: {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in of} for kind, of in monitors.items()
    }
    way = {"ServiceMonitor": "ServiceMonitor", "annotations": "annotations", "unwatched": ""}.get(name, "PodMonitor")
    for kind, met in {**by, "annotations": annotated}.items():
        assert met == (roles if kind == way else set())
    for one in monitors["PodMonitor"] + monitors["ServiceMonitor"]:
        assert one["metadata"]["labels"]["release"] == (
            "prometheus" if name == "everything" else "kube-prometheus-stack"
        )
        (endpoint,) = one["spec"].get("podMetricsEndpoints") or one["spec"]["endpoints"]
        secured = name in ("everything", "HTTP by TLS and token", "ServiceMonitor")
        assert endpoint["scheme"] == ("https" if secured else "http")
        token = {"type": "Bearer", "credentials": {"name": "fair-token", "key": "token"}}
        assert endpoint.get("authorization") == (token if secured or name == "HTTP by token" else None)


@everywhere
def test_labels(name: str) -> None:
    """Every object has the recommended labels; pods have those that no version of the chart would change."""
    of_all = {"name", "instance", "component", "version", "part-of", "managed-by"}
    for one in release(name).objects:
        labels = one["metadata"]["labels"]
        if labels == {"of": "parent"}:
            continue
        assert labels.keys() >= {f"app.kubernetes.io/{word}" for word in of_all} | {"helm.sh/chart"}, one["metadata"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert re.fullmatch(r"evenstream-\d+\.\d+\.\d+\S*", labels["helm.sh/chart"])
    for pod in release(name).pods():
        if pod.kind != "Pod":
            changing = {"app.kubernetes.io/version", "helm.sh/chart"}
            assert pod.labels.keys().isdisjoint(changing)


def _restarting(values: Any, **more: Any) -> dict[str, Any]:
    """By role, what makes a StatefulSet or Deployment replace its pods where it changes."""
    return {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"]
        for one in render(values, **more)
        if one["kind"] in ("StatefulSet", "Deployment")
    }


_CHANGES: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "a setting of one role": ({"roles": {"seal": {"settings": {"seal": {"commit_interval_seconds": 7}}}}}, ("seal",)),
    "one role's user": ({"roles": {"b": {"kafka": {"username": "other"}}}}, ("b",)),
    "a setting of all": ({"settings": {"topics": {"partitions": 9}}}, ROLES),
    "the brokers": ({"kafka": {"bootstrap": "other:9093"}}, ROLES),
    "everyone's public keys": ({"keys": {"trusted": '{"identities": {}}'}}, CHECKED),
    "a page's peers": ({"networkPolicy": {"pageFrom": [{"podSelector": {}}]}}, ()),
    "labels of monitors": ({"monitoring": {"labels": {"release": "other"}, "rules": {"enabled": True}}}, ()),
    "more workers": ({"roles": {"seal": {"replicas": 3, "accessModes": ["ReadWriteMany"]}}}, ()),
    "checks before an upgrade": ({"preflight": {"enabled": False}, "topics": {"create": True}}, ()),
    "a budget": ({"podDisruptionBudget": {"enabled": False}}, ()),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_only_what_must_restarts(change: str) -> None:
    """Each change of values changes the pods of the roles that it is of, and of no others."""
    values, expected = _CHANGES[change]
    before, after = _restarting(_ALL), _restarting([_ALL, values])
    assert before.keys() == after.keys()
    assert {role for role in before if before[role] != after[role]} == set(expected)


def test_checksums_change_with_settings_only() -> None:
    """A role's checksum is of its own settings: a change elsewhere in its pod leaves it, a change in them does not."""

    def sums(values: Any) -> dict[str, str]:
        return {role: of["metadata"]["annotations"]["checksum/settings"] for role, of in _restarting(values).items()}

    before = sums(_ALL)
    assert sums([_ALL, {"podDefaults": {"priorityClassName": "high"}}]) == before
    changed = sums([_ALL, {"roles": {"publish": {"settings": {"logging": {"format": "text"}}}}}])
    assert {role for role in before if before[role] != changed[role]} == {"publish"}
    assert len(set(before.values())) == len(ROLES)


def test_a_new_version_of_the_chart_restarts_nobody(tmp_path: Path) -> None:
    """With another version of chart and application, no pod template changes; labels of others do."""
    newer = tmp_path / "evenstream"
    shutil.copytree(CHART, newer)
    meta = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump({**meta, "version": "9.9.9", "appVersion": "9.9.9"}))
    assert _restarting(_ALL, chart=newer) == _restarting(_ALL)
    assert render(_ALL, chart=newer) != render(_ALL)


def test_names_that_cannot_change_do_not() -> None:
    """Fields of a StatefulSet and a claim that Kubernetes never lets change depend on release and role alone."""

    def fixed(values: Any) -> Any:
        objects = copy.deepcopy([one for one in render(values) if one["kind"] in ("StatefulSet", "Deployment")])
        return [(o["metadata"]["name"], o["spec"]["selector"], o["spec"].get("serviceName")) for o in objects]

    more = [values for values, _ in _CHANGES.values()]
    assert fixed([_ALL, *more, {"deployment": "other"}]) == fixed(_ALL)


@everywhere
def test_hooks_come_in_order(name: str) -> None:
    """What a hook's Job stands on is made before it, in the same phases; every hook says when it is taken away."""
    found = release(name)
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in found.objects}
    for one in found.objects:
        if hooks_of(one):
            policy = one["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(",")
            assert "before-hook-creation" in policy, "the next upgrade would fail on what is there already"
            assert "hook-succeeded" in policy, "uninstalling would leave it"
    for job in found.of("Job"):
        weight, phases = _weight(job), set(hooks_of(job).split(","))
        assert phases, "a Job that is no hook cannot be upgraded"
        spec = job["spec"]["template"]["spec"]
        needed = [("ServiceAccount", spec["serviceAccountName"])]
        for volume in spec["volumes"]:
            sources = [volume, *volume.get("projected", {}).get("sources", ())]
            needed += [("ConfigMap", source["configMap"]["name"]) for source in sources if "configMap" in source]
        for kind, needed_name in needed:
            if needed_name in ("kube-root-ca.crt", "everyone"):
                continue  # Kubernetes' own, and the operator's
            base = by_name[kind, needed_name]
            assert phases <= set(hooks_of(base).split(",")), (job["metadata"]["name"], needed_name)
            assert _weight(base) < weight


def _weight(one: Mapping[str, Any]) -> int:
    return int(one["metadata"]["annotations"]["helm.sh/hook-weight"])


def test_what_runs_before_and_after() -> None:
    """Keys, then topics, then a check as each role, then fewer workers; after all, more workers."""
    jobs = {job["metadata"]["name"].removeprefix("fair-evenstream-"): job for job in release("everything").of("Job")}
    jobs["keys"] = release("trial").one("Job", "fair-evenstream-keys")
    order = sorted((name for name in jobs if "pre-install" in hooks_of(jobs[name])), key=lambda one: _weight(jobs[one]))
    assert order[:2] == ["keys", "operator-topics"]
    assert sorted(order[2:]) == sorted(f"{role}-doctor" for role in ROLES)
    for role in ("seal", "attach"):
        down, up = jobs[f"{role}-scale-down"], jobs[f"{role}-scale-up"]
        assert hooks_of(down) == "pre-upgrade,pre-rollback"
        assert hooks_of(up) == "post-install,post-upgrade,post-rollback"
        assert _weight(down) > _weight(jobs[f"{role}-doctor"])
        workers = {"seal": "3", "attach": "2"}[role]
        assert down["spec"]["template"]["spec"]["containers"][0]["args"] == ["scale", role, workers, "--at-most"]
        assert up["spec"]["template"]["spec"]["containers"][0]["args"] == ["scale", role, workers]


@everywhere
def test_what_a_release_makes_is_not_needed_before_it(name: str) -> None:
    """Checks come before an install; but where the release itself brings Kafka users or keys, after it."""
    strimzi: dict[str, Any] = {"enabled": False, "users": True}
    source = "existingSecret"
    for values in MATRIX[name].values:
        strimzi |= values.get("strimzi", {})
        source = values.get("keys", {}).get("source", source)
    brings = (strimzi["enabled"] and strimzi["users"]) or source in ("externalSecret", "certManager")
    for job in release(name).of("Job"):
        if job["metadata"]["name"].endswith(("-doctor", "-topics")):
            expected = "post-install" if brings else "pre-install"
            assert hooks_of(job).split(",") == [expected, "pre-upgrade"], job["metadata"]["name"]


@everywhere
def test_helm_test_asks_each_role(name: str) -> None:
    """`helm test` runs the doctor as each role, under its account, with its Secrets, and asks each worker."""
    found = release(name)
    tests = {pod.component: pod for pod in found.pods() if pod.hook == "test"}
    assert sorted(tests) == sorted(f"{pod.component}-test" for pod in found.roles())
    for role in found.roles():
        pod = tests[f"{role.component}-test"]
        assert pod.spec["serviceAccountName"] == role.spec["serviceAccountName"]
        for volume in ("kafka", "keys", "settings", "http"):
            assert pod.volumes.get(volume) == role.volumes.get(volume)
        assert pod.container["args"][:3] == ["doctor", "--as", role.component]
        asked = [word for word in pod.container["args"] if ":9100" in word]
        workers = found.one(role.kind, role.name)["spec"]["replicas"] if role.component != "retention" else 0
        assert len(asked) == workers
