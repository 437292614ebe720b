"""The record of `fairness-metrics`: its bytes, its headers, and what it refuses to say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_records import DETECTORS, MOMENTS, PRIVACY, TABLE, void, window, withdrawn
from pydantic import ValidationError

from estimator import GROUPS
from streams.errors import RecordMalformed
from streams.records.metric import Checks, FairnessMetric, Interval
from streams.roles.detecting import LevelDetectors

GOLDEN = Path(__file__).parent / "golden" / "fairness_metric.json"
GOLDEN_WITHDRAWN = Path(__file__).parent / "golden" / "fairness_metric_withdrawn.json"


def test_golden_withdrawal() -> None:
    """A withdrawal is a full record without a number, to the byte: an empty value would be a tombstone."""
    assert withdrawn().encode() == GOLDEN_WITHDRAWN.read_bytes().strip()
    assert FairnessMetric.decode(withdrawn().encode()) == withdrawn()


def test_a_withdrawal_takes_the_place_of_what_was_said() -> None:
    """It has the key of the window's numbers and an id of its own, so that a reader who knows ids sees it is new."""
    assert withdrawn().topic_key() == window().topic_key()
    headers = dict(withdrawn().headers("demo"))
    assert headers["ce_type"] == b"dev.evenstream.window.withdrawn.v1"
    assert headers["ce_id"] == b"feed/10s/1764000010000/2"
    assert withdrawn().version > window().version == void().version
    assert withdrawn().supersedes == dict(window().headers("demo"))["ce_id"].decode()


@pytest.mark.parametrize(
    "change",
    [
        {"reason": None},
        {"privacy": PRIVACY},
        {"checks": Checks(release_signature_a="aa", release_signature_b="bb")},
        {"rows_per_member": 2},
        {"table": window().table},
        {"moments": window().moments},
        {"rectifier": window().rectifier},
        {"results": window().results},
        {"detection": window().detection},
        {"status": "void"},
        {"status": "published", "reason": None},
        {"supersedes": "feed/10s/1764000010000/2"},
        {"supersedes": "feed/10s/1764000020000/1"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_withdrawal_carries_no_number(change: dict[str, Any]) -> None:
    """Neither a number nor what stands behind one is in it, and no other status may lack them."""
    with pytest.raises(ValidationError):
        FairnessMetric.model_validate(withdrawn().model_dump() | change)


def test_golden_shape() -> None:
    """Names, order and nesting of the public record are those of the golden file, and so are its values."""
    golden = json.loads(GOLDEN.read_bytes())
    found = json.loads(window().encode())

    def outline(value: Any) -> Any:
        if isinstance(value, dict):
            return [(name, outline(part)) for name, part in value.items()]
        return [outline(part) for part in value] if isinstance(value, list) else value

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rounded(part) for name, part in value.items()}
        if isinstance(value, list):
            return [rounded(part) for part in value]
        # Last digits of a logarithm may differ between processors.
        return round(value, 9) if isinstance(value, float) else value

    assert outline(rounded(found)) == outline(rounded(golden))


def test_bytes_are_deterministic() -> None:
    """Two windows from equal inputs give the same bytes, headers and key: a rebuild is byte-identical."""
    one, other = window(), window(table=TABLE.copy())
    assert one.encode() == other.encode()
    assert one.headers("demo") == other.headers("demo")
    assert one.topic_key() == other.topic_key() == b"feed/10s/1764000010000"


@pytest.mark.parametrize("built", [window(), void()])
def test_round_trip(built: FairnessMetric) -> None:
    """What is written is read back as it was, and written again as the same bytes."""
    record = built
    again = FairnessMetric.decode(record.encode())
    assert again == record
    assert again.encode() == record.encode()


def test_table_is_the_noised_one_to_the_last_unit() -> None:
    """Subscribers can work with the table itself: fixed-point values survive JSON exactly."""
    exact = TABLE + 1 / (1 << 20)
    table = FairnessMetric.decode(window(table=exact).encode()).table
    assert table is not None
    assert (np.array(table.values) == exact).all()
    assert table.groups == GROUPS


def test_moments_are_the_noised_ones() -> None:
    """Subscribers get M as a symmetric matrix over named groups, and both counts, whatever noise has made of them."""
    moments = FairnessMetric.decode(window().encode()).moments
    assert moments is not None
    assert (np.array(moments.products) == MOMENTS.products).all()
    assert (moments.groups, moments.rows, moments.self_id_rows) == (GROUPS, 12000.5, -3.25)
    assert moments.residual_squares == (-1, 0, 1, 2, 3, 4)


def test_a_window_has_the_channels_that_it_has() -> None:
    """Without moments or rectifier they are null, and so are their noises."""
    record = json.loads(window(moments=None, rectifier=None).encode())
    assert record["moments"] is record["rectifier"] is None


def test_cloudevents_headers() -> None:
    """Binary mode, CloudEvents 1.0: the attributes are headers, and the time is the window's end."""
    assert window().headers("demo") == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"feed/10s/1764000010000/1"),
        ("ce_source", b"/evenstream/demo"),
        ("ce_type", b"dev.evenstream.window.published.v1"),
        ("ce_subject", b"feed/10s"),
        ("ce_time", b"2025-11-24T16:00:10.000Z"),
        ("ce_dataschema", b"urn:evenstream:schema:fairness-metrics:1"),
        ("content-type", b"application/json"),
    ]
    assert dict(void().headers("demo"))["ce_type"] == b"dev.evenstream.window.void.v1"


