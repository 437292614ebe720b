"""A simulated recommender with a known truth: members from the Census tables, events at a chosen rate, a planted gap.

Members are drawn place by population, race by place, surname by race (``estimator.population``), never from the
posterior. Scores do not depend on race; outcomes depend on the score alone; and a recommendation is made with one
probability for everyone, until the recommender turns unfair: then black members' probability is halved.

The truth (each event's member, race and cell) goes to a file that no role reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, Population
from streams.feed import Feed, Progress

RECOMMENDED_RATIO = 0.30
UNFAIR_RATIO = 0.15
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
    """Members with names, places and races; ``rng`` is a simulation's generator."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self.people = Population().draw(rng, count)
        self.count = count

    @staticmethod
    def member_id(index: int) -> bytes:
        """The id of a member."""
        return b"m%09d" % index

    def attributes(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each `member-attributes` record."""
        for index, (surname, zcta) in enumerate(
            zip(self.people.surname.tolist(), self.people.zcta.tolist(), strict=True)
        ):
            yield self.member_id(index), _encoder.encode({"family_name": surname, "zcta": zcta})


class SimulatedRecommender:
    """Draws events.

    Args:
        rng: a simulation's generator.
        members: who is shown things.
        unfair_from_ms: event time from which black members are recommended half as often; None for never.
    """

    def __init__(self, rng: np.random.Generator, members: SimulatedMembers, unfair_from_ms: int | None) -> None:
        self._rng = rng
        self._members = members
        self._unfair_from_ms = unfair_from_ms
        self._history: list[Events] = []

    def draw(self, start_ms: int, end_ms: int, count: int) -> Events:
        """Draw ``count`` events with times in [start, end), in time order."""
        rng = self._rng
        time_ms = np.sort(rng.integers(start_ms, end_ms, count))
        member = rng.integers(0, self._members.count, count)
        score = np.round(rng.beta(2.0, 2.0, count), 4)  # as it will be written
        probability = np.full(count, RECOMMENDED_RATIO)
        if self._unfair_from_ms is not None:
            black = self._members.people.race[member] == GROUPS.index("black")
            probability[black & (time_ms >= self._unfair_from_ms)] = UNFAIR_RATIO
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

    def write_truth(self, path: Path) -> None:
        """Write what no role may know: each event's time, member, race and cell (npz)."""
        events = self.history()
        np.savez_compressed(
            path,
            time_ms=events.time_ms,
            member=events.member,
            race=self._members.people.race[events.member],
            cell=events.cell,
            groups=np.array(GROUPS),
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
