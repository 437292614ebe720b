"""All roles at work on live events at steady rates, one after the other in one deployment: CPU, and what was done.

Nothing is taken off: what a role costs by being there is a part of what an event costs, and at low rates nearly all.
Each rate is let settle for two seconds and measured over whole seconds, so that as many windows end in each span. The
last rate may be more than the machine carries: rows are what `seal` took in, not what was asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.performance.amounts import Counters, Figure, elements, values
from bench.performance.deployment import ROLES, Deployment
from bench.performance.drained import SOURCE, specifications
from bench.performance.events import Traffic, write
from bench.performance.processes import resident_bytes
from streams.errors import EvenstreamError
from streams.settings import Settings
from streams.sizing import Layout, load_of
from streams.sizing.constants import read_constants
from streams.sizing.cores import reading

_SETTLING_SECONDS = 2.0
_FIRST_WINDOW_SECONDS = 60.0
_WRITER_SECONDS = 30.0


@dataclass(frozen=True)
class Steps:
    """What is varied.

    Attributes:
        rates: events a second, rising. partitions: of the source topic and of evenstream's.
        seconds: each rate is measured for. members: in the store.
    """

    rates: Sequence[float]
    partitions: int = 4
    seconds: int = 6
    members: int = 100_000
    measurements: int = 1


def pace(steps: Steps, folder: Path, bootstrap: str, progress: Callable[[str], object]) -> list[Figure]:
    """One point for each rate, and one (rate 0, no measurement) of roles that have nothing to do."""
    deployment = Deployment(folder, bootstrap, members=steps.members, partitions=steps.partitions, live=(SOURCE,))
    try:
        return _Paced(steps, deployment).run(progress)
    finally:
        deployment.close()


class _Paced:
    def __init__(self, steps: Steps, deployment: Deployment) -> None:
        self._steps = steps
        self._deployment = deployment
        self._settings: Settings = deployment.trial.settings
        self._topic = self._settings.topic(SOURCE)
        self._specs = specifications(self._topic, steps.measurements)

    def run(self, progress: Callable[[str], object]) -> list[Figure]:
        steps = self._steps
        resident = {role: resident_bytes(self._deployment.pid(role)) for role in ROLES}
        found = [self._figure(0.0, 0, *self._span()) | {"resident_bytes": resident}]
        self._deployment.approve(*self._specs, begin_ms=(time.time_ns() // 1_000_000_000 + 2) * 1000)
        for rate in steps.rates:
            progress(f"paced: {rate:,.0f} events a second, {steps.partitions} partitions")
            with _Writing(self._settings, self._topic, Traffic(1 << 40, steps.partitions, steps.members, rate)):
                self._await_window()
                time.sleep(_SETTLING_SECONDS)
                found.append(self._figure(rate, steps.measurements, *self._span()))
        return found

    def _await_window(self) -> None:
        """Wait until `publish` has shown a window of a measurement that has just been approved."""
        deadline = time.monotonic() + _FIRST_WINDOW_SECONDS
        while not self._deployment.value("publish", "evenstream_windows_total"):
            if time.monotonic() > deadline:
                logs = self._deployment.trial.folder / "logs"
                raise EvenstreamError(f"no window was published in {_FIRST_WINDOW_SECONDS:.0f} s; see {logs}")
            time.sleep(0.25)

    def _span(self) -> tuple[Counters, Counters]:
        """What the roles had counted at its beginning and its end, both half a second after a whole one."""
        now = time.time()
        time.sleep((0.5 - now) % 1.0)
        before = Counters.of(self._deployment)
        time.sleep(max(0.0, before.at + self._steps.seconds - time.monotonic()))
        return before, Counters.of(self._deployment)

    def _figure(self, rate: float, measurements: int, before: Counters, after: Counters) -> Figure:
        steps, seconds = self._steps, after.at - before.at
        rows = after.rows - before.rows
        batches = {role: after.batches[role] - before.batches[role] for role in ROLES}
        transactions = {role: after.transactions[role] - before.transactions[role] for role in ROLES}
        roles: dict[str, Figure] = {}
        for role in ROLES:
            roles[role] = {
                "seconds": seconds,
                "cpu_seconds": after.cpu[role] - before.cpu[role],
                "transactions": transactions[role],
                "batches": batches[role],
            }
        punctuations = transactions["seal"] * steps.partitions
        events = rows / measurements if measurements else 0.0
        roles["seal"] |= {"events": events, "decodings": rows, "rows": rows, "punctuations": punctuations}
        roles["seal"] |= self._reading(events / seconds, roles["seal"]["cpu_seconds"] / seconds, seconds)
        for role in ("attach", "a", "b"):
            # Rows of a role are not counted, so that nobody can set them against another's; its batches are.
            own = rows * batches[role] / batches["seal"] if batches["seal"] else 0.0
            columns = elements(self._specs[0], own, batches[role])
            roles[role] |= {"rows": own, "elements": columns, "punctuations": punctuations}
        for role in ("a", "b", "publish"):
            windows = after.windows[role] - before.windows[role]
            roles[role] |= {"windows": windows, "values": windows * values(self._specs[0])}
        return {
            "kind": "paced",
            **{name: value for name, value in asdict(steps).items() if name != "rates"},
            "measurements": measurements,
            "asked_rate": rate,
            "rate": events / seconds,
            "roles": roles,
        }

    def _reading(self, rate: float, busy: float, seconds: float) -> dict[str, float]:
        """Polls and lots, which nobody counts: by the model's own rule, from the share of a core that seal used."""
        if not rate:
            return {}
        load = load_of(self._specs, rate, 1.0, self._steps.members, self._settings)
        layout = Layout(self._steps.partitions, self._steps.partitions, 1, 1)
        each = reading(load, layout, min(busy, 1.0), read_constants().cpu["seal"])
        return {name: amount * seconds for name, amount in each.items()}


class _Writing:
    """Events are written while the block lasts."""

    def __init__(self, settings: Settings, topic: str, traffic: Traffic) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=write, args=(settings, topic, traffic), kwargs={"stop": self._over.is_set}, daemon=True
        )

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(_WRITER_SECONDS)
