"""The audit itself: trials of the build as it is, and of each planted bug, and what they say against the promise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.workers import in_order
from bench.privacy_audit.neighbours import CHANNELS, PAIRS, PARTIES, SIDES, Pair, Released, Run, spend, truth
from bench.privacy_audit.plants import PLANTS, Plant
from bench.privacy_audit.statistic import Told, tell_apart

F = NDArray[np.float64]

ALL = "all channels"
_WASTE_ERRORS = 6
"""Standard errors by which the estimate may fall short of what the promised noise gives: below, noise is wasted."""


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        windows: trials a side of the build as it is. chunk: of them, windows in the life of one pipeline.
        planted: trials a side of a planted bug. repetitions: how often each bug must be caught.
    """

    windows: int
    planted: int
    repetitions: int
    chunk: int = 1_250


# A planted bug is looked for with a quarter of the windows: what a weaker audit catches, the whole one catches.
FULL = Size(10_000, 2_500, 20)


@dataclass(frozen=True)
class Finding:
    """What was found of one channel, of one party's releases, on one pair of neighbouring inputs.

    Attributes:
        promised: mu of the channel on the pair's relation, sqrt(2 rho); of all channels, of their rho together.
        expected: mu of exactly this pair under the promised noise; the promised one where no pair is worse.
    """

    pair: Pair
    party: str
    channel: str
    promised: float
    expected: float
    told: Told

    @property
    def breaks(self) -> bool:
        """The promise is broken."""
        return self.told.lower > self.promised

    @property
    def wastes(self) -> bool:
        """The inputs are told apart less well than they may be: there is more noise than was paid for."""
        return self.told.estimate < self.expected - _WASTE_ERRORS * self.told.error


@dataclass(frozen=True)
class Caught:
    """What became of a planted bug: the strongest finding of each repetition, by how far it passes its promise."""

    plant: Plant
    strongest: tuple[Finding, ...]

    @property
    def times(self) -> int:
        """In how many repetitions it was caught."""
        return sum(finding.breaks for finding in self.strongest)


@dataclass(frozen=True)
class Audit:
    """Everything that was found."""

    size: Size
    exact: bool
    good: tuple[Finding, ...]
    planted: tuple[Caught, ...]

    @property
    def problems(self) -> list[str]:
        """What is not as it must be, in words; empty when the promise holds and would be missed."""
        found = [] if self.exact else ["what leaves the parties before noise is not what the rows add up to"]
        for finding in self.good:
            where = f"{finding.channel}, party {finding.party}, {finding.pair.name}"
            if finding.breaks:
                found.append(f"mu is at least {finding.told.lower:.3f}, promised {finding.promised:.3f}: {where}")
            if finding.wastes:
                found.append(f"mu is {finding.told.estimate:.3f}, paid for {finding.expected:.3f}: {where}")
        return found + [
            f"{caught.plant.name}: caught {caught.times} times of {len(caught.strongest)}"
            for caught in self.planted
            if caught.times < len(caught.strongest)
        ]


def promised_mu(channels: tuple[str, ...], pair: Pair, channel: str) -> float:
    """What the budget promises of one of the channels, or of all together, on the pair's relation."""
    wanted = channels if channel == ALL else (channel,)
    return math.sqrt(2 * sum(spend(channels, name).rho[pair.relation] for name in wanted))


def findings(pair: Pair, party: str, before: Released, after: Released) -> list[Finding]:
    """Tell the two sides of a pair apart, by each channel alone and by all together."""
    channels = before.channels
    mus = {channel: _distance(channels, pair, channel)[1] for channel in channels}

    # Independent Gaussians: the best test weighs each channel's score by its mu, and mu adds in squares.
    mu_of_all = math.hypot(*mus.values())

    def together(side: Released) -> F:
        scores: F = np.sum([mu / mu_of_all * _scores(side, pair, channel) for channel, mu in mus.items()], axis=0)
        return scores

    def finding(channel: str, mu: float, scores: Callable[[Released], F]) -> Finding:
        told = tell_apart(scores(before), scores(after), mu / 2)
        return Finding(pair, party, channel, promised_mu(channels, pair, channel), mu, told)

    alone = [finding(channel, mu, partial(_scores, pair=pair, channel=channel)) for channel, mu in mus.items()]
    return [*alone, finding(ALL, mu_of_all, together)]


