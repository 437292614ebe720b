"""The check of rendered objects: what is right passes, each kind of mistake is found, by field, in every version."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from chart.validation import CRDS, KUBERNETES, closed, definitions, problems
from jsonschema import Draft202012Validator

from streams.acl import rules, strimzi_users
from streams.settings import Settings
from streams.watch.rules import render

_CONTAINER = {
    "name": "seal",
    "image": "evenstream@sha256:0",
    "ports": [{"name": "http", "containerPort": 9100}],
    "startupProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
    "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
}
OBJECTS: dict[str, dict[str, Any]] = {
    "StatefulSet": {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "fair-seal", "labels": {"app": "seal"}},
        "spec": {
            "serviceName": "fair-seal",
            "selector": {"matchLabels": {"app": "seal"}},
            "template": {"metadata": {"labels": {"app": "seal"}}, "spec": {"containers": [_CONTAINER]}},
        },
    },
    "NetworkPolicy": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "fair"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53}]}]},
    },
    "KafkaTopic": {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": "fair.keys", "labels": {"strimzi.io/cluster": "main"}},
        "spec": {"topicName": "fair.keys", "partitions": 1, "replicas": 3, "config": {"cleanup.policy": "compact"}},
    },
    "PodMonitor": {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "fair"},
        "spec": {
            "selector": {"matchLabels": {"app": "seal"}},
            "podMetricsEndpoints": [
                {"port": "http", "interval": "15s", "relabelings": [{"action": "drop", "sourceLabels": ["role"]}]}
            ],
        },
    },
    "ServiceMonitor": {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "fair"},
        "spec": {"selector": {}, "endpoints": [{"port": "http", "scheme": "https"}]},
    },
    "PrometheusRule": {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "fair"},
        "spec": {
            "groups": [
                {"name": "a", "partial_response_strategy": "WARN", "rules": [{"alert": "A", "expr": "up", "for": "1m"}]}
            ]
        },
    },
    "ScaledObject": {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "fair-seal"},
        "spec": {
            "scaleTargetRef": {"kind": "StatefulSet", "name": "fair-seal"},
            "triggers": [{"type": "prometheus", "metadata": {"query": "1", "threshold": "1"}}],
        },
    },
    "Certificate": {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "fair"},
        "spec": {
            "secretName": "fair",
            "issuerRef": {"name": "ca"},
            "commonName": "seal",
            "privateKey": {"algorithm": "Ed25519", "rotationPolicy": "Never"},
        },
    },
    "ExternalSecret": {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "fair"},
        "spec": {
            "secretStoreRef": {"name": "vault", "kind": "SecretStore"},
            "target": {"name": "fair"},
            "data": [{"secretKey": "identity.key", "remoteRef": {"key": "seal"}}],
        },
    },
}
"""A right object of each kind that a test breaks."""


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("kind", OBJECTS)
def test_right_objects_pass(kind: str, kubernetes: str) -> None:
    """Nothing is said of an object that an API server takes."""
    assert problems([OBJECTS[kind]], kubernetes) == []


def test_what_the_commands_write_passes() -> None:
    """KafkaUsers of `evenstream acl` and the PrometheusRule of `evenstream alerts` are what their operators take."""
    users = list(yaml.safe_load_all(strimzi_users(rules(Settings()), "main")))
    rule = yaml.safe_load(render(output="prometheusrule"))
    assert len(users) == 9
    assert problems([*users, rule]) == []


_FIRST = ("spec", "template", "spec", "containers", 0)
WRONG: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("StatefulSet", ("spec", "replica"), 2, "'replica' was unexpected"),
    ("StatefulSet", ("metadata", "label"), {}, "'label' was unexpected"),
    ("StatefulSet", (*_FIRST, "enviroment"), [], "'enviroment' was unexpected"),
    (
        "StatefulSet",
        ("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"),
        "x",
        "containerPort: 'x'",
    ),
    ("StatefulSet", ("apiVersion",), "apps/v1beta2", "no such kind is known"),
    ("StatefulSet", ("apiVersion",), "apps.example.com/v1", "no such kind is known"),
    ("StatefulSet", ("kind",), "StatefulThing", "no such kind is known"),
    ("NetworkPolicy", ("spec", "ingres"), [], "'ingres' was unexpected"),
    ("KafkaTopic", ("apiVersion",), "kafka.strimzi.io/v1beta2", "no such kind is known"),
    ("KafkaTopic", ("spec", "partitions"), 0, "spec.partitions: 0 is less than the minimum"),
    ("KafkaTopic", ("spec", "topic"), "fair.keys", "'topic' was unexpected"),
    ("KafkaTopic", ("metadata", "label"), {}, "metadata: Additional properties are not allowed ('label'"),
    ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "pth"), "/m", "'pth' was unexpected"),
    ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "relabelings", 0, "action"), "dropp", "'dropp' is not one of"),
    (
        "ServiceMonitor",
        ("spec", "endpoints", 0, "interval"),
        "15 s",
        "endpoints.0.interval: '15 s' does not match",
    ),
    ("ScaledObject", ("spec", "triggers", 0, "metadata"), None, "spec.triggers.0.metadata: None"),
    ("PrometheusRule", ("spec", "groups", 0, "partial_response_strategy"), "stop", "'stop' does not match"),
    ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "fore"), "1m", "'fore' was unexpected"),
    ("Certificate", ("spec", "privateKey", "algorithm"), "Ed448", "'Ed448' is not one of"),
    ("ExternalSecret", ("spec", "secretStoreRef", "kind"), "Store", "'Store' is not one of"),
]


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize(("kind", "path", "value", "told"), WRONG, ids=[f"{w[0]} {w[1][-1]}={w[2]}" for w in WRONG])
def test_each_mistake_is_found(kind: str, path: tuple[Any, ...], value: Any, told: str, kubernetes: str) -> None:
    """One wrong field is one line that names the object, the version and the field."""
    wrong = copy.deepcopy(OBJECTS[kind])
    inside: Any = wrong
    for part in path[:-1]:
        inside = inside[part]
    inside[path[-1]] = value
    (line,) = problems([wrong], kubernetes)
    assert told in line
    assert wrong["metadata"]["name"] in line and kubernetes in line


@pytest.mark.parametrize(
    ("acl", "told"),
    [
        ({"operations": ["Read"]}, "'resource' is a required property"),
        ({"resource": {"type": "topic"}, "operation": "Read"}, "'operations' is a required property"),
        ({"resource": {"type": "topics", "name": "x"}, "operations": ["Read"]}, "'topics' is not one of"),
        (
            {"resource": {"type": "topic", "patternType": "prefixed"}, "operations": ["Read"]},
            "'prefixed' is not one of",
        ),
        ({"resource": {"type": "topic", "name": "x"}, "operations": ["read"]}, "'read' is not one of"),
    ],
)
def test_a_wrong_acl_is_found(acl: dict[str, Any], told: str) -> None:
    """A KafkaUser's ACL in the words of another version of Strimzi, or of Kafka's own tools, is refused."""
    user = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {"name": "fair-seal"},
        "spec": {"authentication": {"type": "tls"}, "authorization": {"type": "simple", "acls": [acl]}},
    }
    assert told in "\n".join(problems([user]))


def test_definitions_are_those_of_the_chart() -> None:
    """Every file of ``crds`` says where it is from and under which licence, and its schema is one."""
    kinds = {kind for _, kind in definitions()}
    assert kinds == {*(set(OBJECTS) - {"StatefulSet", "NetworkPolicy"}), "KafkaUser"}
    for path in CRDS.glob("*.yaml"):
        head = path.read_text().splitlines()[:2]
        assert head[0].startswith("# Written by `python -m bench.chart.crds` from ") and "Apache License 2.0" in head[1]
    for schema in definitions().values():
        Draft202012Validator.check_schema(closed(schema))
