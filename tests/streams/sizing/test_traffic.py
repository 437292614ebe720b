"""Rates of batches, punctuations and transactions are those of the roles' own rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from paced_pipeline import run, spec

from streams.records.frame import Kind
from streams.settings import Settings, load_settings
from streams.sizing.load import Layout, load_of
from streams.sizing.traffic import boundaries, commits, interval_seconds, traffic_of

SECONDS = 16


@pytest.mark.parametrize("wait", [0.0, 15.0])
@pytest.mark.parametrize(
    ("rate", "partitions", "sources"),
    [(200.0, 2, 2), (40.0, 4, 3), (0.7, 2, 1)],
)
def test_the_roles_write_as_much_as_counted(
    tmp_path: Path, rate: float, partitions: int, sources: int, wait: float
) -> None:
    """Batches, punctuations, windows and transactions of seal, attach and a party, busy and nearly idle."""
    found = run(tmp_path, spec(), rate, partitions, sources, seconds=SECONDS, few_rows_wait_seconds=wait)
    load = load_of([spec()], rate, 1.0, 10_000, _waiting(wait))
    expected = traffic_of(load, Layout(partitions, sources, 1, 1))
    few = 3 / SECONDS  # what chance, and a window more or less, may move
    assert found.transactions["seal"] / SECONDS == pytest.approx(expected.seal, rel=0.15, abs=few)
    assert found.transactions["attach"] / SECONDS == pytest.approx(expected.attach, rel=0.15, abs=few)
    assert found.transactions["a"] / SECONDS == pytest.approx(expected.party, rel=0.15, abs=few)
    assert found.kinds[Kind.SEALED] / SECONDS == pytest.approx(sum(expected.batches), rel=0.15, abs=few)
    told = found.kinds[Kind.PUNCTUATION] / SECONDS
    assert told == pytest.approx(expected.punctuations, rel=0.15, abs=few * partitions)
    assert found.windows / SECONDS == pytest.approx(expected.windows, abs=1 / SECONDS)


@pytest.mark.parametrize(("lateness", "each"), [("1s", 1.0), ("500ms", 2.0)])
def test_a_window_ends_within_a_transaction_where_its_lateness_puts_it(
    tmp_path: Path, lateness: str, each: float
) -> None:
    """Windows of 1 s: with whole seconds of lateness a commit falls on the next one's end, with half ones between."""
    measurement = spec(base="1s", lateness=lateness)
    found = run(tmp_path, measurement, 200.0, 2, 2, seconds=SECONDS)
    expected = sum(traffic_of(load_of([measurement], 200.0, 1.0, 10_000, Settings()), Layout(2, 2, 1, 1)).batches)
    assert found.kinds[Kind.SEALED] / SECONDS == pytest.approx(4 * each, rel=0.1)
    assert expected == pytest.approx(found.kinds[Kind.SEALED] / SECONDS, rel=0.5 if each < 2 else 0.05)


@pytest.mark.parametrize(
    ("lateness", "rate", "rows"),
    [("200ms", 200.0, 100), ("1s", 200.0, 100), ("10ms", 200.0, 100), ("200ms", 24.0, 9_999), ("1s", 24.0, 9_999)],
)
def test_what_is_sent_ahead_is_counted(
    tmp_path: Path, lateness: str, rate: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Much that waits, many batches of a window that is over, or neither: transactions and batches as they are."""
    for where in ("streams.roles.seal", "streams.sizing.traffic"):
        monkeypatch.setattr(f"{where}.AHEAD_ROWS", rows)
        monkeypatch.setattr(f"{where}.AHEAD_ROWS_A_SLOT", rows // 10)
        monkeypatch.setattr(f"{where}.AHEAD_SLOTS", 3)
    measurement = spec(base="1s", lateness=lateness)
    found = run(tmp_path, measurement, rate, 2, 2, seconds=SECONDS)
    expected = traffic_of(load_of([measurement], rate, 1.0, 10_000, _waiting(0.0)), Layout(2, 2, 1, 1))
    ahead = rows == 100 or lateness == "200ms"
    assert expected.seal == pytest.approx(2.0 if ahead else 1.0)
    assert found.transactions["seal"] / SECONDS == pytest.approx(expected.seal, rel=0.15)
    assert found.kinds[Kind.SEALED] / SECONDS == pytest.approx(sum(expected.batches), rel=0.2)
    assert found.kinds[Kind.PUNCTUATION] / SECONDS == pytest.approx(expected.punctuations, rel=0.15)


def test_a_commit_waits_for_its_interval_and_for_something_to_commit() -> None:
    """Nothing to commit: only closings. Much: one an interval. One in a while: one each, no more."""
    assert commits(0.1, 1.0, 0.0) == pytest.approx(0.1)
    assert commits(0.1, 1.0, 1e6) == pytest.approx(1.0)
    assert commits(0.1, 1.0, float("inf")) == pytest.approx(1.0)
    assert commits(1.0, 1.0, 1e6) == pytest.approx(1.0)  # a closing is a commit as well
    assert 0.1 < commits(0.1, 1.0, 0.01) < 0.12


def _waiting(seconds: float) -> Settings:
    return load_settings(None, (f"seal.few_rows_wait_seconds={seconds}",))


def test_few_rows_are_counted_to_wait() -> None:
    """Until they are 64 a batch, or for as long as they may; not where they may not, or are as many at once."""
    layout, long = Layout(4, 4, 1, 1), spec(base="1h")

    def waits(rate: float, wait: float = 15.0) -> float:
        return interval_seconds(load_of([long], rate, 1.0, 10_000, _waiting(wait)), layout)

    assert waits(1.0) == pytest.approx(15.0)
    assert waits(16 * 64 / 4) == pytest.approx(4.0, abs=0.1)
    assert waits(16 * 64 * 2) == 1.0
    assert waits(1.0, wait=0.0) == 1.0


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

    assert batches(0.01) == pytest.approx(0.01, rel=0.02)
    assert batches(10_000) == pytest.approx(16 * 1.2)
    assert 1e7 / batches(1e7) == pytest.approx(4096, rel=0.06)


def test_each_worker_of_seal_adds_punctuation() -> None:
    """Twice the workers, twice the punctuation, and no more batches."""
    load = load_of([spec(base="10s")], 50_000.0, 1.0, 10_000, Settings())
    one, two = traffic_of(load, Layout(4, 4, 1, 1)), traffic_of(load, Layout(4, 4, 2, 1))
    assert two.punctuations == pytest.approx(2 * one.punctuations)
    assert two.batches == pytest.approx(one.batches)
