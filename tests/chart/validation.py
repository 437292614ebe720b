"""Each rendered object against the schema of its kind, as a given Kubernetes has it; unknown fields are errors.

Kubernetes' own kinds are checked by the schemas that kubernetes-validate carries, those of operators by the definitions
in ``crds``. A kind that is in neither is a failure, so that nothing passes unseen. What an API server checks beyond the
schema (rules in CEL, names, references) is left to the tests on a live one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

KUBERNETES = ("1.28.0", "1.31.0", "1.34.0")
"""The oldest that the chart names, one between, and the one of the live tests."""
CRDS = Path(__file__).parent / "crds"
_SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema"
_META = "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def problems(rendered: Iterable[Mapping[str, Any]], kubernetes: str = KUBERNETES[-1]) -> list[str]:
    """Everything that is wrong with objects, a line each, beginning with kind and name; empty: all of them are valid.

    Args:
        kubernetes: the version, such as "1.34.0".
    """
    return [line for one in rendered for line in _problems(one, kubernetes)]


def _problems(one: Mapping[str, Any], kubernetes: str) -> list[str]:
    api, kind = str(one.get("apiVersion")), str(one.get("kind"))
    head = f"{kind}/{one.get('metadata', {}).get('name')} ({api}, Kubernetes {kubernetes})"
    validators = _validators(api, kind, kubernetes)
    if not validators:
        return [f"{head}: no such kind is known"]
    return [
        f"{head}: {'.'.join(map(str, (*below, *error.absolute_path))) or 'object'}: {error.message}"
        for below, validator in validators
        for error in validator.iter_errors(one[below[0]] if below else one)
    ]


@cache
def _validators(api: str, kind: str, kubernetes: str) -> tuple[tuple[tuple[str, ...], Draft202012Validator], ...]:
    """What checks a kind: validators, and the field of the object that each looks at."""
    if (api, kind) in definitions():
        of_metadata = Draft202012Validator({"$ref": _META}, registry=_own(kubernetes))
        return ((), Draft202012Validator(closed(definitions()[api, kind]))), (("metadata",), of_metadata)
    group, _, version = api.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], version) if part)
    file = _folder(kubernetes) / f"{name}.json"
    if not file.is_file():
        return ()
    schema = json.loads(file.read_text())
    # Files are named by the first word of a group only, so a group that does not exist would find another's.
    if {"group": group, "kind": kind, "version": version} not in schema["x-kubernetes-group-version-kind"]:
        return ()
    return (((), Draft202012Validator(schema, registry=_own(kubernetes))),)


def _folder(kubernetes: str) -> Any:
    return _SCHEMAS / f"v{kubernetes}-local-strict"


@cache
def _own(kubernetes: str) -> Registry[Any]:
    """Kubernetes' definitions, to which its schemas refer; read once, since they are large."""
    return Resource.from_contents(json.loads((_folder(kubernetes) / "_definitions.json").read_text())) @ Registry()


@cache
def definitions() -> Mapping[tuple[str, str], dict[str, Any]]:
    """The schema of each kind in ``crds``, by its apiVersion and kind."""
    found = {}
    for path in sorted(CRDS.glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A CRD's schema as a JSON Schema that refuses fields that are not in it, where an API server would drop them."""
    made = dict(schema)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            made[name] = closed(schema[name])
    if "properties" in schema:
        made["properties"] = {name: closed(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            made["additionalProperties"] = False
    if "(?i)" in schema.get("pattern", ""):  # Go takes it anywhere, Python at the beginning only
        made["pattern"] = "(?i)" + schema["pattern"].replace("(?i)", "")
    if schema.get("nullable") and "type" in schema:
        made["type"] = [schema["type"], "null"]
    return made