def test_one_partition_a_measurement() -> None:
    """All windows and levels of a measurement go to one partition; measurements spread over several."""
    ends = [1_764_000_010_000 + 10_000 * step for step in range(50)]
    feed = {window(end_ms=end, level=level).partition(12) for end, level in zip(ends, ["10s", "1m"] * 25, strict=True)}
    assert len(feed) == 1
    assert len({window(measurement=f"feed-{number}").partition(12) for number in range(50)}) > 6


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_never_nan_or_infinity(nothing: float) -> None:
    """A number that is none is refused when the record is made, so it can never be written."""
    with pytest.raises(ValidationError):
        Interval(estimate=nothing, lower=0.0, upper=1.0)
    table = TABLE.copy()
    table[0, 0] = nothing
    with pytest.raises(ValidationError):
        window(table=table)


def test_no_epsilon_is_null() -> None:
    """Where no epsilon is finite (test noise), the record says null."""
    unbounded = PRIVACY.model_copy(update={"epsilon": None, "epsilon_add_remove": None})
    assert json.loads(window(privacy=unbounded).encode())["privacy"]["epsilon_spent"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "void", "reason": "coverage_differs"},
        {"status": "void", "reason": "coverage_differs", "results": ()},
        {"status": "void", "reason": "coverage_differs", "table": None, "moments": None, "rectifier": None},
        {"status": "void", "reason": "coverage_differs", "results": (), "table": None, "rectifier": None},
        {"status": "void", "reason": "coverage_differs", "results": (), "table": None, "moments": None},
        {
            "status": "void", "reason": "coverage_differs", "results": (), "table": None, "moments": None,
            "rectifier": None, "detection": window().detection,
        },
        {"status": "void", "reason": None, "results": (), "table": None, "moments": None, "rectifier": None},
        {"status": "published", "reason": "fine"},
        {"status": "published", "table": None, "results": ()},
        {"status": "suppressed", "reason": "no_group_says_anything"},
        {"status": "withdrawn", "reason": "court order"},
        {"end_ms": 1_764_000_000_000},
        {"supersedes": "feed/10s/1764000010000/1"},
    ],
)  # fmt: skip
def test_contradictions_are_refused(changes: dict[str, Any]) -> None:
    """A void window never carries a number, and every status says what it has to say."""
    with pytest.raises(ValidationError):
        window(**changes)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"measurement": None}, "measurement"),
        ({"window": {"start_ms": 5}}, "window.end_ms"),
    ],
)
def test_malformed_records_name_the_field(change: dict[str, Any], where: str) -> None:
    """A record with missing or wrong fields is refused by name, without showing what it held."""
    contents = json.loads(window().encode()) | change
    with pytest.raises(RecordMalformed, match=where):
        FairnessMetric.decode(json.dumps(contents).encode())
    with pytest.raises(RecordMalformed) as caught:
        FairnessMetric.decode(b'{"secret-payload"')
    assert "secret" not in str(caught.value)


def test_evidence_lies_with_its_results() -> None:
    """Each watched gap of the detectors' estimator carries it; the reference carries none, a suppressed group does."""
    record = window()
    assert record.detection is not None
    said = {result.group: (result.log_evidence, result.alarm, result.alarm_since_ms) for result in record.results}
    assert said["white"] == (None, None, None)
    assert said["multiple"][1:] == (False, None)
    assert said["black"][1:] == (True, record.window.end_ms)
    assert said["black"][0] is not None
    assert said["black"][0] >= record.detection.log_threshold == 8.52  # log(1000 x 5), rounded up
    assert said["native"][1:] == (False, None)
    assert [state.group for state in record.detection.state] == ["black", "api", "hispanic", "native", "multiple"]


def test_the_state_in_a_record_is_what_goes_on() -> None:
    """Read back, it is the same whole numbers; of other detectors, or another grid, it is not taken."""
    said = window().detection
    assert said is not None
    names, written = DETECTORS.names, said.model_dump_json().encode()
    evidence = DETECTORS.read(written)
    assert evidence is not None
    assert DETECTORS.said(evidence) == said
    assert evidence.above[0].tolist() == list(said.state[0].above)
    assert evidence.seen.all()
    others = (
        LevelDetectors("rectified", DETECTORS.tolerated_gaps, names, 1000),
        LevelDetectors("weighted", {"recommendation_rate": 0.03}, names, 1000),
        LevelDetectors("weighted", DETECTORS.tolerated_gaps, names[::-1], 1000),
        LevelDetectors("weighted", DETECTORS.tolerated_gaps, names[:3], 1000),
        LevelDetectors("weighted", DETECTORS.tolerated_gaps, names, 1001),
    )
    assert [other.read(written) for other in others] == [None] * len(others)
    for broken in (
        said.model_copy(update={"bets": (0.5, 1.0, 2.0, 3.0, 4.0)}),
        said.model_copy(update={"state": (*said.state, said.state[0])}),
        said.model_copy(update={"state": (said.state[0].model_copy(update={"above": (1, 2)}),)}),
        said.model_copy(update={"state": (said.state[0].model_copy(update={"breach_windows": 1 << 70}),)}),
    ):
        assert DETECTORS.read(broken.model_dump_json().encode()) is None
    assert [DETECTORS.read(nothing) for nothing in (None, b"", b"null", b"{")] == [None] * 4


def test_a_record_without_detection_is_read() -> None:
    """Those that were written before there were detectors: no evidence, and nothing else is changed."""
    contents = json.loads(window().encode())
    del contents["detection"]
    for result in contents["results"]:
        del result["alarm_since_ms"]
    old = FairnessMetric.decode(json.dumps(contents).encode())
    assert old.detection is None
    assert old.results[1].gap == window().results[1].gap


def test_a_changed_copy_has_bytes_of_its_own() -> None:
    """A record is encoded once; what is copied from it is another record."""
    first = window()
    assert first.encode() is first.encode()
    other = first.model_copy(update={"revision": first.revision + 1})
    assert FairnessMetric.decode(other.encode()) == other != first
