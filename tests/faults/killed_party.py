"""Starts a party again and again, and has it kill itself (SIGKILL) at a named step of a named transaction.

Run as a script beside the test: it imports the role once, then forks a child for each line on its standard input. The
role that runs is the product's, ``streams.roles.run_aggregate``; what is put around it from outside are its producer
(which kills before and after each of its calls) and the stage's ``checkpoint`` and ``committed`` (which tell what a
transaction is about to hold, and are steps themselves). Before it kills, it waits until the broker has what was
produced: the worst case, in which all of it lies on the topics for whoever reads uncommitted records.

In: a line of JSON, ``{"transaction": "draw" | "send" | null, "step": str, "n": int}``. Out: ``{"pid": int}``, perhaps
``{"killed_at": str}``, and ``{"status": int}`` when the child has ended; a negative status is a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from streams.kafka import shard
from streams.roles import run_aggregate
from streams.roles.aggregate import AggregateStage
from streams.settings import Settings, load_settings
from streams.stage import Out

STEPS = (
    "before begin",
    "after begin",
    "after produce",
    "before commit",
    "during commit",
    "after commit",
    "before committed",
    "after committed",
)
_DURING_SECONDS = 0.002


def _say(**what: object) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


def _die(where: str) -> None:
    _say(killed_at=where)
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


class Doom:
    """When to die: at the first transaction of the kind, at the step (``n``: after so many records produced)."""

    def __init__(self, transaction: str | None, step: str, n: int) -> None:
        self._wanted, self._step, self._n = transaction, step, n
        self._kinds: set[str] = set()
        self.produced = 0

    def holds(self, outputs: Sequence[Out]) -> None:
        """What the next transaction will hold."""
        self.produced = 0
        self._kinds = {"send" for out in outputs if "releases-" in out.topic}
        if any((out.key or b"").startswith(b"pending/") and out.value is not None for out in outputs):
            self._kinds.add("draw")

    def at(self, step: str, producer: Any = None) -> None:
        """A step is reached."""
        if self._wanted not in self._kinds:
            return
        after_the_last = self._step == "after produce" and step == "before commit"  # fewer records than n
        if (step == self._step and (step != "after produce" or self.produced == self._n)) or after_the_last:
            if producer is not None and step != "before begin":
                producer.flush(10)
            _die(f"{self._wanted}: {step} {self.produced}")

    def during(self) -> None:
        """A commit begins: die within it."""
        if self._wanted in self._kinds and self._step == "during commit":
            threading.Timer(_DURING_SECONDS, _die, (f"{self._wanted}: during commit {self.produced}",)).start()


class DoomedProducer:
    """A producer that dies when it is time; all else is the real one's."""

    def __init__(self, producer: Any, doom: Doom) -> None:
        self._producer, self._doom = producer, doom

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def begin_transaction(self) -> None:
        self._doom.at("before begin", self._producer)
        self._producer.begin_transaction()
        self._doom.at("after begin", self._producer)

    def produce(self, *args: Any, **kwargs: Any) -> None:
        self._producer.produce(*args, **kwargs)
        self._doom.produced += 1
        self._doom.at("after produce", self._producer)

    def commit_transaction(self, timeout: float) -> None:
        self._doom.at("before commit", self._producer)
        self._doom.during()
        self._producer.commit_transaction(timeout)
        self._doom.at("after commit")


def _run(settings: Settings, party: str, doom: Doom) -> None:
    make, checkpoint, committed = shard.make_producer, AggregateStage.checkpoint, AggregateStage.committed

    def watched_checkpoint(stage: AggregateStage, now_ms: int) -> list[Out]:
        outputs = checkpoint(stage, now_ms)
        doom.holds(outputs)
        return outputs

    def watched_committed(stage: AggregateStage) -> None:
        doom.at("before committed")
        committed(stage)
        doom.at("after committed")

    shard.make_producer = lambda *args, **more: DoomedProducer(make(*args, **more), doom)  # type: ignore[assignment,return-value]
    AggregateStage.checkpoint = watched_checkpoint  # type: ignore[method-assign]
    AggregateStage.committed = watched_committed  # type: ignore[method-assign]
    run_aggregate.run(settings, party)


def main(party: str, *overrides: str) -> None:
    """Serve the lines of standard input."""
    settings = load_settings(None, overrides, environment={})
    for line in sys.stdin:
        doom = Doom(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            _run(settings, party, doom)
            os._exit(0)
        _say(pid=pid)
        _, status = os.waitpid(pid, 0)
        _say(status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
