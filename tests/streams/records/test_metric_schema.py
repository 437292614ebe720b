"""The published schemas: made from the types, valid themselves, and such that old and new readers read each other's."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from known_records import identity
from metric_records import PRIVACY, void, window, withdrawn
from pydantic import ValidationError

from streams.asyncapi import asyncapi
from streams.cli import main
from streams.records.metric import FairnessMetric, Status
from streams.records.metric_schema import json_schema
from streams.records.published import SIGNATURE_HEADER, signed_headers
from streams.settings import load_settings

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
SINCE = GOLDEN / "schema_2026_11_25.json"
"""What readers may rely on since records were first written."""

OLD_RECORDS = ("fairness_metric_2026_11_25.json", "fairness_metric_withdrawn_2026_11_25.json")


NEW_RECORDS = {
    "published": window(),
    "void": void(),
    "suppressed": window(status="suppressed", reason="no_group_says_anything", results=()),
    "withdrawn": withdrawn(),
}


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    """Where a value is not valid."""
    return [f"{error.json_path}: {error.message[:80]}" for error in Draft202012Validator(schema).iter_errors(value)]


def value_of(record: FairnessMetric) -> dict[str, Any]:
    """As a subscriber reads it."""
    return json.loads(record.encode())  # type: ignore[no-any-return]


# -- the files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "file"), [("jsonschema", "fairness-metrics.schema.json"), ("asyncapi", "fairness-metrics.asyncapi.yaml")]
)
def test_the_published_files_are_what_the_command_prints(form: str, file: str, monkeypatch: Any) -> None:
    """docs/schemas holds the schema of this version, to the byte; `evenstream schema` writes it anew."""
    for name in ("KAFKA_BOOTSTRAP", "EVENSTREAM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(main, ["schema", "--format", form])
    assert done.exit_code == 0, done.output
    assert done.stdout == (SCHEMAS / file).read_text()


def test_the_json_schema_is_one() -> None:
    """By the metaschema of 2020-12."""
    Draft202012Validator.check_schema(json_schema())


def test_the_asyncapi_document_is_one() -> None:
    """By AsyncAPI's own schema of 3.0.0 with its Kafka bindings; and every reference in it leads somewhere."""
    document = yaml.safe_load((SCHEMAS / "fairness-metrics.asyncapi.yaml").read_text())
    official = Draft7Validator(json.loads((GOLDEN / "asyncapi_3_0_0.json").read_text()))
    assert [error.message for error in official.iter_errors(document)] == []
    for reference in _references(document):
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    broken = deepcopy(document)
    broken["channels"]["fairnessMetrics"]["bindings"]["kafka"]["partitions"] = 0
    assert not official.is_valid(broken)  # the eyes see


