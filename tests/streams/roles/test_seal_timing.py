"""For how long `seal` gathers records before it takes a step, and when it commits."""

from __future__ import annotations

from pathlib import Path

from privacy import parse_measurement
from streams.inprocess import InProcessPipeline
from streams.stage import LEAST_PATIENCE_MS, TIMESTAMP_LOG_APPEND

_BEGIN_MS = 1_700_000_000_000
_SPEC = """
id: patience
purpose: a test
source: {topic: rec-events, member: m, time: t, time_format: epoch_ms}
cells: {outcome: {field: x}}
windows: {base: 1s, lateness: 200ms, max_future: 1s}
reference: white
privacy: {contribution_cap: 1, rho_member_day: 0.1}
review: {owner: a test, harm_considered: none, data_used: made up, retention: none}
"""


def _reading(folder: Path, *arrivals_ms: int) -> InProcessPipeline:
    """`seal` at work on a topic whose records came at these times."""
    pipeline = InProcessPipeline(folder, partitions=1, sources={"rec-events": 1}, start_ms=_BEGIN_MS)
    spec = parse_measurement(_SPEC, origin="test")
    pipeline.approve(spec.with_effective_from(_BEGIN_MS).with_expires(_BEGIN_MS + 86_400_000))
    _append(pipeline, *arrivals_ms)
    pipeline.turn("seal")
    pipeline.turn("seal")
    return pipeline


def _append(pipeline: InProcessPipeline, *arrivals_ms: int) -> None:
    for arrival_ms in arrivals_ms:
        pipeline.log.append("rec-events", 0, b"{}", timestamp=(TIMESTAMP_LOG_APPEND, arrival_ms))


def test_seal_gathers_until_a_window_is_about_to_close(tmp_path: Path) -> None:
    """Far from a window's end records are gathered for a while; a window that is due or overdue does not wait."""
    stage = _reading(tmp_path, _BEGIN_MS + 300).stage("seal")
    closes_ms = _BEGIN_MS + 1_200
    patience = {early: stage.patience_ms(closes_ms - early) for early in (800, 50, 30, 0, -500)}
    assert patience == {800: 50, 50: 50, 30: 30, 0: LEAST_PATIENCE_MS, -500: LEAST_PATIENCE_MS}


def test_a_window_that_has_just_ended_is_told_at_once(tmp_path: Path) -> None:
    """Live, a commit comes with each window's end, however short ago the last one was."""
    pipeline = _reading(tmp_path, _BEGIN_MS + 300)
    stage = pipeline.stage("seal")
    stage.checkpoint(_BEGIN_MS + 1_190)
    _append(pipeline, _BEGIN_MS + 1_210)
    pipeline.turn("seal", commit=False)
    assert stage.due(_BEGIN_MS + 1_210)


def test_windows_of_a_backlog_are_told_once_in_an_interval(tmp_path: Path) -> None:
    """Windows that were over long ago do not make a commit each: they wait until a second has passed since the last."""
    pipeline = _reading(tmp_path, _BEGIN_MS + 300)
    stage, now_ms = pipeline.stage("seal"), _BEGIN_MS + 60_000
    stage.checkpoint(now_ms)
    _append(pipeline, _BEGIN_MS + 1_210, _BEGIN_MS + 2_210)
    pipeline.turn("seal", commit=False)
    assert not stage.due(now_ms + 500)
    assert stage.due(now_ms + 1_000)


def test_other_stages_act_on_each_record(tmp_path: Path) -> None:
    """Punctuation may be in what comes next, so attach and the parties gather no longer than one poll takes."""
    pipeline = InProcessPipeline(tmp_path, partitions=1, sources={"rec-events": 1}, start_ms=_BEGIN_MS)
    for role in ("attach", "a", "b"):
        pipeline.turn(role)
        assert pipeline.stage(role).patience_ms(_BEGIN_MS) == LEAST_PATIENCE_MS
