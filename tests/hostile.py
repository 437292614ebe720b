"""A pipeline in one process that hostile writers write into, and what came of it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from estimator import RaceModel
from privacy import parse_measurement
from streams.inprocess import InProcessPipeline
from streams.records.batches import SealedBatch
from streams.records.frame import Kind, kind_of
from streams.records.header import Header, encode_header

START_MS = 1_700_000_040_000
SPEC = """
id: feed
purpose: hostile records
source: {topic: rec-events, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m], lateness: 1s}
reference: white
privacy: {contribution_cap: 24, rho_member_day: 0.1, cap_rule: first}
test_only: {noise_scale_units: 0.01}
"""
MEMBERS = [b"m%05d" % k for k in range(400)]


@cache
def _model() -> RaceModel:
    return RaceModel.load()


def make_pipeline(folder: Path, *, more: str = "") -> InProcessPipeline:
    """A pipeline with one measurement and four hundred members, every third of whom said a group.

    Args:
        more: what the spec has besides.
    """
    pipeline = InProcessPipeline(
        folder / "keys", partitions=2, sources={"rec-events": 2}, start_ms=START_MS - 5_000, model=_model()
    )
    pipeline.approve(
        parse_measurement(SPEC.replace("cap_rule", f"{more}cap_rule"), origin="test").with_effective_from(START_MS)
    )
    for number, member in enumerate(MEMBERS):
        said = ["hispanic", "white"][number % 2] if number % 3 == 0 else None
        attributes = json.dumps({"family_name": "Garcia", "state": "CA", "self_id": said}).encode()
        pipeline.write_attributes(member, attributes)
    return pipeline


def send(pipeline: InProcessPipeline, seconds: int, events: int = 10) -> None:
    """Move the clock, and write some events."""
    pipeline.log.clock_ms = START_MS + 1000 * seconds
    rng = np.random.default_rng(seconds)
    for member in rng.choice(len(MEMBERS), events):
        event = {"m": MEMBERS[member].decode(), "ts": pipeline.log.clock_ms, "r": bool(member % 2)}
        pipeline.log.append("rec-events", int(member) % 2, json.dumps(event).encode())


def run_seconds(folder: Path, seconds: int) -> InProcessPipeline:
    """A pipeline after so many seconds of events."""
    pipeline = make_pipeline(folder)
    for second in range(seconds):
        send(pipeline, second)
        pipeline.run()
    return pipeline


def forge(pipeline: InProcessPipeline, header: Header, *sections: bytes) -> SealedBatch:
    """A batch under seal's own signature, whatever it says."""
    return SealedBatch.signed(pipeline._keys["seal"].identity, header, encode_header(header), *sections)


def totals(pipeline: InProcessPipeline) -> list[float]:
    """Rows in each published base window."""
    return [
        round(sum(map(sum, window.table.values)), 4)
        for window in pipeline.published
        if window.level == "10s" and window.table is not None
    ]


def refused(pipeline: InProcessPipeline, role: str, reason: str) -> float:
    """How many records a role has refused for a reason."""
    labels = {"role": role, "reason": reason}
    return pipeline.registries[role].get_sample_value("evenstream_records_refused_total", labels) or 0.0


def last_batch(pipeline: InProcessPipeline, topic: str, kind: Kind) -> tuple[int, bytes]:
    """Partition and value of the newest batch on a topic."""
    for (name, partition), records in pipeline.log.partitions.items():
        if name == topic:
            for record in reversed(records):
                if record.value_ and kind_of(record.value_) is kind:
                    return partition, record.value_
    raise AssertionError(f"no {kind.name} on {topic}")
