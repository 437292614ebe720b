"""Where seal begins with a source partition that it has never read."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import pytest
from confluent_kafka import TopicPartition

from privacy import parse_measurement
from streams.control import Approved
from streams.roles import run_seal
from streams.settings import Settings

NOW_MS = 1_700_000_040_000
HOUR_MS = 3_600_000
SPEC = """
id: feed
purpose: where to begin
source: {topic: ev, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s, lateness: 1s, max_future: 1s}
reference: white
privacy: {contribution_cap: 1, rho_member_day: 0.1}
"""


class _Log:
    """A LogAppendTime partition: one record a minute in the last three hours."""

    stamps = tuple(NOW_MS - minute * 60_000 for minute in range(180, 0, -1))

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, len(self.stamps)

    def offsets_for_times(self, wanted: list[TopicPartition], timeout: float) -> list[Mock]:
        found = [k for k, stamp in enumerate(self.stamps) if stamp >= wanted[0].offset]
        return [Mock(offset=found[0] if found else -1, error=None)]

    def close(self) -> None:
        pass


@pytest.mark.parametrize("clock_ms", [NOW_MS - HOUR_MS, NOW_MS, NOW_MS + HOUR_MS])
@pytest.mark.parametrize("begins_ms", [NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS // 2, NOW_MS + HOUR_MS // 2])
def test_nothing_is_claimed_that_is_not_read(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, clock_ms: int, begins_ms: int
) -> None:
    """Whatever this machine's clock says: every record since the time that is told is read, and all that count are."""
    monkeypatch.setattr(run_seal, "make_consumer", lambda *_: _Log())
    monkeypatch.setattr(run_seal, "now_ms", lambda: clock_ms)
    measurement = parse_measurement(SPEC, origin="test")
    approved = Approved(measurement, bytes(32), bytes(32), begins_ms, 1 << 53, 0)
    begun = run_seal._start_offset(make_settings(), lambda: None)("ev", 0, approved)
    assert begun is not None
    offset, since_ms = begun
    assert all(stamp < since_ms for stamp in _Log.stamps[:offset])
    assert since_ms <= max(begins_ms - measurement.max_future_ms, 0)
