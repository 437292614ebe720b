"""The chart's generated files: they are what the code writes, and give back what they were made from."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bench.chart.__main__ import FOLDER, rendered
from streams.acl import SOURCES, TABLE, rules
from streams.kafka.topics import plan
from streams.settings import PRINCIPALS, Settings


def _file(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def test_files_are_what_the_code_writes() -> None:
    """`make chart-files` would change nothing, and no file lies there that it does not write."""
    there = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()}
    assert there == rendered()


@pytest.mark.parametrize(
    "topics",
    [{}, {"sources": ["events-web", "events-app"]}, {"member_attributes": "people", "sources": ["clicks"]}],
    ids=("defaults", "two sources", "other names"),
)
def test_filled_in_acls_are_those_of_the_code(topics: dict[str, Any]) -> None:
    """With a deployment's names in place, each principal has the rules that `evenstream acl` applies, in order."""
    settings = Settings.model_validate({"deployment": "fair", "topics": topics})
    filled = []
    for role, principal in _file("acls.yaml")["principals"].items():
        for acl in principal["acls"]:
            for source in settings.sources() if acl.get("each") == "sources" else ("",):
                name = acl["name"].replace("{deployment}", settings.deployment).replace("{source}", source)
                name = name.replace("{member-attributes}", settings.topic("member-attributes"))
                prefixed = {"prefix": True, "literal": False}[acl["patternType"]]
                filled.append((role, acl["resource"], name, prefixed, tuple(acl["operations"])))
    kinds = {"topic": "topic", "group": "group", "transactional_id": "transactionalId"}
    expected = [(r.role, kinds[r.resource], r.name, r.prefixed, r.operations) for r in rules(settings)]
    assert filled == expected


def test_acls_name_everyone() -> None:
    """Every principal is in the file, and the source topics are marked wherever the table has them."""
    principals = _file("acls.yaml")["principals"]
    assert tuple(principals) == PRINCIPALS
    for role, access in TABLE.items():
        marked = any(acl.get("each") == "sources" for acl in principals[role]["acls"])
        assert marked == (SOURCES in (*access.reads, *access.writes))


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"partitions": 12, "replication_factor": 5, "min_insync_replicas": 3, "retention_hours": 0.5},
        {"segment_minutes": 1.5, "metrics_retention_hours": 48, "concerns_retention_hours": 72},
    ],
    ids=("defaults", "larger and shorter", "other spans"),
)
def test_filled_in_topics_are_those_of_the_code(chosen: dict[str, float]) -> None:
    """With a deployment's settings in place, the topics are those that `evenstream topics create` makes."""
    settings = Settings.model_validate({"deployment": "fair", "topics": chosen})
    file = _file("topics.yaml")
    values = file["defaults"] | chosen

    def filled(value: Any) -> str:
        return str(int(values[value["from"]] * value["times"])) if isinstance(value, dict) else value

    made = [
        (
            f"{settings.deployment}.{topic['name']}",
            values["partitions"] if topic["partitions"] == "P" else topic["partitions"],
            values["replication_factor"],
            {name: filled(value) for name, value in topic["config"].items()},
        )
        for topic in file["topics"]
    ]
    assert made == [(t.name, t.partitions, t.replication_factor, t.config) for t in plan(settings)]
