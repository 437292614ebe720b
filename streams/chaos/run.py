"""A chaos run from first to last: a deployment of its own, traffic, faults, and the verdict."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from privacy import Measurement
from secure_agg.keyring import load_trusted
from streams.chaos.evidence import collect, source_records
from streams.chaos.injector import Done, Injector, now_ms
from streams.chaos.oracle import Expected, expect
from streams.chaos.schedule import FULL_MINUTES, LEAST_KILLS, Fault, plan
from streams.chaos.timings import Recovery, Subscriber, Visible, longest_stalls, ordinary_delay, recoveries
from streams.chaos.traffic import BASE_MS, CAP, Members, Stream, Traffic, measurement
from streams.chaos.verdict import Verdict, judge
from streams.errors import EvenstreamError
from streams.feed import Feed
from streams.governance import starting
from streams.records.metric import FairnessMetric
from streams.trial import Trial

_NOTICE_MS = 4_000
_QUIET_SECONDS = 5.0
_SETTLE_SECONDS = 120.0
_LAST_WINDOWS_SECONDS = 180.0
_FIRST_WINDOWS = 3
_FIRST_WINDOWS_SECONDS = 120.0

OVERRIDES = (
    "test_cluster=true",
    "privacy.rho_member_day_limit=1",
    "privacy.rho_30_days_limit=100",
    "privacy.rho_year_limit=1000",
    "publish.page=false",
)


@dataclass(frozen=True)
class Options:
    """What a run is.

    Attributes:
        seed: of the schedule of faults and of the members. minutes: how long faults are injected, about.
        rate: events a second. members: how many there are; each may have at most 24 rows that count.
        lateness_seconds: of the measurement: longer than a broker is away, so that little is late.
        only: kinds of faults to leave it at; all by default.
    """

    seed: int
    minutes: float = FULL_MINUTES
    rate: int = 200
    members: int = 50_000
    lateness_seconds: int = 30
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.members * (CAP - 4) < self.rate * self.most_seconds:
            raise EvenstreamError(
                f"{self.members} members are too few for {self.minutes:g} minutes at {self.rate} events/s: a member's "
                "rows would pass the cap of 24, and which of them count would be chance; take more members"
            )

    @property
    def most_seconds(self) -> float:
        """How long faults are injected at most, seconds; those that have not come by then are missing."""
        return 90 * self.minutes + 120


@dataclass
class Result:
    """What came of a run.

    Attributes:
        verdict, done, expected: see there. planned: the schedule's faults; injected: how many of them were.
        ordinary: median delay without faults, seconds. stalls, recoveries: see ``timings``.
        seconds: that traffic flowed. events: written.
        statuses: records of `fairness-metrics` by status. restarts: by the supervisor.
    """

    options: Options
    folder: Path
    planned: tuple[Fault, ...]
    verdict: Verdict
    done: Done
    expected: Expected
    ordinary: float
    stalls: dict[str, tuple[int, float]]
    recoveries: list[Recovery]
    seconds: float
    statuses: Counter[str]
    restarts: int
    shortfalls: list[str] = field(default_factory=list)


@dataclass
class Progress:
    """What a screen may show of a run that is under way."""

    injected: int = 0
    planned: int = 0
    now: str = "setting up"
    windows: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    kills: int = 0
    last_delay: float = 0.0

    def line(self) -> str:
        """In one line."""
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(self.windows.items())) or "none yet"
        return (
            f"fault {self.injected}/{self.planned} {self.now}; kills {self.kills}; events {self.sent:,}; "
            f"windows: {statuses}; last delay {self.last_delay:.1f} s"
        )


class ChaosRun:
    """One run, in one folder.

    Args:
        folder: for Kafka's data, keys and logs.
        say: shows a line. turn: called again and again with what there is to show.
    """

    def __init__(
        self, folder: Path, options: Options, say: Callable[[str], None], turn: Callable[[Progress], None]
    ) -> None:
        self.options = options
        self.progress = Progress()
        self._say = say
        self._turn = turn
        self._trial = Trial(folder, say, name="chaos", overrides=OVERRIDES)
        self._injector: Injector | None = None
        self._subscriber: Subscriber | None = None

    def close(self) -> None:
        """Stop everything that was started."""
        if self._injector is not None:
            self._injector.close()
        if self._subscriber is not None:
            self._subscriber.close()
            self._subscriber = None
        self._trial.stop()

    def run(self) -> Result:
        """Run it all; the caller closes.

        Raises:
            EvenstreamError: the run could not be carried out, so that it says nothing.
        """
        members = Members(self.options.seed, self.options.members)
        spec = self._prepare(members)
        begin_ms = spec.effective_from_ms
        assert begin_ms is not None  # an approved measurement says when it takes effect
        stream = Stream(begin_ms, self._rows_a_window, spec.cell_count, self.options.members)
        visible = Visible(spec.lateness_ms, spec.windows.base)
        traffic = Traffic(self._trial.settings, spec.source.topic, stream)
        self._subscriber = Subscriber(self._trial.settings, visible, self._seen(visible))
        self._subscriber.start()
        traffic.start()
        faults = plan(self.options.seed, self.options.minutes, self.options.only)
        injector = Injector(self._trial, self.options.seed, visible.flows_since, lambda: self._show(traffic))
        self._injector = injector
        self._inject(injector, faults, visible, begin_ms)
        end_ms = self._end(spec, traffic)
        events = traffic.finish()
        self._await_last(injector, visible, end_ms)
        ordinary = ordinary_delay(visible, self._first_fault_ms(injector.done, end_ms))
        restarts = self._trial.restarts
        if hangs := self._trial.supervisor.hangs:
            injector.done.shortfalls.append(f"{hangs} times a role called itself hung, and was ended")
        self._injector.close()
        self._trial.supervisor.stop()
        return self._judge(
            spec, members, faults, injector.done, visible, ordinary, (begin_ms, end_ms), events, restarts
        )

    @property
    def _rows_a_window(self) -> int:
        return self.options.rate * BASE_MS // 1000

    def _prepare(self, members: Members) -> Measurement:
        """Kafka, topics, keys, members, roles, and a measurement that is approved and about to begin."""
        started = time.monotonic()
        trial = self._trial
        trial.start_kafka()
        if trial.broker is None:
            raise EvenstreamError("chaos kills its broker, so it needs one of its own: unset KAFKA_BOOTSTRAP")
        logging.getLogger("streams").addHandler(logging.FileHandler(trial.folder / "chaos.log"))
        topic = trial.settings.topic("rec-events")
        trial.prepare([topic])
        Feed(trial.settings).send_all(trial.settings.topic("member-attributes"), members.attributes())
        self._say(f"{members.count:,} members; starting seal, attach, aggregate a, aggregate b, publish ...")
        trial.start_roles()
        now = now_ms()
        draft = measurement(topic, self._rows_a_window, self.options.lateness_seconds)
        spec = trial.approve(starting(draft, now, days=1, notice_ms=_NOTICE_MS), now)
        self._say(f"ready after {time.monotonic() - started:.0f} s; {spec.cell_count} cells, one for each event")
        return spec

    def _seen(self, visible: Visible) -> Callable[[FairnessMetric], None]:
        def seen(window: FairnessMetric) -> None:
            self.progress.windows[window.status] += 1
            if window.level == visible.base:
                self.progress.last_delay = visible.delay((window.level, window.window.end_ms))

        return seen

    def _show(self, traffic: Traffic) -> None:
        self.progress.sent = traffic.sent
        if self._injector is not None:
            self.progress.kills = self._injector.done.kills.total()
        self._turn(self.progress)

    def _inject(self, injector: Injector, faults: tuple[Fault, ...], visible: Visible, begin_ms: int) -> None:
        """Inject the schedule: each fault when metrics have flowed again since the one before it."""
        self.progress.planned = len(faults)
        self.progress.now = "waiting for the first windows"
        wait = (begin_ms - now_ms()) / 1000 + self.options.lateness_seconds + _FIRST_WINDOWS_SECONDS
        if not injector.wait(wait, lambda: len(visible.of_base()) >= _FIRST_WINDOWS):
            raise EvenstreamError(
                f"not {_FIRST_WINDOWS} windows came within {wait:.0f} s, without any fault: is the machine too busy?"
            )
        injector.wait(_QUIET_SECONDS)
        deadline = time.monotonic() + self.options.most_seconds
        for number, fault in enumerate(faults):
            if time.monotonic() > deadline:
                return
            injector.wait(fault.pause_seconds)
            self.progress.now = f"{fault.kind}: {', '.join(fault.roles)}"
            self.progress.injected = number + 1
            injection = injector.inject(fault)
            self.progress.now = f"after {fault.kind}: {', '.join(fault.roles)}"
            injector.wait(_SETTLE_SECONDS, lambda: visible.flows_since(injection.last_ms))  # noqa: B023  # ends with the turn

    def _end(self, spec: Measurement, traffic: Traffic) -> int:
        """Let traffic end at the next boundary of the longest level."""
        longest = spec.levels[-1].length_ms
        end_ms = (now_ms() // longest + 1) * longest
        traffic.end_at(end_ms)
        return end_ms

    def _await_last(self, injector: Injector, visible: Visible, end_ms: int) -> None:
        """Wait until the last windows are visible, or give up waiting: the verdict will tell what is missing."""
        self.progress.now = "waiting for the last windows"
        levels = {key[0] for key in visible.at_ms} | {visible.base}
        seconds = _LAST_WINDOWS_SECONDS + self.options.lateness_seconds
        injector.wait(seconds, lambda: all((level, end_ms) in visible.at_ms for level in levels))
        injector.wait(1.0)

    def _first_fault_ms(self, done: Done, end_ms: int) -> int:
        return min((injection.begun_ms for injection in done.injections), default=end_ms)

    def _judge(
        self,
        spec: Measurement,
        members: Members,
        faults: tuple[Fault, ...],
        done: Done,
        visible: Visible,
        ordinary: float,
        span: tuple[int, int],
        events: int,
        restarts: int,
    ) -> Result:
        self._say("reading all topics, and working out what they must hold ...")
        settings = self._trial.settings
        expected = expect(spec, members, source_records(settings, spec.source.topic), span[1])
        evidence = collect(settings, load_trusted(settings.keys.dir / "governance"))
        verdict = judge(expected, evidence, base=spec.windows.base)
        shortfalls = [*verdict.shortfalls, *done.shortfalls]
        if expected.events != events:
            shortfalls.append(f"the source topic holds {expected.events} events, but {events} were written")
        if not verdict.rows:
            shortfalls.append("not one row counted")
        if len(done.injections) < len(faults):
            shortfalls.append(f"{len(done.injections)} of {len(faults)} faults were injected before time was up")
        full = self.options.minutes >= FULL_MINUTES and not self.options.only
        if full and done.kills.total() < LEAST_KILLS:
            shortfalls.append(f"{done.kills.total()} kills of roles, expected at least {LEAST_KILLS}")
        return Result(
            options=self.options,
            folder=self._trial.folder,
            planned=faults,
            verdict=verdict,
            done=done,
            expected=expected,
            ordinary=ordinary,
            stalls=dict(longest_stalls(visible, done.injections)),
            recoveries=recoveries(visible, done.injections, ordinary),
            seconds=(span[1] - span[0]) / 1000,
            statuses=Counter(window.status for window in evidence.metrics),
            restarts=restarts,
            shortfalls=shortfalls,
        )
