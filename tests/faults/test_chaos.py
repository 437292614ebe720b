"""The short form of `evenstream chaos`: kills of every role, of the broker, and a zombie, on a Kafka of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from streams.chaos.report import show
from streams.chaos.run import ChaosRun, Options, Result
from streams.chaos.schedule import ROLES

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

_OPTIONS = Options(seed=20_261_126, minutes=2, rate=120, members=5_000, lateness_seconds=10)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """A finished run; its broker is killed, so it is never the session's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KAFKA_BOOTSTRAP", raising=False)
        chaos = ChaosRun(tmp_path_factory.mktemp("chaos"), _OPTIONS, print, lambda progress: None)
        try:
            finished = chaos.run()
        finally:
            chaos.close()
    show(Console(width=120), finished)  # shown where a test fails
    yield finished


def test_every_row_counts_once_and_every_window_is_released_once(result: Result) -> None:
    """Whatever was killed: nothing lost, nothing double, no window void, both parties and the ledgers agree."""
    assert result.shortfalls == []
    assert (result.verdict.lost, result.verdict.duplicated, result.verdict.unequal) == (0, 0, 0)
    assert not result.verdict.void
    assert result.verdict.rows > 5_000
    assert result.verdict.windows > 40
    assert result.verdict.debits in (2, 4)  # one a party, or two where the run passes midnight


def test_the_faults_were_really_injected(result: Result) -> None:
    """All that the schedule holds happened: every role was killed, some within their transactions, the rest too."""
    assert len(result.done.injections) == len(result.planned)
    assert result.done.kills.total() == sum(fault.kills for fault in result.planned) >= 12
    assert all(result.done.kills[role] for role in ROLES)
    assert result.done.open_kills >= 1
    assert result.done.others == {"broker kill": 1, "zombie": 1}
    assert result.restarts >= 12
