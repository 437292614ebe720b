"""What `publish` takes from `fairness-metrics` at start, instead of estimating a window again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from estimated import published, run
from signed_windows import read

from streams.records.metric import FairnessMetric
from streams.records.published import PublishedRecord
from streams.records.release import SignedRelease
from streams.roles.emitted import EmittedWindows, Outcome
from streams.roles.publish import PublishCore

pytestmark = pytest.mark.slow


def holding(records: list[FairnessMetric]) -> EmittedWindows:
    """What was read of a topic that holds these records."""
    held = EmittedWindows()
    for record in records:
        held.read(read(record))
    return held


def replay(held: EmittedWindows) -> Iterator[FairnessMetric | Outcome]:
    """What a `publish` that starts with this topic makes of all releases."""
    pipeline = run()
    core = PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0, emitted=held)
    for party in "ab":
        for value in pipeline.log.values(f"releases-{party}"):
            found = core.apply(party, value) or core.last_emitted
            if found is not None:
                yield found


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_what_follows_is_the_same_bytes(share: float) -> None:
    """Pools and corrections come over windows that are passed over; these count as they would have."""
    every = sorted(published(), key=lambda window: window.window.end_ms)
    held = every[: int(share * len(every))]
    found = list(replay(holding(held)))
    passed = [each for each in found if isinstance(each, Outcome)]
    levels = {(window.measurement, window.level) for window in held}
    assert len(passed) == len(held) - len(levels)
    wanted = {window.topic_key(): window.encode() for window in every}
    assert all(wanted[each.topic_key()] == each.encode() for each in found if isinstance(each, FairnessMetric))
    assert sorted((w.measurement, w.level, w.status, w.reason or "") for w in found) == sorted(
        (w.measurement, w.level, w.status, w.reason or "") for w in every
    )


def test_the_newest_window_of_a_level_is_estimated_again() -> None:
    """/metrics shows its numbers, which come from signed releases."""
    estimated = {(w.measurement, w.level, w.window.end_ms) for w in replay(holding(published())) if hasattr(w, "table")}
    newest: dict[tuple[str, str], int] = {}
    for window in published():
        level = window.measurement, window.level
        newest[level] = max(window.window.end_ms, newest.get(level, 0))
    assert estimated == {(*level, end_ms) for level, end_ms in newest.items()}


def _not_json(record: FairnessMetric) -> tuple[bytes, bytes]:
    return record.topic_key(), b"{"


def _of_other_releases(record: FairnessMetric) -> tuple[bytes, bytes]:
    assert record.checks is not None
    checks = record.checks.model_copy(update={"release_signature_a": "00" * 64})
    return record.topic_key(), record.model_copy(update={"checks": checks}).encode()


def _under_another_key(record: FairnessMetric) -> tuple[bytes, bytes]:
    return b"feed/10s/1", record.encode()


def _without_hex(record: FairnessMetric) -> tuple[bytes, bytes]:
    value = msgspec.json.decode(record.encode()) | {"spec_sha256": "zz"}
    return record.topic_key(), msgspec.json.encode(value)


@pytest.mark.parametrize("change", [_not_json, _of_other_releases, _under_another_key, _without_hex])
def test_a_record_that_does_not_rest_on_the_releases_is_not_believed(change: Any) -> None:
    """Publish's own signature is not enough: its window is estimated from the releases, the others are passed over."""
    every = published()
    odd = min(every, key=lambda window: window.window.end_ms)
    held = holding([window for window in every if window is not odd])
    held.read(PublishedRecord(*change(odd), 1))
    keys = {found.topic_key() for found in replay(held) if isinstance(found, FairnessMetric)}
    assert odd.topic_key() in keys


def test_a_withdrawal_under_a_key_stands_for_no_outcome() -> None:
    """What its two releases came to is not in it, so they are added again."""
    odd = published()[0]
    withdrawn = odd.model_copy(
        update={
            "status": "withdrawn", "reason": "revoked", "results": (), "table": None, "moments": None,
            "rectifier": None, "privacy": None, "checks": None, "rows_per_member": None, "corrected_by": None,
        }
    )  # fmt: skip
    held = holding([*published(), withdrawn])
    assert held.version(odd.topic_key()) == 2
    assert odd.topic_key() in {found.topic_key() for found in replay(held) if isinstance(found, FairnessMetric)}


def test_pools_come_from_the_records() -> None:
    """Of windows that are passed over, the pools that later ones begin from are those that estimation would give."""
    every, pipeline = published(), run()
    newest = {(w.measurement, w.level): w.window.end_ms for w in sorted(every, key=lambda w: w.window.end_ms)}
    pools = []
    for held in (holding(every), None):
        core = PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0, emitted=held)
        for party in "ab":
            for value in pipeline.log.values(f"releases-{party}"):
                release = SignedRelease.decode(value).release
                if release.end_ms < newest[release.measurement, release.level]:
                    core.apply(party, value)
        pools.append(core._pools)
    assert pools[0] == pools[1]
    assert pools[0]
