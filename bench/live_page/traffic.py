"""A simulated feed that turns unfair, turns fair again, and pauses, when it is told to."""

from __future__ import annotations

import threading
import time

import numpy as np

from streams.feed import Feed
from streams.simulate import DEFAULT_GAP, SimulatedMembers, SimulatedRecommender, encode
from streams.trial import Trial

_TICK_SECONDS = 0.05


class Traffic:
    """Members, whose attributes are written at once, and events at a steady rate from :meth:`start` on.

    Args:
        trial: a deployment that has its topics.
        topic: the source topic, by its full name.
        members: how many. rate: events a second.
        gap: by how much black members are recommended less often while it is unfair.
    """

    def __init__(
        self, trial: Trial, topic: str, *, members: int, rate: int, gap: float = DEFAULT_GAP, seed: int = 7
    ) -> None:
        rng = np.random.default_rng(seed)
        people = SimulatedMembers(rng, members)
        self._feed, self._topic, self._rate = Feed(trial.settings), topic, rate
        self._feed.send_all(trial.settings.topic("member-attributes"), people.attributes())
        self._fair = SimulatedRecommender(rng, people, None)
        self._unfair = SimulatedRecommender(rng, people, 0, "direct", gap)
        self._recommender = self._fair
        self._stop, self._paused = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin, fair."""
        self._thread.start()

    def turn(self, unfair: bool) -> float:
        """Be unfair, or fair, from now on; returns the time."""
        self._recommender = self._unfair if unfair else self._fair
        return time.time()

    def pause(self, seconds: float) -> None:
        """Send nothing for so long; returns when it goes on."""
        self._paused.set()
        time.sleep(seconds)
        self._paused.clear()

    def _run(self) -> None:
        last_ms = time.time_ns() // 1_000_000
        while not self._stop.wait(_TICK_SECONDS):
            now_ms = time.time_ns() // 1_000_000
            if not self._paused.is_set():
                count = self._rate * (now_ms - last_ms) // 1000
                for key, value in encode(self._recommender.draw(last_ms, now_ms, count)):
                    self._feed.send(self._topic, key, value)
            last_ms = now_ms

    def stop(self) -> None:
        """End, with everything durable."""
        self._stop.set()
        self._thread.join()
        self._feed.flush()
