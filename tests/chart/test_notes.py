"""NOTES.txt: what is dangerous is said first, and what to do next is a command that fits the release."""

from __future__ import annotations

from typing import Any

import pytest
from chart.matrix import BASE, MATRIX, release
from chart.rendering import notes

pytestmark = pytest.mark.chart

_SEAL: dict[str, Any] = {**BASE, "roles": {"seal": {"enabled": True}}}
_WARNINGS = {
    "allowBothParties is true": "trial",
    "all keys were made in this namespace": "trial",
    "networkPolicy.enabled is false": "no policies, no budgets, no checks",
    "without TLS and authentication": "Kafka without security",
}


@pytest.mark.parametrize("warning", _WARNINGS)
def test_each_danger_is_warned_of(warning: str) -> None:
    """The values that bring a danger bring its warning, and a release without it has none."""
    assert f"WARNING: {warning}" in notes(MATRIX[_WARNINGS[warning]].values)
    assert "WARNING" not in notes(_SEAL)


def test_what_to_narrow() -> None:
    """Brokers that are anywhere, and a page that nobody reaches, are said, with the value that changes it."""
    assert "networkPolicy.kafka.to" in notes(_SEAL)
    assert "networkPolicy.kafka.to" not in notes(MATRIX["recommender"].values)
    assert "networkPolicy.pageFrom" in notes(MATRIX["only publish"].values)
    assert "networkPolicy.pageFrom" not in notes(MATRIX["publisher"].values)


@pytest.mark.parametrize("name", ["recommender", "publisher", "trial", "everything, kept by names of its own"])
def test_commands_name_what_is_there(name: str) -> None:
    """The workloads and Services that the notes name are in the release; its name and namespace are right."""
    entry = MATRIX[name]
    told = notes(entry.values, namespace=entry.namespace)
    found = release(name)
    for line in told.splitlines():
        for kind, word in (("StatefulSet", "statefulset/"), ("Service", "service/")):
            if word in line:
                assert found.one(kind, line.split(word)[1].split()[0])
                assert f"-n {entry.namespace} " in line
    for pod in found.roles():
        assert pod.component == "retention" or f"statefulset/{pod.name}" in told
    assert f"helm -n {entry.namespace} test fair" in told


def test_what_is_kept_is_said() -> None:
    """Claims that stay when the release goes are mentioned where there are some; so are Strimzi's Secrets."""
    assert "The claims stay when the release is removed" in notes(_SEAL)
    assert "The claims stay" not in notes(MATRIX["only publish"].values)
    assert "The claims stay" not in notes(MATRIX["no policies, no budgets, no checks"].values)
    assert "Strimzi keeps each user's password" in notes(MATRIX["Strimzi"].values)
    assert "Strimzi" not in notes(_SEAL)
