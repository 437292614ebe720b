"""For how long `seal` gathers records before it takes a step."""

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


def test_seal_gathers_until_a_window_is_about_to_close(tmp_path: Path) -> None:
    """Far from a window's end records are gathered for a while; a window that is due or overdue does not wait."""
    pipeline = InProcessPipeline(tmp_path, partitions=1, sources={"rec-events": 1}, start_ms=_BEGIN_MS)
    spec = parse_measurement(_SPEC, origin="test")
    pipeline.approve(spec.with_effective_from(_BEGIN_MS).with_expires(_BEGIN_MS + 86_400_000))
    pipeline.log.append("rec-events", 0, b"{}", timestamp=(TIMESTAMP_LOG_APPEND, _BEGIN_MS + 300))
    pipeline.turn("seal")
    pipeline.turn("seal")
    stage = pipeline.stage("seal")
    closes_ms = _BEGIN_MS + 1_200
    patience = {early: stage.patience_ms(closes_ms - early) for early in (800, 50, 30, 0, -500)}
    assert patience == {800: 50, 50: 50, 30: 30, 0: LEAST_PATIENCE_MS, -500: LEAST_PATIENCE_MS}


def test_other_stages_act_on_each_record(tmp_path: Path) -> None:
    """Punctuation may be in what comes next, so attach and the parties gather no longer than one poll takes."""
    pipeline = InProcessPipeline(tmp_path, partitions=1, sources={"rec-events": 1}, start_ms=_BEGIN_MS)
    for role in ("attach", "a", "b"):
        pipeline.turn(role)
        assert pipeline.stage(role).patience_ms(_BEGIN_MS) == LEAST_PATIENCE_MS
