"""How many batches, punctuations, transactions and windows a second a load comes to: the rules of the roles, as rates.

A worker of `seal` commits when a window can close, else once in a commit interval while rows wait, or after
``seal.few_rows_wait_seconds`` while they are few (``seal.due``), and just before a window closes where many do. Each
commit writes a batch for every (measurement, i, j, window) that has rows, of at most ``seal.batch_rows``, and one
punctuation for each j (``batching``). `attach` commits soon after punctuation. A party commits when a window can close,
once more to send what it has released, else once in an interval (``aggregate.due``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy import Measurement
from streams.roles.seal import AHEAD_MS, AHEAD_ROWS, AHEAD_ROWS_A_SLOT, AHEAD_SLOTS, FEW_ROWS, STRAGGLERS_MS
from streams.sizing.load import Demand, Layout, Load

GATHER_SECONDS = 0.01
"""For so long `attach` waits for the punctuation of other workers before it commits."""
CLOSING_SECONDS = 0.01
"""So much of what comes after a window can close is in the transaction that closes it, in the mean."""
_MANY = 100.0
_CLOSE_SECONDS = 0.01


@dataclass(frozen=True)
class Traffic:
    """Rates, each a second.

    Attributes:
        seal, attach: transactions of one worker. party: of one party, of which ``sending`` only send releases.
        batches: of all workers of seal, by measurement. punctuations: of all workers, on `sealed` as on `shares`.
        windows: closed, of each level; so many releases a party writes.
    """

    seal: float
    attach: float
    party: float
    sending: float
    batches: tuple[float, ...]
    punctuations: float
    windows: float


def boundaries(measurements: Sequence[Measurement]) -> float:
    """At how many moments a second base windows close: those that close together are one."""
    kept: list[tuple[int, int]] = []
    for base, lateness in sorted({(m.base_ms, m.lateness_ms) for m in measurements}):
        if not any(base % known == 0 and (lateness - phase) % known == 0 for known, phase in kept):
            kept.append((base, lateness))
    return sum(1000 / base for base, _ in kept)


def commits(closings: float, interval_seconds: float, arrivals: float) -> float:
    """Transactions a second of whoever commits at each closing, and in between while there is something to commit.

    Args:
        closings: a second. arrivals: of what would be committed, a second, at random moments; may be infinite.
    """
    most = max(1, math.ceil(1 / (closings * interval_seconds) - 1e-9)) - 1  # between two closings
    waited = arrivals * interval_seconds
    if not most or waited > _MANY:
        return closings * (1 + most)
    # After a commit the next one is due after the interval, or when the first thing comes, if that is later. Where few
    # fit between two closings it is that there is one at all.
    in_the_long_run = waited / (waited + math.exp(-waited))
    at_all = -math.expm1(-arrivals / (closings * most))
    return closings * (1 + most * max(in_the_long_run, at_all))


def interval_seconds(load: Load, layout: Layout) -> float:
    """Seconds after which a worker of seal commits what waits, where no window closes.

    That is the commit interval, unless rows are then still too few a batch: as soon as they no longer are, and after
    ``seal.few_rows_wait_seconds`` in any case.
    """
    settings = load.settings.seal
    shortest, longest = settings.commit_interval_seconds, settings.few_rows_wait_seconds
    if longest <= shortest:
        return shortest
    streams = layout.sources * layout.partitions

    def few(seconds: float) -> bool:
        rows = [demand.rows * seconds / streams for demand in load.demands]
        return sum(rows) < FEW_ROWS * sum(map(_some, rows))

    if not few(shortest):
        return shortest
    while longest - shortest > _CLOSE_SECONDS:
        middle = (shortest + longest) / 2
        shortest, longest = (middle, longest) if few(middle) else (shortest, middle)
    return longest


def sent_ahead(load: Load, layout: Layout, transactions: float, closings: float) -> float:
    """At how many closings a second a worker of seal has sent ahead what waited (``seal._sends_ahead``).

    Args:
        transactions: a second, of one worker, without these. closings: a second.
    """
    since, lead = 1 / transactions, AHEAD_MS / 1000  # seconds of rows that wait when a window closes
    if since < 3 * lead:
        return 0.0
    streams = layout.sources * layout.partitions
    streams_each = 1 / layout.seal * streams
    each = [demand.rows / streams for demand in load.demands]
    slots = streams_each * sum(_some(rows * (since - lead)) for rows in each)
    if load.rows / layout.seal * (since - lead) >= max(AHEAD_ROWS, AHEAD_ROWS_A_SLOT * slots):
        return closings
    whole, others = 0.0, 0.0
    for demand, rows in zip(load.demands, each, strict=True):
        late = demand.measurement.lateness_ms / 1000
        own = _some(rows * max(0.0, since - late)) if late * 1000 > STRAGGLERS_MS else 0.0
        whole = max(whole, own)
        others += own + _some(rows * max(0.0, min(late, since) - lead))
    enough = streams_each * whole >= max(AHEAD_SLOTS, 2 / 3 * streams_each * others)
    return closings if enough else 0.0


def batches(demand: Demand, layout: Layout, transactions: float, most_rows: int, ahead: float = 0.0) -> float:
    """Batches a second of one measurement, by all workers of seal.

    Args:
        transactions: a second, of one worker, without those that are sent ahead. ahead: how many these are.
    """
    streams = layout.sources * layout.partitions
    each, since, m = demand.rows / streams, 1 / transactions, demand.measurement

    def filled(seconds: float) -> float:
        rows = each * max(0.0, seconds)
        return _some(rows) + max(0, math.ceil(rows / most_rows) - 1)

    # In the transaction that spans a window's end rows fall on both sides of it: one more batch, if both have some.
    # Where it ends follows from the lateness, since transactions are timed from the moment a window can close.
    late = m.lateness_ms / 1000
    after = (late + CLOSING_SECONDS) * transactions % 1.0
    spanning = 1000 / m.base_ms * _some(each * since * after) * _some(each * since * (1 - after))
    lead = AHEAD_MS / 1000
    if ahead and late < since:  # rows of the window and of the next one, before and after what is sent ahead
        before = filled(since - max(late, lead)) + filled(late - lead)
        spanning = ahead * (before + filled(lead - late) + filled(min(lead, late)) - filled(since))
    elif ahead:
        spanning += ahead * (filled(since - lead) + filled(lead) - filled(since))
    return min(demand.rows, streams * (transactions * filled(since) + spanning))


def _some(mean: float) -> float:
    """The probability that there is one at least, of so many in the mean."""
    return -math.expm1(-mean)


def traffic_of(load: Load, layout: Layout) -> Traffic:
    """Work the rates out."""
    measurements = [demand.measurement for demand in load.demands]
    settings = load.settings
    closings = boundaries(measurements)
    seal = commits(closings, interval_seconds(load, layout), load.rows / layout.seal)
    ahead = sent_ahead(load, layout, seal, closings)
    told = (seal + ahead) * layout.seal
    attach = told / (1 + GATHER_SECONDS * told) if layout.seal > 1 else told
    # Punctuation alone gives a party something to commit; that which closes windows does so at once, and its releases
    # leave with a second transaction.
    between = commits(closings, settings.aggregate.commit_interval_seconds, math.inf) - closings
    party = 2 * closings + min(between, max(0.0, attach - closings))
    return Traffic(
        seal=seal + ahead,
        attach=attach,
        party=party,
        sending=closings,
        batches=tuple(batches(demand, layout, seal, settings.seal.batch_rows, ahead) for demand in load.demands),
        punctuations=told * layout.partitions,
        windows=sum(1000 / level.length_ms for m in measurements for level in m.levels),
    )
