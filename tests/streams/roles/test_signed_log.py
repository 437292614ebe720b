"""The senders' clocks as a reader of a log knows them: what lets an epoch's key be destroyed."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from privacy import Limits
from secure_agg.keyring import create, load_trusted
from streams.control import ControlPlane
from streams.records.punctuation import Punctuation, SourceProgress
from streams.roles.signed_log import SignedLog
from streams.watch.health import RoleHealth

SOURCE = bytes(32)


def log_of(folder: Path, partitions: list[int]) -> SignedLog:
    """A worker's log, of which nothing has been read."""
    create(folder, "d")
    control = ControlPlane(load_trusted(folder / "attach"), test_cluster=True, limits=Limits.of_day(1.0))
    return SignedLog("sealed", "sealed", partitions, control, RoleHealth("attach", CollectorRegistry()))


def say(log: SignedLog, j: int, clock_ms: int, *, sources: tuple[int, ...], of: int) -> None:
    """Punctuation of one worker of seal, which has these source partitions of so many."""
    progress = tuple(SourceProgress(SOURCE, i, of, clock_ms, 0) for i in sources)
    partition = next(partition for partition in log.partitions() if partition.j == j)
    assert partition.punctuate(Punctuation(bytes(8), j, clock_ms, 0, progress, ()), clock_ms)


def test_a_clock_needs_every_stream(tmp_path: Path) -> None:
    """While one worker of seal is unheard in a partition, that partition has no clock, and the log has none."""
    log = log_of(tmp_path, [0, 2])
    assert log.senders_clocks_ms() == {}
    say(log, 0, 100, sources=(0, 2), of=3)
    assert log.senders_clocks_ms() == {}
    say(log, 0, 90, sources=(1,), of=3)
    assert log.senders_clocks_ms() == {0: 90}
    assert log.senders_clock_ms() is None
    say(log, 2, 70, sources=(0, 1, 2), of=3)
    assert log.senders_clocks_ms() == {0: 90, 2: 70}
    assert log.senders_clock_ms() == 70


def test_a_worker_without_partitions_knows_no_clock(tmp_path: Path) -> None:
    """It has nothing to say of when an epoch ends."""
    log = log_of(tmp_path, [])
    assert log.senders_clocks_ms() == {}
    assert log.senders_clock_ms() is None
