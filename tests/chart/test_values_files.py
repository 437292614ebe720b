"""The chart's own files agree: values, their comments, their schema, the README made from them, and Chart.yaml."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.matrix import BASE, MATRIX
from chart.rendering import CHART, helm, refusal, render
from jsonschema import Draft7Validator

from bench.chart.programs import find_helm_docs
from bench.chart.settings import schema as written
from streams.errors import PrerequisiteMissing
from streams.settings import Settings

pytestmark = pytest.mark.chart

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
META = yaml.safe_load((CHART / "Chart.yaml").read_text())


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema


def _schema_paths(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every value that the schema names; what has names of the operator's own ends there."""
    properties = {} if path.endswith("settings") else _resolved(schema).get("properties", {})
    if not properties:
        yield path
    for name, each in properties.items():
        yield from _schema_paths(each, f"{path}.{name}".lstrip("."))


def _value_paths(values: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every value of values.yaml, as deep as the schema goes."""
    properties = {} if path.endswith("settings") else _resolved(schema).get("properties", {})
    if not properties:
        yield path
    for name, value in values.items() if properties else ():
        assert name in properties, f"{path}.{name} is not in values.schema.json"
        yield from _value_paths(value, properties[name], f"{path}.{name}".lstrip("."))


def test_values_and_schema_name_the_same() -> None:
    """Each value is in the schema, and each name of the schema has a default that a reader can see."""
    named = set(_value_paths(VALUES, SCHEMA))
    # A role's `pod` is empty: it has the names of podDefaults.
    pods = {f"roles.{role}.pod.{name}" for role in VALUES["roles"] for name in VALUES["podDefaults"]}
    assert named == set(_schema_paths(SCHEMA)) - pods | {path for path in named if path in pods}
    assert _resolved(SCHEMA["definitions"]["pod"])["properties"].keys() == VALUES["podDefaults"].keys()


def test_the_schema_is_one() -> None:
    """It is draft-07, which Helm knows; it refuses unknown names, wherever names are not the operator's."""
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(SCHEMA)
    for path, schema in _objects(SCHEMA):
        if "properties" in schema and path != "named.items":  # volumes have many kinds
            assert schema.get("additionalProperties") is False, path


def _objects(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schema, and every one within it."""
    yield path, schema
    for name, each in (*schema.get("properties", {}).items(), *schema.get("definitions", {}).items()):
        yield from _objects(each, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _objects(schema["items"], f"{path}.items")


def test_the_schema_names_every_setting() -> None:
    """`make chart-files` would change nothing: a setting that the code does not have is refused by Helm already."""
    assert (CHART / "values.schema.json").read_text() == written()
    groups = SCHEMA["definitions"]["settings"]["properties"]
    assert groups["topics"]["properties"]["partitions"] == {"type": "integer"}
    assert groups.keys() == Settings.model_fields.keys()


def test_defaults_are_valid() -> None:
    """values.yaml is what its own schema takes."""
    assert [error.message for error in Draft7Validator(SCHEMA).iter_errors(VALUES)] == []


def test_no_value_can_be_emptied() -> None:
    """A value that is set to null is missing for Helm: it is refused by name, and not taken for false or nothing.

    So that `networkPolicy: {enabled: }` does not switch policies off. What is added to pods may be left empty.
    """
    for path in _value_paths(VALUES, SCHEMA):
        *above, name = path.split(".")
        if path in ("global", "enabled") or "pod" in above or above == ["podDefaults"]:
            continue
        values = copy.deepcopy(VALUES)
        holder = values
        for part in above:
            holder = holder[part]
        del holder[name]
        (error,) = Draft7Validator(SCHEMA).iter_errors(values)
        assert list(error.absolute_path) == above
        assert f"'{name}' is a required property" in error.message


def test_every_value_is_explained() -> None:
    """Each value has a `# --` comment for helm-docs, its own or that of the value that it is a part of."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    commented: set[str] = set()
    seen: set[str] = set()
    stack: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        met = re.match(r"( *)([A-Za-z]+):", line)
        if met is None:
            continue
        depth = len(met[1])
        stack = [(at, name) for at, name in stack if at < depth] + [(depth, met[2])]
        path = ".".join(name for _, name in stack)
        seen.add(path)
        above = lines[number - 1].strip() if number else ""
        if above.startswith("# -- "):
            assert len(above) > len("# -- Key")
            commented.add(path)
    unexplained = {
        path
        for path in seen
        if not any(path == one or path.startswith(f"{one}.") for one in commented)
        and not any(other.startswith(f"{path}.") for other in seen)
    }
    assert unexplained == set()
    assert len(commented) > 100


def test_the_readme_is_what_helm_docs_makes(tmp_path: Path) -> None:
    """`helm-docs -c helm/evenstream -o README.md -t README.md.gotmpl` would change nothing."""
    try:
        program = find_helm_docs()
    except PrerequisiteMissing as missing:
        pytest.skip(f"{missing}; then: go install github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2")
    command = [program, "--chart-search-root", str(CHART), "--dry-run", "--template-files", "README.md.gotmpl"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60).stdout
    written = (CHART / "README.md").read_text()
    assert made.strip() == written.strip(), f"write it anew: {program} -c {CHART} -o README.md -t README.md.gotmpl"


def test_chart_yaml() -> None:
    """Versions are semantic, the application's is pyproject's; Artifact Hub's annotations are there, and are YAML."""
    project = tomllib.loads((CHART.parents[1] / "pyproject.toml").read_text())["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", META["version"])
    assert META["appVersion"] == project["version"]
    annotations = META["annotations"]
    assert annotations["artifacthub.io/license"] == "Apache-2.0"
    assert annotations["artifacthub.io/category"] == "monitoring-logging"
    assert annotations["artifacthub.io/operator"] in ("true", "false")
    assert annotations["artifacthub.io/prerelease"] in ("true", "false")
    for change in yaml.safe_load(annotations["artifacthub.io/changes"]):
        assert change["kind"] in ("added", "changed", "deprecated", "removed", "fixed", "security")
        assert change["description"]


def test_old_clusters_are_refused() -> None:
    """Kubernetes 1.27 is refused, by name; 1.28 is taken, and a vendor's version of it too."""
    values = MATRIX["minimal"].values
    told = refusal(values, kube_version="1.27.9")
    assert "kubeVersion: >=1.28.0-0" in told
    assert "v1.27.9" in told
    assert render(values, kube_version="1.28.0")
    assert render(values, kube_version="1.28.3-eks-4f4795d")


def test_the_chart_packs(tmp_path: Path) -> None:
    """`helm package` takes it, and what it packs renders as the folder does."""
    told = helm(["package", str(CHART), "--destination", str(tmp_path)])
    (packed,) = tmp_path.glob("*.tgz")
    assert packed.name == f"evenstream-{META['version']}.tgz", told
    values = [BASE, {"roles": {"seal": {"enabled": True}}}]
    assert render(values, chart=packed) == render(values)
