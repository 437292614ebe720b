"""A window in one line."""

from __future__ import annotations

from metric_records import hour, minute, void, window

from streams.report.windows import Line, watched_estimator, widest_gap


def test_a_published_window() -> None:
    """Its end, its status, and the gap that is surely furthest from 0, with its interval."""
    record = hour(decided=0.2)
    line = Line.of(record)
    found = widest_gap(record)
    assert found is not None
    assert found.gap is not None
    assert line.cells[:4] == ("2025-11-24T17:00:00Z", "feed", "1h", "published")
    assert line.cells[4].startswith(f"{found.gap.estimate:+.3f} [")
    assert (found.group, found.estimator) == ("two", "rectified")
    assert abs(found.gap.estimate) > 0.1


def test_evidence_stands_beside_its_threshold() -> None:
    """The most of any detector; an alarm names its group, statistic and no other."""
    record = hour(1, decided=0.4)
    assert record.detection is not None
    most = max(r.log_evidence for r in record.results if r.log_evidence is not None)
    line = Line.of(record)
    assert line.cells[5] == f"{most:+.1f} of {record.detection.log_threshold:.1f}"
    assert line.alarm
    assert line.cells[6].split(", ") == [f"{r.group} {r.metric}" for r in record.results if r.alarm]
    old = record.model_copy(update={"detection": None})
    assert Line.of(old).cells[5] == ""


def test_the_widest_gap_is_the_surest() -> None:
    """No other interval of the watched estimator lies further from 0, whatever its estimate."""
    record = hour(decided=0.2)
    found = widest_gap(record)
    assert found is not None and found.gap is not None
    far = max(found.gap.lower, -found.gap.upper)
    others = [r.gap for r in record.results if r.estimator == "rectified" and r.gap is not None]
    assert far > 0
    assert all(max(gap.lower, -gap.upper) <= far for gap in others)
    only = widest_gap(record, ["recommendation_rate"])
    assert only is not None
    assert only.metric == "recommendation_rate"
    assert widest_gap(record, ["none"]) is None


def test_a_short_window_is_judged_by_its_weighted_gaps() -> None:
    """Its rectified ones all carry the error of one correction."""
    assert watched_estimator(minute(hour())) == "weighted"
    assert watched_estimator(hour()) == "rectified"


def test_a_void_window_says_why_and_no_number() -> None:
    """Nothing in the place of a number."""
    assert Line.of(void()).cells == ("2025-11-24T16:00:10Z", "feed", "10s", "void: coverage_differs", "", "", "")


def test_nothing_can_move_the_cursor() -> None:
    """Texts of the topic are anyone's who may write there."""
    record = window(measurement="feed\x1b[2J\nevenstream: all is well")
    assert "\x1b" not in "".join(Line.of(record).cells)
    assert "\n" not in "".join(Line.of(record).cells)
