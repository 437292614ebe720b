"""The roles of one process at a steady rate of live events, their clock in small steps: what they write in a while."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from privacy import Measurement, parse_measurement
from streams.inprocess import InProcessPipeline
from streams.records import frame
from streams.records.frame import Kind
from streams.settings import Settings
from streams.stage import TIMESTAMP_LOG_APPEND, Out

START_MS = 1_700_000_040_000
_ROLES = ("seal", "attach", "a", "b")

SPEC = """
id: {name}
purpose: rates
source: {{topic: ev, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: {base}, lateness: {lateness}, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
test_only: {{noise_scale_units: 1000.0}}
"""


def spec(name: str = "one", base: str = "2s", lateness: str = "300ms") -> Measurement:
    """A measurement of the topic ev."""
    return parse_measurement(SPEC.format(name=name, base=base, lateness=lateness), origin="sizing")


@dataclass
class Written:
    """What the roles wrote.

    Attributes:
        transactions: by role. kinds: of records on `sealed`. windows: releases of party a.
        records, size: by topic, how many, and bytes of keys and values.
    """

    transactions: Counter[str] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)
    windows: int = 0
    records: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)


def run(
    folder: Path,
    measurement: Measurement,
    rate: float,
    partitions: int,
    sources: int,
    *,
    seconds: int,
    warm_up_seconds: int = 2,
    turn_ms: int = 20,
    members: int = 10_000,
    few_rows_wait_seconds: float = Settings().seal.few_rows_wait_seconds,
) -> Written:
    """Events at random moments, of random members, to random partitions; what was written after the warm-up."""
    rng = np.random.default_rng(5)
    pipeline = InProcessPipeline(
        folder,
        partitions=partitions,
        sources={"ev": sources},
        few_rows_wait_ms=int(1000 * few_rows_wait_seconds),
        start_ms=START_MS,
    )
    pipeline.approve(measurement.with_effective_from(START_MS))
    written, counted, turning = Written(), [False], [""]
    write = pipeline._write

    def count_and_write(outputs: Sequence[Out]) -> None:
        if counted[0] and outputs:
            _count(written, turning[0], outputs)
        write(outputs)

    pipeline._write = count_and_write  # type: ignore[method-assign]  # to see each transaction
    for turn in range(1000 * (warm_up_seconds + seconds) // turn_ms):
        counted[0] = turn * turn_ms >= 1000 * warm_up_seconds
        pipeline.log.clock_ms += turn_ms
        at = pipeline.log.clock_ms
        for _ in range(rng.poisson(rate * turn_ms / 1000)):
            value = json.dumps({"m": f"m{rng.integers(members)}", "ts": at - 5, "r": True}).encode()
            pipeline.log.append("ev", int(rng.integers(sources)), value, timestamp=(TIMESTAMP_LOG_APPEND, at))
        for role in _ROLES:
            turning[0] = role
            pipeline.turn(role)
    return written


def _count(written: Written, role: str, outputs: Sequence[Out]) -> None:
    written.transactions[role] += 1
    for out in outputs:
        written.records[out.topic] += 1
        written.size[out.topic] += len(out.key or b"") + len(out.value or b"")
        if out.topic == "sealed" and out.value is not None:
            written.kinds[frame.kind_of(out.value)] += 1
        written.windows += out.topic == "releases-a"