def _distance(channels: tuple[str, ...], pair: Pair, channel: str) -> tuple[F, float]:
    """The direction from one side to the other, of length 1, and their distance in promised standard deviations."""
    before, after = (truth(side, channels)[channel] for side in (pair.before, pair.after))
    apart = (after - before).astype(np.float64)
    length = float(np.linalg.norm(apart))
    return apart / length, length / spend(channels, channel).scale_units


def _scores(side: Released, pair: Pair, channel: str) -> F:
    direction, _ = _distance(side.channels, pair, channel)
    scale = spend(side.channels, channel).scale_units
    start = truth(pair.before, side.channels)[channel]
    return np.asarray((side.values[channel] - start) @ direction / scale)


# -- the build as it is -----------------------------------------------------------------------------------------------


def _live(side: str, first: int, windows: int) -> tuple[bool, dict[str, Released]]:
    """A pipeline's life: whether its sums are the oracle's, and what each party sent."""
    run = Run(side, CHANNELS, first, windows)
    sums, expected = run.before_noise(), truth(side, CHANNELS)
    exact = all(np.array_equal(sums[c], np.tile(expected[c], (windows, 1))) for c in CHANNELS)
    return exact, {party: run.sent(party) for party in PARTIES}


def audit_build(size: Size, processes: int) -> tuple[bool, list[Finding]]:
    """The build as it is: whether sums are exact, and the findings of every pair, party and channel."""
    chunks = [
        (side, first, min(size.chunk, size.windows - first))
        for side in SIDES
        for first in range(0, size.windows, size.chunk)
    ]
    results = list(in_order(_live, chunks, processes, "the build as it is"))
    released = {
        (side, party): _joined(sent[party] for (of, *_), (_, sent) in zip(chunks, results, strict=True) if of == side)
        for side in SIDES
        for party in PARTIES
    }
    found = [
        finding
        for pair in PAIRS
        for party in PARTIES
        for finding in findings(pair, party, released[pair.before, party], released[pair.after, party])
    ]
    return all(exact for exact, _ in results), found


def _joined(parts: Iterable[Released]) -> Released:
    parts = list(parts)
    return Released({c: np.concatenate([part.values[c] for part in parts]) for c in CHANNELS})


# -- planted bugs -----------------------------------------------------------------------------------------------------


def audit_plants(size: Size, processes: int, plants: Iterable[Plant] = PLANTS) -> list[Caught]:
    """Each planted bug, ``size.repetitions`` times with noise of its own, by turns of party a and of party b."""
    plants = tuple(plants)
    runs: dict[tuple[object, tuple[str, ...], str], Run] = {}
    for plant in plants:
        for side in (plant.pair.before, plant.pair.after):
            if (plant.at_rows, plant.channels, side) not in runs:
                with plant.at_rows():
                    runs[plant.at_rows, plant.channels, side] = Run(side, plant.channels, 0, size.planted, draw=False)

    def work(number: int, repetition: int) -> Finding:
        plant, party = plants[number], PARTIES[repetition % 2]
        before, after = (
            plant.released(runs[plant.at_rows, plant.channels, side], party)
            for side in (plant.pair.before, plant.pair.after)
        )
        return max(
            findings(plant.pair, party, before, after), key=lambda finding: finding.told.lower - finding.promised
        )

    chunks = [(number, repetition) for number in range(len(plants)) for repetition in range(size.repetitions)]
    found: Mapping[tuple[int, int], Finding] = dict(
        zip(chunks, in_order(work, chunks, processes, "planted bugs"), strict=True)
    )
    return [
        Caught(plant, tuple(found[number, repetition] for repetition in range(size.repetitions)))
        for number, plant in enumerate(plants)
    ]


def audit(size: Size, processes: int) -> Audit:
    """Everything."""
    exact, good = audit_build(size, processes)
    return Audit(size, exact, tuple(good), tuple(audit_plants(size, processes)))
