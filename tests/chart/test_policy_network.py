"""Who reaches whom: nobody, but for what a policy of the release names. Policies add up, so all of a pod's are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from chart.matrix import CHECKED, MATRIX, UNSECURED, Pod, Release, release

pytestmark = pytest.mark.chart
everywhere = pytest.mark.parametrize("name", [name for name in MATRIX if name not in UNSECURED])

_BROKERS = {"everything": {9093, 9094}}
_NAMES = {"everything": {53, 5353}, "OpenShift": {5353}}
_METRICS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
_PAGE = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector of labels, which the chart writes with matchLabels only, is true of labels."""
    assert selector.keys() == {"matchLabels"}, "an empty selector selects every pod of the namespace"
    return bool(selector["matchLabels"].items() <= labels.items())


def policies(of: Release, pod: Pod) -> list[dict[str, Any]]:
    """The policies that a pod is under."""
    return [one for one in of.of("NetworkPolicy") if selects(one["spec"]["podSelector"], pod.labels)]


def rules(of: Release, pod: Pod, direction: str) -> list[dict[str, Any]]:
    """What the policies of a pod allow, together."""
    return [rule for policy in policies(of, pod) for rule in policy["spec"].get(direction) or ()]


def _ports(rule: Mapping[str, Any]) -> set[int]:
    ports = rule["ports"]  # a rule without them would be for every port
    assert ports
    assert all(port.keys() == {"protocol", "port"} for port in ports)
    return {port["port"] for port in ports}


@everywhere
def test_every_pod_is_under_a_policy(name: str) -> None:
    """Each pod, of hooks and tests too, has a policy for what comes in and what goes out."""
    found = release(name)
    for pod in found.pods():
        assert policies(found, pod), f"{pod} is under no policy"
    for policy in found.of("NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"], policy["metadata"]["name"]


@everywhere
def test_what_a_hook_needs_is_there_with_it(name: str) -> None:
    """A pod that runs before the release is there has a policy that is a hook too, of the same times, and earlier."""
    found = release(name)
    for pod in found.pods():
        if pod.hook and pod.hook != "test":
            early = [one for one in policies(found, pod) if "helm.sh/hook" in one["metadata"].get("annotations", {})]
            assert early, pod
            for policy in early:
                annotations = policy["metadata"]["annotations"]
                assert set(pod.hook.split(",")) <= set(annotations["helm.sh/hook"].split(","))


@everywhere
def test_pods_reach_names_and_kafka_only(name: str) -> None:
    """What goes out goes to DNS and to Kafka's ports; a test's to its role too; the keys Job's to the API server."""
    found = release(name)
    for pod in found.pods():
        brokers = _BROKERS.get(name, {9093})
        expected = [_NAMES.get(name, {53}), brokers]
        if pod.hook == "test":
            expected.append({9100})
        if pod.component == "keys":
            expected = [{443, 6443}]
        going = rules(found, pod, "egress")
        assert sorted(map(sorted, map(_ports, going))) == sorted(map(sorted, expected)), pod
        for rule in going:
            if _ports(rule) == _NAMES.get(name, {53}):
                assert rule["to"], f"{pod}: DNS anywhere is a way out for data"
            if _ports(rule) == {9100}:
                (peer,) = rule["to"]
                assert peer.keys() == {"podSelector"}
                met = [other.component for other in found.pods() if selects(peer["podSelector"], other.labels)]
                assert f"{met[0]}-test" == pod.component, "a test reaches another role than its own"
                assert len(met) == 1


@everywhere
def test_kafka_is_where_the_values_say(name: str) -> None:
    """With networkPolicy.kafka.to, brokers are reached there and nowhere else."""
    given: list[Any] = []
    for values in MATRIX[name].values:
        given = values.get("networkPolicy", {}).get("kafka", {}).get("to", given)
    found = release(name)
    for pod in found.pods():
        for rule in rules(found, pod, "egress"):
            if _ports(rule) == _BROKERS.get(name, {9093}):
                assert rule.get("to", []) == given, pod


@everywhere
def test_only_health_metrics_and_the_page_are_reached(name: str) -> None:
    """Port 9100 of the roles, by the named peers and the role's own test; jobs, tests and `retention` by nobody."""
    found = release(name)
    for pod in found.pods():
        coming = rules(found, pod, "ingress")
        if pod.hook or pod.component not in CHECKED:
            assert coming == [], pod
            continue
        (rule,) = coming
        assert _ports(rule) == {9100}
        assert rule["from"], f"{pod}: anybody"
        own, *others = rule["from"]
        assert own.keys() == {"podSelector"}
        tests = [other.component for other in found.pods() if selects(own["podSelector"], other.labels)]
        assert tests == [f"{pod.component}-test"]
        metrics = {"podSelector": {"matchLabels": {"app": "prometheus"}}} if name == "the rest" else _METRICS
        page = [_PAGE] if pod.component == "publish" and name in ("everything", "publisher") else []
        assert others == [metrics, *page], pod


@everywhere
def test_policies_are_of_this_release(name: str) -> None:
    """No policy selects pods of another release, or all pods of the namespace."""
    for policy in release(name).of("NetworkPolicy"):
        labels = policy["spec"]["podSelector"]["matchLabels"]
        assert labels["app.kubernetes.io/name"] == "evenstream"
        assert labels["app.kubernetes.io/instance"] == "fair"


def test_without_policies_there_is_none() -> None:
    """networkPolicy.enabled=false leaves none behind, not even a hook's."""
    for name in UNSECURED:
        assert release(name).of("NetworkPolicy") == []
