"""The demo's two live minutes: traffic in, windows out, and a table that a person can follow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from privacy import Measurement
from streams import replay
from streams.demo.alarm_watch import ALERT, AlarmWatch, Firing
from streams.demo.probe import VisibilityProbe
from streams.demo.stack import DemoStack
from streams.demo.verdict import result_of
from streams.errors import EvenstreamError
from streams.feed import Feed
from streams.records.metric import FairnessMetric, Interval
from streams.simulate import SimulatedRecommender, run_traffic
from streams.trial import TopicFollower

FEED = "simulated-feed"
PRIMARIES = "primaries-2022"
MINUTE_MS = 60_000

_RATE = 2_000
_REPLAY_WITHIN_SECONDS = 45.0
_LAST_WINDOW_SECONDS = 30.0
_SHOWN_WINDOWS = 14
_SHOWN_FIRINGS = 4


@dataclass
class Schedule:
    """What the demo plays, and when: a fair minute, then an unfair one.

    Attributes:
        start_ms: when the first minute begins, epoch milliseconds.
        feed, primaries: the two approved measurements.
        recommender: draws the simulated feed. log: the primaries' events.
    """

    start_ms: int
    feed: Measurement
    primaries: Measurement
    recommender: SimulatedRecommender
    log: list[replay.LoggedEvent]

    @property
    def turn_ms(self) -> int:
        """When the recommender turns unfair."""
        return self.start_ms + MINUTE_MS

    @property
    def end_ms(self) -> int:
        """When traffic ends."""
        return self.start_ms + 2 * MINUTE_MS


@dataclass
class Seen:
    """What came of it.

    Attributes:
        windows: everything on `fairness-metrics`, in order.
        delays: by base window, seconds from its end plus the lateness until /metrics showed it.
        firings: which detectors were seen in alarm on /metrics, in the order in which they began.
        sent: events written, by measurement.
    """

    windows: list[FairnessMetric] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=lambda: {FEED: 0, PRIMARIES: 0})

    def window(self, measurement: str, level: str, end_ms: int) -> FairnessMetric | None:
        """One window, if it was published."""
        wanted = (measurement, level, end_ms)
        return next((w for w in self.windows if (w.measurement, w.level, w.window.end_ms) == wanted), None)


class _Traffic:
    """The four things that go on beside the screen, each in a thread of its own."""

    def __init__(self, stack: DemoStack, schedule: Schedule, seen: Seen) -> None:
        self._stack = stack
        self._schedule = schedule
        self._seen = seen
        self.failures: list[Exception] = []
        self._over = threading.Event()
        works = (self._simulate, self._play, self._probe, self._watch_alarms)
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.failures.append(error)

    def _progress(self, name: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            self._seen.sent[name] = done

        return tell

    def _simulate(self) -> None:
        run_traffic(
            Feed(self._stack.settings),
            self._schedule.feed.source.topic,
            self._schedule.recommender,
            rate=_RATE,
            start_ms=self._schedule.start_ms,
            end_ms=self._schedule.end_ms,
            progress=self._progress(FEED),
        )

    def _play(self) -> None:
        log = self._schedule.log
        time.sleep(max(0.0, self._schedule.start_ms / 1000 + 3.0 - time.time()))
        speed = (log[-1].time_ms - log[0].time_ms) / 1000 / _REPLAY_WITHIN_SECONDS
        feed = Feed(self._stack.settings)
        replay.replay_now(feed, self._schedule.primaries, log, speed, self._progress(PRIMARIES))

    def _probe(self) -> None:
        probe = VisibilityProbe(self._stack.scrape, self._schedule.feed)
        probe.run(range(self._schedule.start_ms, self._schedule.end_ms, self._schedule.feed.base_ms), self._seen.delays)

    def _watch_alarms(self) -> None:
        AlarmWatch(self._stack.scrape, self._seen.firings).run(self._over)


def play(stack: DemoStack, console: Console, schedule: Schedule) -> Seen:
    """Run both minutes, showing what comes.

    Raises:
        EvenstreamError: the traffic could not be written.
    """
    seen = Seen()
    traffic = _Traffic(stack, schedule, seen)
    traffic.start()
    follower = TopicFollower(stack.settings, stack.settings.topic("fairness-metrics"))
    deadline = schedule.end_ms / 1000 + _LAST_WINDOW_SECONDS
    last = ((FEED, "1m"), (FEED, schedule.feed.windows.base), (PRIMARIES, "1m"))
    told = 0
    with Live(console=console, refresh_per_second=2, transient=False, auto_refresh=console.is_terminal) as live:
        while time.time() < deadline and not all(seen.window(*name, schedule.end_ms) for name in last):
            if traffic.failures:
                raise EvenstreamError(f"the demo's traffic failed: {traffic.failures[0]}") from traffic.failures[0]
            stack.watch()
            fresh = follower.windows(0.25)
            seen.windows += fresh
            if console.is_terminal:
                live.update(_table(seen, schedule))
            else:
                for window in fresh:
                    console.print(_line(window, schedule))
                for firing in seen.firings[told:]:
                    console.print(firing_line(firing, schedule), highlight=False)
                    told += 1
    follower.close()
    traffic.join()
    return seen


# -- the screen ---------------------------------------------------------------------------------------------------


def shown_interval(interval: Interval | None) -> str:
    """An estimate with its interval, as the demo writes it."""
    if interval is None:
        return "-"
    return f"{interval.estimate:+.3f} [{interval.lower:+.3f}, {interval.upper:+.3f}]"


def _gap(window: FairnessMetric) -> Interval | None:
    return None if window.table is None else result_of(window, "recommendation_rate", "black").gap


def _clock(end_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(end_ms / 1000))


def firing_line(firing: Firing, schedule: Schedule) -> str:
    """One alert, as it was seen."""
    after = firing.since - schedule.turn_ms / 1000
    moment = f"{after:.0f} s after" if after >= 0 else f"{-after:.0f} s before"
    return (
        f"{_clock(int(firing.since * 1000))} {ALERT} fires: {firing.what}: log evidence {firing.log_evidence:.2f}, "
        f"threshold {firing.log_threshold:.2f}; {moment} the recommender turned unfair"
    )


def _line(window: FairnessMetric, schedule: Schedule) -> str:
    """One window, where no terminal shows the table."""
    subject = f"{_clock(window.window.end_ms)} {window.measurement} {window.level} {window.status}"
    if window.measurement == FEED:
        subject += f", recommender {'fair' if window.window.end_ms <= schedule.turn_ms else 'unfair'}"
    return f"{subject}: black-white gap {shown_interval(_gap(window))}"


def _table(seen: Seen, schedule: Schedule) -> Table:
    now_ms = time.time() * 1000
    phase = "before the start" if now_ms < schedule.start_ms else "fair" if now_ms < schedule.turn_ms else "UNFAIR"
    sent = f"{seen.sent[FEED]:,} simulated, {seen.sent[PRIMARIES]:,} of the primaries log"
    caption = "gap in recommendation rate, black less white, with its 95 % interval"
    for firing in seen.firings[:_SHOWN_FIRINGS]:
        caption += f"\n[red]{firing_line(firing, schedule)}[/red]"
    table = Table(title=f"recommender: {phase}   events sent: {sent}", caption=caption, caption_justify="left")
    for column in ("window end (UTC)", "measurement", "level", "status", "black-white gap"):
        table.add_column(column)
    for window in seen.windows[-_SHOWN_WINDOWS:]:
        gap = _gap(window)
        style = "red" if gap is not None and gap.upper < 0 else ""
        shown = (_clock(window.window.end_ms), window.measurement, window.level, window.status, shown_interval(gap))
        table.add_row(*shown, style=style)
    return table
