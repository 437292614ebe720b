"""Rates of batches, punctuations and transactions are those of the roles' own rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from privacy import Measurement, parse_measurement
from streams.inprocess import InProcessPipeline
from streams.records import frame
from streams.records.frame import Kind
from streams.settings import Settings
from streams.sizing.load import Layout, load_of
from streams.sizing.traffic import boundaries, commits, traffic_of
from streams.stage import TIMESTAMP_LOG_APPEND, Out

START_MS = 1_700_000_040_000
WARM_UP_MS, SECONDS, TURN_MS = 2_000, 16, 20

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
class Counted:
    """What the roles wrote in so many seconds."""

    seal: int
    attach: int
    party: int
    batches: int
    punctuations: int
    windows: int


def run(folder: Path, measurement: Measurement, rate: float, partitions: int, sources: int) -> Counted:
    """Live events at random moments, the clock of all roles in steps of 20 ms."""
    rng = np.random.default_rng(5)
    pipeline = InProcessPipeline(folder, partitions=partitions, sources={"ev": sources}, start_ms=START_MS)
    pipeline.approve(measurement.with_effective_from(START_MS))
    commits_of = {"seal": 0, "attach": 0, "a": 0, "b": 0}
    before = Counted(0, 0, 0, 0, 0, 0)
    written, write = [0], pipeline._write

    def count_and_write(outputs: Sequence[Out]) -> None:
        written[0] += bool(outputs)
        write(outputs)

    pipeline._write = count_and_write  # type: ignore[method-assign]  # to see each transaction
    for turn in range((WARM_UP_MS + 1000 * SECONDS) // TURN_MS):
        if turn == WARM_UP_MS // TURN_MS:
            before = _counted(pipeline, commits_of)
        pipeline.log.clock_ms += TURN_MS
        for _ in range(rng.poisson(rate * TURN_MS / 1000)):
            who, at = int(rng.integers(10_000)), pipeline.log.clock_ms
            value = json.dumps({"m": f"m{who}", "ts": at - 5, "r": True}).encode()
            pipeline.log.append("ev", int(rng.integers(sources)), value, timestamp=(TIMESTAMP_LOG_APPEND, at))
        for role in commits_of:
            written[0] = 0
            pipeline.turn(role)
            commits_of[role] += written[0]
    after = _counted(pipeline, commits_of)
    return Counted(**{name: value - getattr(before, name) for name, value in vars(after).items()})


def _counted(pipeline: InProcessPipeline, commits_of: dict[str, int]) -> Counted:
    kinds = [frame.kind_of(value) for value in pipeline.log.values("sealed")]
    return Counted(
        commits_of["seal"],
        commits_of["attach"],
        commits_of["a"],
        kinds.count(Kind.SEALED),
        kinds.count(Kind.PUNCTUATION),
        len(pipeline.log.values("releases-a")),
    )


@pytest.mark.parametrize(
    ("rate", "partitions", "sources"),
    [(200.0, 2, 2), (40.0, 4, 3), (0.7, 2, 1)],
)
def test_the_roles_write_as_much_as_counted(tmp_path: Path, rate: float, partitions: int, sources: int) -> None:
    """Batches, punctuations, windows and transactions of seal, attach and a party, busy and nearly idle."""
    found = run(tmp_path, spec(), rate, partitions, sources)
    load = load_of([spec()], rate, 1.0, 10_000, Settings())
    expected = traffic_of(load, Layout(partitions, sources, 1, 1))
    few = 3 / SECONDS  # what chance, and a window more or less, may move
    assert found.seal / SECONDS == pytest.approx(expected.seal, rel=0.15, abs=few)
    assert found.attach / SECONDS == pytest.approx(expected.attach, rel=0.15, abs=few)
    assert found.party / SECONDS == pytest.approx(expected.party, rel=0.15, abs=few)
    assert found.batches / SECONDS == pytest.approx(sum(expected.batches), rel=0.15, abs=few)
    assert found.punctuations / SECONDS == pytest.approx(expected.punctuations, rel=0.15, abs=few * partitions)
    assert found.windows / SECONDS == pytest.approx(expected.windows, abs=1 / SECONDS)


def test_a_commit_waits_for_its_interval_and_for_something_to_commit() -> None:
    """Nothing to commit: only closings. Much: one an interval. One in a while: one each, no more."""
    assert commits(0.1, 1.0, 0.0) == pytest.approx(0.1)
    assert commits(0.1, 1.0, 1e6) == pytest.approx(1.0)
    assert commits(0.1, 1.0, float("inf")) == pytest.approx(1.0)
    assert commits(1.0, 1.0, 1e6) == pytest.approx(1.0)  # a closing is a commit as well
    assert 0.1 < commits(0.1, 1.0, 0.01) < 0.12


def test_windows_that_close_together_are_one_moment() -> None:
    """10 s and 1 min windows with the same lateness close together; with another lateness they do not."""
    short, long = spec(base="10s"), spec(base="1m")
    assert boundaries([short, long]) == pytest.approx(1 / 10)
    assert boundaries([short, spec(base="1m", lateness="4s")]) == pytest.approx(1 / 10 + 1 / 60)
    assert boundaries([short, spec(base="15s")]) == pytest.approx(1 / 10 + 1 / 15)


def test_batches_fill_with_the_rate() -> None:
    """A row a batch at first, then one batch for each stream and commit, then full ones."""
    layout = Layout(4, 4, 1, 1)

    def batches(rate: float) -> float:
        return sum(traffic_of(load_of([spec(base="10s")], rate, 1.0, 10_000, Settings()), layout).batches)

    assert batches(0.1) == pytest.approx(0.1, rel=0.02)
    assert batches(10_000) == pytest.approx(16 * 1.1)
    assert 1e7 / batches(1e7) == pytest.approx(4096, rel=0.06)


def test_each_worker_of_seal_adds_punctuation() -> None:
    """Twice the workers, twice the punctuation, and no more batches."""
    load = load_of([spec(base="10s")], 50_000.0, 1.0, 10_000, Settings())
    one, two = traffic_of(load, Layout(4, 4, 1, 1)), traffic_of(load, Layout(4, 4, 2, 1))
    assert two.punctuations == pytest.approx(2 * one.punctuations)
    assert two.batches == pytest.approx(one.batches)
