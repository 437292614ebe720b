"""A simulated recommender with a known truth: members from the Census tables, events at a chosen rate, a planted gap.

Members are drawn place by population, race by place, surname by race (``estimator.population``), never from the
posterior. Scores do not depend on race; outcomes depend on the score alone; and a recommendation is made with one
probability for everyone, until the recommender turns unfair. What then is planted is a choice (:data:`Disparity`):

- ``direct``: black members are recommended ``gap`` less often. By default that halves their rate.
- ``place``: whoever lives in a ZCTA is recommended less often by ``gap`` times its share of black adults, whatever
  their own race: confounding through place. The corrected estimator is wrong there; the weighted one is right, since
  given name and place race says nothing more.
- ``none``: nothing, so that whatever is found is chance.

The truth (each event's member, race and cell, and each group's rates) goes to a file that no role reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, Population, RaceModel
from streams.feed import Feed, Progress

RECOMMENDED_RATIO = 0.30
UNFAIR_RATIO = 0.15
DEFAULT_GAP = RECOMMENDED_RATIO - UNFAIR_RATIO
Disparity = Literal["direct", "place", "none"]
_BLACK = GROUPS.index("black")
_SCORE_EDGES = np.array((0.2, 0.4, 0.6, 0.8))
_TICK_SECONDS = 0.02
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Events:
    """Simulated events: arrays of shape (n,).

    Attributes:
        time_ms: int64. member: int64 index. score: float64. recommended, clicked: bool. cell: int64, 0 to 19.
    """

    time_ms: NDArray[np.int64]
    member: NDArray[np.int64]
    score: NDArray[np.float64]
    recommended: NDArray[np.bool_]
    clicked: NDArray[np.bool_]

    @property
    def cell(self) -> NDArray[np.int64]:
        """Score bin x recommended x clicked, in C order."""
        bins = np.searchsorted(_SCORE_EDGES, self.score, side="right")
        return np.asarray((bins * 2 + self.recommended) * 2 + self.clicked, dtype=np.int64)


class SimulatedMembers:
    """Members with names, places and races.

    Args:
        rng: a simulation's generator.
        count: how many.
        self_id_share: share of members, chosen at random, whose attributes say their true group.
    """

    def __init__(self, rng: np.random.Generator, count: int, self_id_share: float = 0.0) -> None:
        self.people = Population().draw(rng, count)
        self.count = count
        # Drawn last, and only where it is asked for, so that a seed gives the same people with and without it.
        self.said = rng.random(count) < self_id_share if self_id_share > 0 else np.zeros(count, dtype=bool)
        """Who says a group: shape (count,), bool."""

    @staticmethod
    def member_id(index: int) -> bytes:
        """The id of a member."""
        return b"m%09d" % index

    def attributes(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each `member-attributes` record."""
        people = self.people
        columns = people.surname.tolist(), people.zcta.tolist(), people.race.tolist(), self.said.tolist()
        for index, (surname, zcta, race, said) in enumerate(zip(*columns, strict=True)):
            attributes: dict[str, object] = {"family_name": surname, "zcta": zcta}
            if said:
                attributes["self_id"] = [GROUPS[race]]
            yield self.member_id(index), _encoder.encode(attributes)

    def recommended_ratio(self, disparity: Disparity, gap: float) -> NDArray[np.float64]:
        """Each member's chance of being recommended under a disparity: shape (count,), float64.

        Args:
            gap: what ``direct`` and ``place`` take off at most, between 0 and ``RECOMMENDED_RATIO``.
        """
        if not 0 <= gap <= RECOMMENDED_RATIO:
            raise ValueError(f"expected a gap between 0 and {RECOMMENDED_RATIO}, the fair rate, got {gap}")
        lost = np.zeros(self.count)
        if disparity == "direct":
            lost = (self.people.race == _BLACK).astype(np.float64)
        elif disparity == "place":
            # Of someone without a name the model knows the place alone: the share of black adults there.
            places, where = np.unique(self.people.zcta, return_inverse=True)
            shares = RaceModel.load().posterior([None] * places.size, zctas=places.tolist())
            lost = shares[where, _BLACK]
        return RECOMMENDED_RATIO - gap * lost

    def by_group(self, ratio: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of a member's number in each group: shape (groups,), float64; NaN where a group has no member."""
        total = np.bincount(self.people.race, weights=ratio, minlength=len(GROUPS))
        count = np.bincount(self.people.race, minlength=len(GROUPS))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class SimulatedRecommender:
    """Draws events.

    Args:
        rng: a simulation's generator.
        members: who is shown things.
        unfair_from_ms: event time from which the disparity is planted; None for never.
        disparity: what is planted. gap: how much of it; see the module's text.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        members: SimulatedMembers,
        unfair_from_ms: int | None,
        disparity: Disparity = "direct",
        gap: float = DEFAULT_GAP,
    ) -> None:
        self._rng = rng
        self._members = members
        self._unfair_from_ms = unfair_from_ms
        self._unfair_ratio = members.recommended_ratio(disparity, gap)
        self._history: list[Events] = []

    def draw(self, start_ms: int, end_ms: int, count: int) -> Events:
        """Draw ``count`` events with times in [start, end), in time order."""
        rng = self._rng
        time_ms = np.sort(rng.integers(start_ms, end_ms, count))
        member = rng.integers(0, self._members.count, count)
        score = np.round(rng.beta(2.0, 2.0, count), 4)  # as it will be written
        probability = np.full(count, RECOMMENDED_RATIO)
        if self._unfair_from_ms is not None:
            unfair = time_ms >= self._unfair_from_ms
            probability[unfair] = self._unfair_ratio[member[unfair]]
        recommended = rng.random(count) < probability
        clicked = rng.random(count) < 0.1 + 0.6 * score
        events = Events(time_ms, member, score, recommended, clicked)
        self._history.append(events)
        return events

    def history(self) -> Events:
        """All events drawn so far, in order."""
        kinds = {"time_ms": np.int64, "member": np.int64, "score": np.float64, "recommended": bool, "clicked": bool}
        return Events(
            *(
                np.concatenate([np.empty(0, kind), *(getattr(events, name) for events in self._history)])
                for name, kind in kinds.items()
            )
        )

    @property
    def true_rates(self) -> NDArray[np.float64]:
        """The recommendation rate of each group once the recommender is unfair: shape (groups,), float64.

        Exact for these members: the mean of their chances, since each is as likely to come up as any other.
        """
        return self._members.by_group(self._unfair_ratio)

    def write_truth(self, path: Path) -> None:
        """Write what no role may know (npz).

        Each event's time, member, race and cell; the groups' names; and each group's recommendation rate while the
        recommender is fair and once it is unfair, with the event time of the turn (-1 for never).
        """
        events = self.history()
        np.savez_compressed(
            path,
            time_ms=events.time_ms,
            member=events.member,
            race=self._members.people.race[events.member],
            cell=events.cell,
            groups=np.array(GROUPS),
            fair_rates=np.full(len(GROUPS), RECOMMENDED_RATIO),
            unfair_rates=self.true_rates,
            unfair_from_ms=np.int64(-1 if self._unfair_from_ms is None else self._unfair_from_ms),
        )


def encode(events: Events) -> Iterator[tuple[bytes, bytes]]:
    """Key (member id) and JSON value of each event."""
    columns = (
        events.time_ms.tolist(),
        events.member.tolist(),
        events.score.tolist(),
        events.recommended.tolist(),
        events.clicked.tolist(),
    )
    for time_ms, member, score, recommended, clicked in zip(*columns, strict=True):
        key = SimulatedMembers.member_id(member)
        yield (
            key,
            _encoder.encode(
                {
                    "member_id": key.decode(),
                    "shown_at": time_ms,
                    "score": score,
                    "recommended": recommended,
                    "clicked": clicked,
                }
            ),
        )


def run_traffic(
    feed: Feed,
    topic: str,
    recommender: SimulatedRecommender,
    *,
    rate: float,
    start_ms: int,
    end_ms: int,
    progress: Progress,
) -> int:
    """Write events as their time comes, from ``start_ms`` to ``end_ms``; returns how many."""
    total = round(rate * (end_ms - start_ms) / 1000)
    sent, last_ms = 0, start_ms
    while sent < total:
        now_ms = min(time.time_ns() // 1_000_000, end_ms)
        due = round(rate * (now_ms - start_ms) / 1000)
        if due > sent and now_ms > last_ms:
            for key, value in encode(recommender.draw(last_ms, now_ms, due - sent)):
                feed.send(topic, key, value)
            sent, last_ms = due, now_ms
            progress(sent, total)
        time.sleep(_TICK_SECONDS)
    feed.flush()
    return sent
