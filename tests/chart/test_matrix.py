"""Every entry of the matrix is what Kubernetes and the operators take, from the oldest version to the newest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.domains import DOMAINS, EXAMPLES
from chart.matrix import MATRIX, ROLES, UNSECURED, parent_chart, release
from chart.rendering import CHART, helm, render
from chart.validation import KUBERNETES, problems

pytestmark = pytest.mark.chart


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("name", MATRIX)
def test_objects_are_valid(name: str, kubernetes: str) -> None:
    """No object has an unknown field, a wrong type or a kind that nothing here knows."""
    assert problems(release(name).objects, kubernetes) == []


@pytest.mark.parametrize("name", MATRIX)
def test_helm_lint_is_content(name: str) -> None:
    """`helm lint --strict` finds nothing to warn of; that there is no icon it only mentions."""
    entry = MATRIX[name]
    if entry.parent is None:
        told = helm(["lint", str(CHART), "--strict"], entry.values)
    else:
        with parent_chart() as chart:
            told = helm(["lint", chart, "--strict"], entry.parent)
    # A parent needs no values of its own.
    mentioned = {"[INFO] Chart.yaml: icon is recommended", "[INFO] values.yaml: file does not exist"}
    assert {line for line in told.splitlines() if line.startswith("[")} <= mentioned


@pytest.mark.parametrize("name", MATRIX)
def test_objects_are_told_apart(name: str) -> None:
    """No two objects of a release have one kind and name; all of them are in the release's namespace."""
    objects = release(name).objects
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert sorted(names) == sorted(set(names))
    assert {one["metadata"]["namespace"] for one in objects} <= {MATRIX[name].namespace}


def test_the_matrix_renders_every_template() -> None:
    """Each template gives at least one object to some entry, so that none of them goes untried."""
    rendered = {
        line.split("templates/", 1)[1].strip()
        for name, entry in MATRIX.items()
        if entry.parent is None
        for line in helm(["template", "fair", str(CHART), "--kube-version", KUBERNETES[-1]], entry.values).splitlines()
        if line.startswith("# Source: ") and name
    }
    assert rendered == {path.name for path in (CHART / "templates").glob("*.yaml")}


def test_the_matrix_gives_every_value() -> None:
    """Each value of values.yaml is set by some entry to what is not its default, so that none goes untried."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    untried = set(_leaves(defaults))
    for entry in MATRIX.values():
        for values in (*entry.values, (entry.parent or {}).get("evenstream", {})):
            for path in list(untried):
                found = _at(values, path)
                if found is not None and found != _at(defaults, path):
                    untried.discard(path)
    assert sorted(".".join(path) for path in untried) == []


# These are given as a whole, or with names of the operator's own.
_WHOLE = {("resources",), ("storeRef",), ("issuerRef",), ("labels",)}


def _leaves(values: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(values, dict) or not values or path[-1:] in _WHOLE:
        return [path]
    return [leaf for name, value in values.items() for leaf in _leaves(value, (*path, name))]


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return None
        values = values[name]
    return values


def test_as_a_subchart_it_is_the_same() -> None:
    """Below a parent it makes what it makes alone; switched off, the parent's own object is all there is."""
    inside = [one for one in release("subchart").objects if one["metadata"]["labels"] != {"of": "parent"}]
    assert inside == render(MATRIX["only seal"].values)
    (own,) = release("subchart switched off").objects
    assert own["metadata"]["name"] == "own"


def test_kubernetes_versions_get_the_same() -> None:
    """Nothing depends on the version of the API server that Helm sees, or on the kinds that it happens to know."""
    values = MATRIX["everything"].values
    known = ("monitoring.coreos.com/v1/PodMonitor", "kafka.strimzi.io/v1/KafkaUser", "keda.sh/v1alpha1/ScaledObject")
    assert render(values, kube_version="1.28.0") == render(values, kube_version="1.34.0", api_versions=known)
    assert not [path for path in (CHART / "templates").iterdir() if ".Capabilities" in path.read_text()]


@pytest.mark.parametrize("name", MATRIX)
def test_roles_are_those_that_are_enabled(name: str) -> None:
    """Each enabled role is one workload, and no other role is there."""
    values: dict[str, Any] = {}
    for given in (*MATRIX[name].values, (MATRIX[name].parent or {}).get("evenstream", {})):
        for role, own in given.get("roles", {}).items():
            values.setdefault(role, {}).update(own)
    enabled = sorted(role for role in ROLES if values.get(role, {}).get("enabled"))
    assert sorted(pod.component for pod in release(name).roles()) == enabled


def test_unsecured_entries_are_named() -> None:
    """The policy tests leave out precisely the entries whose values switch network policies off."""
    off = {
        name
        for name, entry in MATRIX.items()
        if any(one.get("networkPolicy", {}).get("enabled") is False for one in entry.values)
    }
    assert off == UNSECURED


def test_examples_are_all_tried() -> None:
    """Each file of values of examples/helm is in the matrix; the desk is a pod, which test_deploy_page puts to use."""
    there = {path.stem for path in EXAMPLES.glob("*.yaml")} - {"desk"}
    text = Path(__file__).with_name("matrix.py").read_text()
    assert {name for name in there if name in DOMAINS or f'file("{name}")' in text} == there
    assert set(DOMAINS) <= set(MATRIX)
