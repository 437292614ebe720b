"""Whether what lies on `fairness-metrics` is what docs/protocol.md promises: value, headers, key, partition and order.

The value is judged by the published JSON Schema, as a subscriber in any language would, and then by what a schema
cannot say. Fields of a later version are passed over. A record that publish has not signed takes no part in the order:
its window is written once more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from secure_agg import PinnedIdentities
from streams.errors import NotPublished, PrerequisiteMissing, RecordMalformed
from streams.records.metric import FairnessMetric
from streams.records.metric_schema import json_schema
from streams.records.published import SIGNATURE_HEADER, PublishedRecord
from streams.subscription import Delivery

_WINDOWS_KEPT = 100_000
"""Of so many windows, those read last, it is remembered which version came; of older ones any may come."""

_MOST_PROBLEMS = 5
"""Of one record: a value of another kind altogether would have hundreds."""


class RecordCheck:
    """Checks records in the order of their partition.

    Args:
        deployment: whose topic it is. partitions: tells how many the topic has, when the first record is there.
        trusted: the pinned identities; None where they are not at hand, and then no signature is verified.

    Raises:
        PrerequisiteMissing: jsonschema is not installed.
    """

    def __init__(self, deployment: str, partitions: Callable[[], int], trusted: PinnedIdentities | None = None) -> None:
        try:
            from jsonschema import Draft202012Validator
        except ModuleNotFoundError:
            raise PrerequisiteMissing(
                "records are validated with jsonschema, which is not installed here: pip install 'evenstream[validate]'"
            ) from None
        self._schema: Any = Draft202012Validator(json_schema())
        self._deployment = deployment
        self._trusted = trusted
        self._count = partitions
        self._versions: dict[bytes, int] = {}

    @cached_property
    def _partitions(self) -> int:
        return self._count()

    def problems(self, delivery: Delivery) -> list[str]:
        """What is wrong with a record; what it holds is not shown, only where."""
        try:
            contents = json.loads(delivery.value or b"", parse_constant=_no_number)
        except ValueError:
            return ["value: expected JSON" if delivery.value else "value: empty; a withdrawal is a full record"]
        errors = sorted(self._schema.iter_errors(contents), key=lambda error: error.json_path)
        problems = [f"value: {error.json_path}: {_why(error)}" for error in errors[:_MOST_PROBLEMS]]
        if len(errors) > _MOST_PROBLEMS:
            problems.append(f"value: and {len(errors) - _MOST_PROBLEMS} more")
        try:
            record = FairnessMetric.decode(delivery.value or b"")
        except RecordMalformed as error:
            return problems or [f"value: {error}"]
        unsigned = self._signature(delivery)
        place = self._place(record, delivery)
        order = [] if unsigned else self._order(record)
        return [*problems, *self._headers(record, delivery), *unsigned, *place, *order]

    def _signature(self, delivery: Delivery) -> list[str]:
        if self._trusted is None:
            there = any(name == SIGNATURE_HEADER for name, _ in delivery.headers)
            return [] if there else [f"header {SIGNATURE_HEADER}: not there"]
        try:
            PublishedRecord.verified(self._trusted, delivery.key, delivery.headers, delivery.value)
        except NotPublished as error:
            return [f"header {SIGNATURE_HEADER}: {error}"]
        return []

    def _headers(self, record: FairnessMetric, delivery: Delivery) -> list[str]:
        expected = dict(record.headers(self._deployment))
        found: dict[str, bytes | None] = {}
        problems = []
        for name, value in delivery.headers:
            if name in found and name in expected:
                problems.append(f"header {name}: twice")
            found[name] = value
        for name, value in expected.items():
            if name not in found:
                problems.append(f"header {name}: not there, expected {value.decode()!r}")
            elif found[name] != value:
                problems.append(f"header {name}: expected {value.decode()!r}, by what the value says")
        return problems

    def _place(self, record: FairnessMetric, delivery: Delivery) -> list[str]:
        problems = []
        key = record.topic_key()
        if delivery.key != key:
            problems.append(f"key: expected {key.decode()!r}, by what the value says")
        partition = record.partition(self._partitions)
        if delivery.partition != partition:
            problems.append(f"partition: expected {partition} of {self._partitions}, by murmur2 of the measurement")
        return problems

    def _order(self, record: FairnessMetric) -> list[str]:
        problems = []
        key = record.topic_key()
        before = self._versions.get(key, 0)
        if record.version <= before:
            problems.append(f"ce_id: version {record.version} comes after version {before} of the same window")
        self._versions.pop(key, None)  # so that it is the last again
        self._versions[key] = max(before, record.version)
        if len(self._versions) > _WINDOWS_KEPT:
            del self._versions[next(iter(self._versions))]
        return problems


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _why(error: Any) -> str:
    """A schema's complaint without the value that it is about, which may be anyone's."""
    rule, wanted = str(error.validator), error.validator_value
    if rule == "required":
        wanted = ", ".join(name for name in wanted if name not in error.instance)
    texts = {
        "type": f"expected {wanted}",
        "required": f"expected {wanted}",
        "const": f"expected {wanted!r}",
        "enum": f"expected one of {wanted}",
        "maxItems": f"expected at most {wanted} of them",
        "anyOf": "is none of what it may be",
    }
    return texts.get(rule, f"breaks its rule {rule!r}")
