"""What is said of records on the topic that are not what the protocol promises."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import pytest
from known_records import identity
from metric_records import hour, void, window, withdrawn

from secure_agg import PinnedIdentities
from streams import record_check
from streams.errors import PrerequisiteMissing
from streams.record_check import RecordCheck
from streams.records.metric import FairnessMetric
from streams.records.published import signed_headers
from streams.subscription import Delivery

PARTITIONS = 12
TRUSTED = PinnedIdentities("demo", {"publish": identity("publish").private_key.public_key()})


def delivery(record: FairnessMetric, **changes: Any) -> Delivery:
    """A record as publish writes it, changed where the test needs it."""
    found = Delivery(
        topic="demo.fairness-metrics",
        partition=record.partition(PARTITIONS),
        offset=7,
        timestamp_ms=1,
        key=record.topic_key(),
        headers=tuple(headers_of(record)),
        value=record.encode(),
    )
    return replace(found, **changes)


def headers_of(record: FairnessMetric, value: bytes | None = None) -> list[tuple[str, bytes]]:
    """As publish writes them."""
    return signed_headers(record, value or record.encode(), identity("publish", "demo"))


def check(trusted: PinnedIdentities | None = TRUSTED) -> RecordCheck:
    """Of the deployment's topic."""
    return RecordCheck("demo", lambda: PARTITIONS, trusted)


def test_what_publish_writes_is_in_order() -> None:
    """Published, void, withdrawn, in their order; further headers and fields are nobody's business."""
    found = check()
    later = json.dumps(json.loads(hour().encode()) | {"of_a_later_version": 1}).encode()
    for record in (window(), withdrawn(), hour(1)):
        assert found.problems(delivery(record)) == []
    assert check().problems(delivery(void())) == []
    assert check().problems(delivery(hour(), value=later, headers=(*headers_of(hour(), later), ("trace", b"1")))) == []


def header(name: str, value: bytes | None) -> tuple[tuple[str, bytes | None], ...]:
    """A window's headers with one of them changed, or without it."""
    found = dict[str, bytes | None](headers_of(window())) | {name: value}
    return tuple((name, value) for name, value in found.items() if value is not None)


def contents(**changes: Any) -> bytes:
    """A window's value, changed."""
    return json.dumps(json.loads(window().encode()) | changes).encode()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"partition": 11}, "partition: expected"),
        ({"key": b"feed/10s/1"}, "key: expected 'feed/10s/1764000010000'"),
        ({"key": None}, "key: expected"),
        ({"headers": header("ce_type", b"dev.evenstream.window.void.v1")}, "header ce_type: expected"),
        ({"headers": header("ce_id", None)}, "header ce_id: not there"),
        ({"headers": header("ce_source", b"/evenstream/other")}, "header ce_source: expected '/evenstream/demo'"),
        ({"headers": (*headers_of(window()), ("ce_id", b"2"))}, "header ce_id: twice"),
        ({"headers": header("ce_signature", None)}, "header ce_signature: publish has not signed it: it has no"),
        ({"headers": header("ce_signature", b"AAAA")}, "header ce_signature: publish has not signed it: its sig"),
        ({"headers": tuple(headers_of(hour()))}, "header ce_signature: publish has not signed it: its sig"),
        ({"value": None}, "value: empty"),
        ({"value": b'{"secret"'}, "value: expected JSON"),
        ({"value": contents().replace(b"0.95", b"NaN")}, "value: expected JSON"),
        ({"value": contents(status="void", reason="x")}, "value: $.results: expected at most 0"),
        ({"value": contents(status="superseded", reason="secret")}, "value: $.status: expected one of"),
        ({"value": contents(measurement=5)}, "value: $.measurement: expected string"),
        ({"value": b"{}"}, "value: $: expected measurement, revision"),
        ({"value": b"[]"}, "value: $: expected object"),
        ({"value": contents(window={"start_ms": 5, "end_ms": 5})}, "the window ends at 5"),
    ],
)  # fmt: skip
def test_each_promise_is_checked(changes: dict[str, Any], told: str) -> None:
    """By name, with what was expected, and without what a stranger may have written."""
    found = check().problems(delivery(window(), **changes))
    assert any(told in problem for problem in found), found
    assert not any("secret" in problem for problem in found)


def test_an_id_comes_once_and_versions_rise() -> None:
    """The same window again, or numbers behind their withdrawal, break the order."""
    found = check()
    assert found.problems(delivery(window())) == []
    assert "version 1 comes after version 1" in found.problems(delivery(window()))[0]
    assert found.problems(delivery(withdrawn())) == []
    assert "version 1 comes after version 2" in found.problems(delivery(window()))[0]


def test_what_publish_has_not_signed_takes_no_part_in_the_order() -> None:
    """A forged record under a window's key makes nothing wrong of the genuine one that comes behind it."""
    found = check()
    forged = delivery(window().model_copy(update={"confidence": 0.9}), headers=tuple(headers_of(window())))
    assert len(found.problems(forged)) == 1
    assert found.problems(delivery(window())) == []
    assert len(found.problems(forged)) == 1


def test_without_the_pinned_keys_no_signature_is_verified() -> None:
    """Whoever has none hears only where there is none at all."""
    assert check(None).problems(delivery(window(), headers=header("ce_signature", b"AAAA"))) == []
    assert check(None).problems(delivery(window(), headers=header("ce_signature", None))) == [
        "header ce_signature: not there"
    ]


def test_without_jsonschema_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only whoever validates needs it."""
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(PrerequisiteMissing, match=r"evenstream\[validate\]"):
        check()


def test_it_remembers_the_last_windows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tail --validate` may run for years: of the windows read last the order is judged, of older ones no more."""
    monkeypatch.setattr(record_check, "_WINDOWS_KEPT", 2)
    found = check()
    for record in (hour(0), hour(1), hour(2)):
        assert found.problems(delivery(record)) == []
    assert len(found._versions) == 2
    assert found.problems(delivery(hour(2))) == ["ce_id: version 1 comes after version 1 of the same window"]
    assert found.problems(delivery(hour(0))) == []
