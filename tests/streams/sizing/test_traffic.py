"""Rates of batches, punctuations and transactions are those of the roles' own rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from paced_pipeline import run, spec

from streams.records.frame import Kind
from streams.settings import Settings
from streams.sizing.load import Layout, load_of
from streams.sizing.traffic import boundaries, commits, traffic_of

SECONDS = 16


@pytest.mark.parametrize(
    ("rate", "partitions", "sources"),
    [(200.0, 2, 2), (40.0, 4, 3), (0.7, 2, 1)],
)
def test_the_roles_write_as_much_as_counted(tmp_path: Path, rate: float, partitions: int, sources: int) -> None:
    """Batches, punctuations, windows and transactions of seal, attach and a party, busy and nearly idle."""
    found = run(tmp_path, spec(), rate, partitions, sources, seconds=SECONDS)
    load = load_of([spec()], rate, 1.0, 10_000, Settings())
    expected = traffic_of(load, Layout(partitions, sources, 1, 1))
    few = 3 / SECONDS  # what chance, and a window more or less, may move
    assert found.transactions["seal"] / SECONDS == pytest.approx(expected.seal, rel=0.15, abs=few)
    assert found.transactions["attach"] / SECONDS == pytest.approx(expected.attach, rel=0.15, abs=few)
    assert found.transactions["a"] / SECONDS == pytest.approx(expected.party, rel=0.15, abs=few)
    assert found.kinds[Kind.SEALED] / SECONDS == pytest.approx(sum(expected.batches), rel=0.15, abs=few)
    told = found.kinds[Kind.PUNCTUATION] / SECONDS
    assert told == pytest.approx(expected.punctuations, rel=0.15, abs=few * partitions)
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
