"""A topic that was written before, drained role by role: what each role needs for it when it meets all of it at once.

Each point has a deployment of its own. A role works alone, but for those that have had their turn and are at rest; two
parties work beside one another. Two spans are kept of each role. Its *own* is from when it was let go to the last
record that it wrote: CPU an event and events a second are of that. The model is fitted to the *whole* span, to when it
was seen to be done, because all that was counted falls into that one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.performance.amounts import Counters, Figure, Sampled, content, elements, log_bytes, values
from bench.performance.deployment import ROLES, Deployment, specification
from bench.performance.events import Traffic, Written, write
from bench.performance.processes import resident_bytes
from privacy import Measurement
from streams.errors import EvenstreamError

WRITTEN_RATE = 200_000.0
"""Events a second at which a topic is written: as fast as one process can."""
SOURCE = "events"
MEASURED_TOPICS = (SOURCE, "sealed", "shares", "state-seal", "state-attach", "state-a", "state-b")
_RECORDS_A_POLL = 5_000
_ASK_SECONDS = 0.25
_LIMIT_SECONDS = 110.0


@dataclass(frozen=True)
class Shape:
    """What is varied.

    Attributes:
        axis: what this point is a part of. events: in the topic, over ``partitions``, of evenstream's topics as well.
        batch_rows: most rows of a batch. cells: of the table. base_ms: of a window. members: in the store.
    """

    axis: str
    events: int
    partitions: int = 4
    measurements: int = 1
    batch_rows: int = 4_096
    cells: int = 20
    base_ms: int = 1_000
    members: int = 100_000


def specifications(topic: str, count: int, cells: int = 20, base_ms: int = 1_000) -> list[Measurement]:
    """So many measurements of one topic, alike but for their names."""
    base = f"{base_ms}ms" if base_ms % 1000 else f"{base_ms // 1000}s"
    return [
        specification(topic, name=f"bench-{number}", base=base, score_bins=cells // 4) for number in range(1, count + 1)
    ]


class Drained:
    """One point.

    Args:
        folder: of its logs and keys. bootstrap: the Kafka. data: the broker's folder of logs, where there is one.
        written: events that are there; by default the point writes its own.
    """

    def __init__(
        self, shape: Shape, folder: Path, bootstrap: str, data: Path | None, written: Written | None = None
    ) -> None:
        self._shape = shape
        self._data = data
        self._written = written
        self._deployment = Deployment(
            folder,
            bootstrap,
            members=shape.members,
            partitions=shape.partitions,
            live=() if written else (SOURCE,),
            overrides=(f"seal.batch_rows={shape.batch_rows}",),
        )
        self._settings = self._deployment.trial.settings
        self._source = written.topic if written else self._settings.topic(SOURCE)
        self._specs = specifications(self._source, shape.measurements, shape.cells, shape.base_ms)
        self._at_rest = Counters.of(self._deployment)
        self._batches = 0

    def run(self) -> Figure:
        """Drain the events role by role, and tell."""
        resident = {role: resident_bytes(self._deployment.pid(role)) for role in ROLES}
        written = self._begin()
        roles = self._seal() | self._attach() | self._parties(written) | self._publish(written)
        return {
            "kind": "drained",
            **asdict(self._shape),
            "windows": self._windows(written),
            "value_bytes": written.value_bytes,
            "roles": roles,
            "topics": self._topics(),
            "resident_bytes": resident,
        }

    def run_together(self) -> Figure:
        """Drain the events with all roles at work beside one another, and tell."""
        written = self._begin()
        count = self._windows(written) * self._shape.measurements
        roles = self._turn(ROLES, self._deployment.holds("fairness-metrics", count), ["fairness-metrics"])
        return {"kind": "together", **asdict(self._shape), "windows": self._windows(written), "roles": roles}

    def _begin(self) -> Written:
        deployment, shape = self._deployment, self._shape
        deployment.hold(*ROLES)
        traffic = Traffic(shape.events, shape.partitions, shape.members, WRITTEN_RATE)
        written = self._written or write(self._settings, self._source, traffic)
        deployment.approve(*self._specs, begin_ms=written.begin_ms, end_ms=written.end_ms)
        return written

    def pid(self, role: str) -> int:
        """A role's process id."""
        return self._deployment.pid(role)

    def close(self) -> None:
        """Stop it."""
        self._deployment.close()

    # -- each role's turn -----------------------------------------------------------------------------------------

    def _seal(self) -> dict[str, Figure]:
        rows = self._shape.events * self._shape.measurements
        done = self._flushed("seal", lambda: self._deployment.value("seal", "evenstream_rows_total") >= rows)
        found = self._turn(["seal"], done, ["sealed"])
        # Full reads, each of one partition or two: what is fetched together is of one.
        polls = -(-self._shape.events // _RECORDS_A_POLL)
        lots = polls * min(self._shape.partitions, 2) * self._shape.measurements
        found["seal"] |= {"events": self._shape.events, "decodings": rows, "rows": rows, "polls": polls, "lots": lots}
        sealed = content(self._settings, self._settings.topic("sealed"))
        self._batches = sealed.batches
        found["seal"] |= {"batches": sealed.batches, "punctuations": sealed.punctuations}
        return found

    def _attach(self) -> dict[str, Figure]:
        done = self._flushed(
            "attach", lambda: self._deployment.value("attach", "evenstream_batches_total") >= self._batches
        )
        found = self._turn(["attach"], done, ["shares"])
        found["attach"] |= self._shared()
        return found

    def _parties(self, written: Written) -> dict[str, Figure]:
        count = self._windows(written) * self._shape.measurements
        done = [self._deployment.holds(f"releases-{party}", count) for party in "ab"]
        found = self._turn(["a", "b"], lambda: all(ready() for ready in done), ["releases-a", "releases-b"])
        windows = {"windows": count, "values": count * values(self._specs[0])}
        return {role: figure | self._shared() | windows for role, figure in found.items()}

    def _shared(self) -> Figure:
        """What is on `shares`: rows and batches do not grow any more, punctuations do with each second."""
        shares = content(self._settings, self._settings.topic("shares"))
        rows = self._shape.events * self._shape.measurements
        return {
            "rows": rows,
            "elements": elements(self._specs[0], rows, shares.batches),
            "batches": shares.batches,
            "punctuations": shares.punctuations,
        }

    def _publish(self, written: Written) -> dict[str, Figure]:
        count = self._windows(written) * self._shape.measurements
        found = self._turn(["publish"], self._deployment.holds("fairness-metrics", count), ["fairness-metrics"])
        found["publish"] |= {"windows": count, "values": count * values(self._specs[0])}
        return found

    def _turn(self, roles: Sequence[str], done: Callable[[], bool], outputs: Sequence[str]) -> dict[str, Figure]:
        """Let roles do their work.

        Args:
            done: whether all of it is there. outputs: the topics whose last records end their own spans.

        Returns:
            By role: seconds, CPU seconds and transactions of the whole span; own_seconds and own_cpu_seconds.
        """
        deployment, begun = self._deployment, time.monotonic()
        with Sampled({role: deployment.pid(role) for role in roles}) as sampled:
            deployment.go(*roles)
            while not done():
                time.sleep(_ASK_SECONDS)
                if time.monotonic() - begun > _LIMIT_SECONDS:
                    logs = deployment.trial.folder / "logs"
                    raise EvenstreamError(f"{', '.join(roles)}: not done in {_LIMIT_SECONDS:.0f} s; see {logs}")
            after = Counters.of(deployment, roles)
        ended_ms = max(content(self._settings, self._settings.topic(name)).last_ms for name in outputs)
        own_seconds, own = sampled.until(ended_ms)
        return {
            role: {
                "seconds": after.at - begun,
                "cpu_seconds": after.cpu[role] - sampled.begun[role],
                "transactions": after.transactions[role] - self._at_rest.transactions[role],
                "own_seconds": own_seconds,
                "own_cpu_seconds": own[role],
            }
            for role in roles
        }

    def _flushed(self, role: str, worked: Callable[[], bool]) -> Callable[[], bool]:
        """Whether a role has committed once more since all of its work was counted: counting comes before."""
        since: list[float] = []

        def done() -> bool:
            transactions = self._deployment.value(role, "evenstream_transactions_total")
            if not since and worked():
                since.append(transactions)
            return bool(since) and transactions > since[0]

        return done

    # -- what came of it ------------------------------------------------------------------------------------------

    def _windows(self, written: Written) -> int:
        return (written.end_ms - written.begin_ms) // self._shape.base_ms

    def _topics(self) -> dict[str, Figure]:
        """By topic: records and bytes of values and batches as they are sent, and bytes of its segments on disk."""
        found = {}
        for name in MEASURED_TOPICS:
            topic = self._source if name == SOURCE else self._settings.topic(name)
            held = content(self._settings, topic)
            found[name] = {
                "records": held.records,
                "value_bytes": held.value_bytes,
                "batch_bytes": held.batch_bytes,
                "log_bytes": log_bytes(self._data, topic),
            }
        return found


def drain(shape: Shape, folder: Path, bootstrap: str, data: Path | None) -> Figure:
    """Measure one point."""
    drained = Drained(shape, folder, bootstrap, data)
    try:
        return drained.run()
    finally:
        drained.close()