def _references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [found for each in part for found in _references(each)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [found for each in part.values() for found in _references(each)]


@pytest.mark.parametrize("status", get_args(Status))
def test_each_record_is_one_of_the_asyncapi_messages(status: str) -> None:
    """Headers, key and value of a record are valid under the message of its status, and under no other."""
    document = yaml.safe_load((SCHEMAS / "fairness-metrics.asyncapi.yaml").read_text())
    record = NEW_RECORDS[status]
    signed = signed_headers(record, record.encode(), identity("publish", "demo"))
    headers = {name: value.decode() for name, value in signed}
    found = []
    for name, message in document["components"]["messages"].items():
        parts = {"headers": headers, "key": record.topic_key().decode(), "value": value_of(record)}
        schemas = {
            "headers": message["headers"], "key": message["bindings"]["kafka"]["key"], "value": message["payload"],
        }  # fmt: skip
        wrong = [
            error
            for part, schema in schemas.items()
            for error in Draft7Validator(
                {**schema, "components": document["components"]}, format_checker=FormatChecker()
            ).iter_errors(parts[part])
        ]
        found += [] if wrong else [name]
    assert found == [status]
    listed = document["components"]["messages"][status]["headers"]
    assert set(headers) == set(listed["properties"]) == {*listed["required"], SIGNATURE_HEADER}


# -- old and new --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", get_args(Status))
def test_old_consumers_read_new_records(status: str) -> None:
    """Whoever validates by the schema of the first records takes what this version writes."""
    assert problems(json.loads(SINCE.read_text()), value_of(NEW_RECORDS[status])) == []


@pytest.mark.parametrize("name", OLD_RECORDS)
def test_new_consumers_read_old_records(name: str) -> None:
    """Records of the first version are valid now, and our own decoder reads them."""
    value = (GOLDEN / name).read_bytes()
    assert problems(json_schema(), json.loads(value)) == []
    assert FairnessMetric.decode(value).supersedes is None


def _with_unknown(part: Any) -> Any:
    if isinstance(part, list):
        return [_with_unknown(each) for each in part]
    if isinstance(part, dict):
        known = {name: each if name == "tolerated_gaps" else _with_unknown(each) for name, each in part.items()}
        return known | {"of_a_later_version": [1]}
    return part


@pytest.mark.parametrize("status", get_args(Status))
def test_fields_of_a_later_version_are_passed_over(status: str) -> None:
    """A record with further fields at every level is valid, and read as if they were not there; none can be written."""
    later = _with_unknown(value_of(NEW_RECORDS[status]))
    assert problems(json_schema(), later) == []
    assert FairnessMetric.decode(json.dumps(later).encode()) == NEW_RECORDS[status]
    with pytest.raises(ValidationError):
        FairnessMetric.model_validate(later)


def _shapes(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each type its schema, without prose."""

    def bare(part: Any) -> Any:
        if isinstance(part, list):
            return [bare(each) for each in part]
        if not isinstance(part, dict):
            return part
        return {name: bare(each) for name, each in part.items() if name != "description" or isinstance(each, dict)}

    root = {name: bare(part) for name, part in schema.items() if name in ("properties", "required", "type", "allOf")}
    return {"FairnessMetric": root, **{name: bare(part) for name, part in schema["$defs"].items()}}


def test_fields_are_only_added() -> None:
    """No field is gone, means another type, or became required; what a status says is unchanged.

    To break this on purpose is another version of the schema: docs/protocol.md says what else changes with it.
    """
    then, now = _shapes(json.loads(SINCE.read_text())), _shapes(json_schema())
    for name, old in then.items():
        new = now[name]
        assert {field: new["properties"].get(field) for field in old["properties"]} == old["properties"], name
        assert new["required"] == old["required"], name
        rules = old.get("allOf", [])
        assert new.get("allOf", [])[: len(rules)] == rules, name  # later ones are of fields that were added


# -- what a status says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", get_args(Status))
def test_each_status_is_valid(status: str) -> None:
    """What the types let through, the schema lets through."""
    assert problems(json_schema(), value_of(NEW_RECORDS[status])) == []


@pytest.mark.parametrize(
    ("status", "change"),
    [
        ("void", {"reason": None}),
        ("void", {"table": value_of(window())["table"]}),
        ("void", {"moments": value_of(window())["moments"]}),
        ("void", {"results": value_of(window())["results"]}),
        ("void", {"checks": None}),
        ("void", {"detection": value_of(window())["detection"]}),
        ("published", {"reason": "fine"}),
        ("published", {"table": None}),
        ("published", {"privacy": None}),
        ("suppressed", {"results": value_of(window())["results"]}),
        ("suppressed", {"reason": None}),
        ("withdrawn", {"privacy": PRIVACY.model_dump(by_alias=True)}),
        ("withdrawn", {"rows_per_member": 2}),
        ("withdrawn", {"status": "superseded"}),
        ("published", {"confidence": "0.95"}),
        ("published", {"measurement": None}),
    ],
    ids=lambda part: part if isinstance(part, str) else next(iter(part)),
)
def test_contradictions_are_invalid(status: str, change: dict[str, Any]) -> None:
    """What the types refuse, the schema refuses: a void window never carries a number, and so on."""
    contents = value_of(NEW_RECORDS[status]) | change
    assert problems(json_schema(), contents) != []
    with pytest.raises(ValidationError):
        FairnessMetric.model_validate_json(json.dumps(contents), strict=True)


def test_the_document_follows_the_settings() -> None:
    """A deployment's own document has its name, partitions and retention."""
    settings = load_settings(None, ["deployment=acme", "topics.metrics_retention_hours=2"], environment={})
    channel = asyncapi(settings)["channels"]["fairnessMetrics"]
    assert channel["parameters"]["deployment"]["default"] == "acme"
    assert channel["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == 7_200_000
