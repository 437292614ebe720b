"""What attach has written to `shares`, held against its state at every start: was state lost, or put back?

State and shares are committed together, so the newest record of attach's own in a partition is known to its state. If
it is not, the state is not the last one: who counted in the rows since is not known. Then the partition's sequences are
taken from its records on `shares`, so that attach drops what it reads of `sealed` again as the repeats that they are
(same number, same header), and rows of every UTC day that the unknown ones touched must count as zero.

The newest such day is in the headers, which name each batch's window. Where some of them are no longer retained, it is
bounded: a row lies at most a day (``max_future``) after its arrival, and no arrival is more than a day ahead of seal's
clock, so none of a batch that was written by now lies further ahead than two days.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from secure_agg import PinnedIdentities, SignatureInvalid
from streams.errors import RecordMalformed, StateUnreadable
from streams.records import frame
from streams.records.batches import SharesBatch
from streams.records.frame import Kind
from streams.records.punctuation import SignedPunctuation
from streams.roles.log_partition import LogPartition

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
_FURTHEST_AHEAD_MS = 2 * DAY_MS
_PROGRESS_RECORDS = 100_000


class RetainedLog(Protocol):
    """Attach's output and input topics, as they are retained now; committed records only."""

    def tails(self, partitions: Sequence[int]) -> Mapping[int, Sequence[bytes]]:
        """The last records of `shares`, oldest first, by partition: some thousands at most."""

    def whole(self, j: int) -> Iterable[bytes]:
        """Every retained record of a partition of `shares`, oldest first."""

    def trimmed(self, j: int) -> bool:
        """Whether a partition of `shares` has lost records at its beginning."""

    def sealed_start(self, j: int) -> int:
        """The first retained offset of a partition of `sealed`."""


@dataclass(frozen=True)
class Unknown:
    """Records of attach's own that its state does not know.

    Attributes:
        newest_day: the newest UTC day that a row of theirs can lie on.
    """

    newest_day: int


def find_unknown(
    partition: LogPartition,
    is_restored: bool,
    tail: Sequence[bytes],
    retained: RetainedLog,
    trusted: PinnedIdentities,
    now_ms: int,
) -> Unknown | None:
    """Hold a partition's restored state against attach's own records, and bring it up to them.

    Args:
        partition: as its state left it; afterwards it knows every batch and punctuation that attach has sent.
        is_restored: whether there was state of it at all.
        tail: the last records of its `shares`.
        now_ms: attach's clock.

    Returns:
        What the state did not know; None where it knew all.
    """
    newest = next((own for value in reversed(tail) if (own := _own(value, trusted)) is not None), None)
    if newest is not None and is_restored and _knows(partition, newest):
        return None
    ahead, missing = False, not is_restored and retained.trimmed(partition.j)
    latest_ms = now_ms
    newest_end_ms: int | None = None
    if newest is not None:
        log.warning("partition %d: reading attach's own records on shares, to see what its state missed", partition.j)
    for number, value in enumerate(retained.whole(partition.j), 1):
        if number % _PROGRESS_RECORDS == 0:
            log.warning("partition %d: %d records of shares read", partition.j, number)
        own = _own(value, trusted)
        if isinstance(own, SharesBatch):
            fresh, gap = partition.follow_batch(own.header, own.header_bytes)
            if fresh:
                newest_end_ms = max(newest_end_ms or own.header.window_end_ms, own.header.window_end_ms)
        elif own is not None:
            fresh, gap = partition.follow_punctuation(own.punctuation, own.punctuation.clock_ms)
            latest_ms = max(latest_ms, *(said.arrival_ms for said in own.punctuation.sources))
        else:
            continue
        ahead, missing = ahead or fresh, missing or gap
    if not ahead and not missing:
        return None
    if not is_restored:
        partition.offset = retained.sealed_start(partition.j)
    # A window divides the UTC day, so its last millisecond lies on the day of its first.
    days = [] if newest_end_ms is None else [(newest_end_ms - 1) // DAY_MS]
    if missing:
        days.append((latest_ms + _FURTHEST_AHEAD_MS) // DAY_MS)
    return Unknown(max(days)) if days else None


def _own(value: bytes, trusted: PinnedIdentities) -> SharesBatch | SignedPunctuation | None:
    """A record that attach wrote; None for whatever else someone put on the topic.

    Raises:
        StateUnreadable: a newer version of attach wrote it, so what it has sent cannot be told.
    """
    if frame.is_newer(value, "attach", trusted):
        raise StateUnreadable(
            f"shares holds records of format version {frame.version_of(value)}, which a newer version of attach wrote: "
            "what was sent already cannot be told, and would be sent twice; run that version"
        )
    try:
        if frame.kind_of(value) is Kind.PUNCTUATION:
            signed = SignedPunctuation.decode(value)
            signed.verify(trusted, passed=True)
            return signed
        batch = SharesBatch.decode(value)
        batch.verify(trusted)
        return batch
    except (RecordMalformed, SignatureInvalid):
        return None


def _knows(partition: LogPartition, own: SharesBatch | SignedPunctuation) -> bool:
    if isinstance(own, SharesBatch):
        return partition.has_passed(own.header.stream, own.header.sequence + 1, None)
    return all(
        partition.has_passed(own.punctuation.stream(said), said.next_sequence, said.arrival_ms)
        for said in own.punctuation.sources
    )
