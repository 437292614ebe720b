"""The demo from first to last: set up, a fair minute, an unfair minute, a summary, a verdict."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from estimator import GROUPS
from privacy import Measurement
from streams import replay
from streams.demo.stack import DemoStack, TopicFollower
from streams.demo.truth import ExactRates, SimulatedTruth, primaries
from streams.demo.verdict import judge, result_of
from streams.errors import EvenstreamError
from streams.feed import Feed
from streams.records.metric import FairnessMetric, Interval
from streams.simulate import SimulatedMembers, SimulatedRecommender, run_traffic

MEMBERS = 200_000
RATE = 2_000
SEED = 20_261_124
_MINUTE_MS = 60_000
_REPLAY_WITHIN_SECONDS = 45.0
_LAST_WINDOW_SECONDS = 30.0

FEED = "simulated-feed"
PRIMARIES = "primaries-2022"


class _Interrupted(Exception):
    """Ctrl-C, or a request to end."""


def run(root: Path, *, keep: bool) -> int:
    """Run the demo; returns its exit code."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)  # a log file has no width of its own
    folder = root / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    stack = DemoStack(folder.absolute(), lambda line: console.print(line, highlight=False))

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interrupted

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _run(stack, console, keep=keep)
    except _Interrupted:
        console.print("\nstopping what was started ...")
        return 130
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave anything running
        stack.stop()
        _tidy(stack)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _tidy(stack: DemoStack) -> None:
    """Remove what no one needs afterwards: Kafka's data, and keys; logs and the truth stay."""
    shutil.rmtree(stack.folder / "kafka", ignore_errors=True)
    shutil.rmtree(stack.settings.keys.dir, ignore_errors=True)
    if stack.settings.keys.epoch_dir is not None:
        shutil.rmtree(stack.settings.keys.epoch_dir, ignore_errors=True)


def _run(stack: DemoStack, console: Console, *, keep: bool) -> int:
    started = time.monotonic()
    stack.start_kafka()
    examples = Path(__file__).parents[2] / "examples"
    console.print("drawing 200,000 members from the Census tables, making topics and keys ...")
    rng = np.random.default_rng(SEED)
    members = SimulatedMembers(rng, MEMBERS)
    approved = stack.prepare(examples, start_after_seconds=18.0)
    start_ms = approved[FEED].effective_from_ms or 0
    feed = Feed(stack.settings)
    attributes = stack.settings.topic("member-attributes")
    feed.send_all(attributes, members.attributes())
    feed.send_all(attributes, replay.read_members(examples / PRIMARIES / "members.jsonl"))
    console.print("starting seal, attach, aggregate a, aggregate b, publish ...")
    stack.start_roles()
    console.print(f"ready after {time.monotonic() - started:.0f} s; metrics: {stack.metrics_address}")
    recommender = SimulatedRecommender(rng, members, start_ms + _MINUTE_MS)
    log = replay.read_events(examples / PRIMARIES / "events.jsonl", approved[PRIMARIES])
    windows, delays, sent = _live(stack, console, approved, recommender, log, start_ms)
    recommender.write_truth(stack.folder / "truth.npz")
    cap = approved[FEED].privacy.contribution_cap
    truth = SimulatedTruth(members, recommender, cap, start_ms)
    good = _summary(stack, console, windows, delays, sent, truth, primaries(examples / PRIMARIES), start_ms, cap)
    console.print(f"logs and the truth are in {stack.folder}")
    if keep:
        console.print(
            f"kept up: {stack.metrics_address} (traffic has stopped: the members' caps are spent). Ctrl-C stops it."
        )
        while True:
            if stack.supervisor is not None:
                stack.supervisor.watch()
            time.sleep(0.2)
    return 0 if good else 1


# -- the live part ------------------------------------------------------------------------------------------------


def _live(
    stack: DemoStack,
    console: Console,
    approved: dict[str, Measurement],
    recommender: SimulatedRecommender,
    log: list[replay.LoggedEvent],
    start_ms: int,
) -> tuple[list[FairnessMetric], list[float], dict[str, int]]:
    """Two minutes of traffic: what was published, how long after each window's end, and what was sent."""
    sent = {FEED: 0, PRIMARIES: 0}
    failures: list[BaseException] = []

    def guard(work: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                failures.append(error)

        return guarded

    def simulate() -> None:
        def progress(done: int, total: int) -> None:
            sent[FEED] = done

        run_traffic(
            Feed(stack.settings),
            stack.settings.topic("rec-events"),
            recommender,
            rate=RATE,
            start_ms=start_ms,
            end_ms=start_ms + 2 * _MINUTE_MS,
            progress=progress,
        )

    def play() -> None:
        def progress(done: int, total: int) -> None:
            sent[PRIMARIES] = done

        time.sleep(max(0.0, start_ms / 1000 + 3.0 - time.time()))
        span = (log[-1].time_ms - log[0].time_ms) / 1000
        replay.replay_now(Feed(stack.settings), approved[PRIMARIES], log, span / _REPLAY_WITHIN_SECONDS, progress)

    threads = [threading.Thread(target=guard(work), daemon=True) for work in (simulate, play)]
    probe = VisibilityProbe(stack, approved[FEED], start_ms, 12)
    threads.append(threading.Thread(target=guard(probe.run), daemon=True))
    for thread in threads:
        thread.start()
    follower = TopicFollower(stack.settings, stack.settings.topic("fairness-metrics"))
    windows: list[FairnessMetric] = []
    last_ms = start_ms + 2 * _MINUTE_MS
    deadline = last_ms / 1000 + _LAST_WINDOW_SECONDS
    with Live(console=console, refresh_per_second=2, transient=False, auto_refresh=console.is_terminal) as live:
        while time.time() < deadline:
            if failures:
                raise EvenstreamError(f"the demo's traffic failed: {failures[0]}") from failures[0]
            if stack.supervisor is not None:
                stack.supervisor.watch()
            fresh = follower.windows(0.25)
            windows += fresh
            if fresh and not console.is_terminal:
                for window in fresh:
                    console.print(_one_line(window, start_ms))
            live.update(_live_table(windows, sent, start_ms) if console.is_terminal else "")
            ends = {(w.measurement, w.level, w.window.end_ms) for w in windows}
            wanted = {(FEED, "1m", last_ms), (FEED, "10s", last_ms), (PRIMARIES, "1m", last_ms)}
            if wanted <= ends:
                break
    follower.close()
    for thread in threads:
        thread.join(timeout=5)
    return windows, probe.delays, sent


class VisibilityProbe:
    """Measures from outside how long after its end plus the lateness a window is seen on /metrics."""

    def __init__(self, stack: DemoStack, measurement: Measurement, start_ms: int, windows: int) -> None:
        self._stack = stack
        self._level = measurement.levels[0].name
        self._ends = [start_ms + (k + 1) * measurement.base_ms for k in range(windows)]
        self._lateness_ms = measurement.lateness_ms
        self.delays: list[float] = []

    def run(self) -> None:
        """Ask around each window's end, every 10 ms until it is there."""
        for end_ms in self._ends:
            due = (end_ms + self._lateness_ms) / 1000
            time.sleep(max(0.0, due - time.time()))
            while time.time() < due + 9:
                if self._shown() >= end_ms:
                    self.delays.append(time.time() - due)
                    break
                time.sleep(0.01)

    def _shown(self) -> float:
        prefix = f'evenstream_window_end_timestamp_seconds{{level="{self._level}",measurement="{FEED}"}}'
        for line in self._stack.scrape().splitlines():
            if line.startswith(prefix):
                return float(line.rpartition(" ")[2]) * 1000
        return 0.0


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.estimate:+.3f} [{interval.lower:+.3f}, {interval.upper:+.3f}]"


def _clock(end_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(end_ms / 1000))


def _one_line(window: FairnessMetric, start_ms: int) -> str:
    gap = "" if window.table is None else _interval(result_of(window, "recommendation_rate", "black").gap)
    phase = "fair" if window.window.end_ms <= start_ms + _MINUTE_MS else "unfair"
    what = f"{window.measurement} {window.level} {window.status}"
    return f"{_clock(window.window.end_ms)} {what}, recommender {phase}: black-white gap {gap}"


def _live_table(windows: list[FairnessMetric], sent: dict[str, int], start_ms: int) -> Table:
    now = time.time() * 1000
    phase = "before the start" if now < start_ms else "fair" if now < start_ms + _MINUTE_MS else "UNFAIR"
    table = Table(
        title=f"recommender: {phase}   events sent: {sent[FEED]:,} simulated, {sent[PRIMARIES]:,} of the primaries log",
        caption="gap in recommendation rate, black less white, with its 95 % interval",
    )
    for column in ("window end (UTC)", "measurement", "level", "status", "black-white gap"):
        table.add_column(column)
    for window in windows[-14:]:
        gap = None if window.table is None else result_of(window, "recommendation_rate", "black").gap
        style = "red" if gap is not None and gap.upper < 0 else ""
        table.add_row(
            _clock(window.window.end_ms), window.measurement, window.level, window.status, _interval(gap), style=style
        )
    return table


# -- the summary --------------------------------------------------------------------------------------------------


def _summary(
    stack: DemoStack,
    console: Console,
    windows: list[FairnessMetric],
    delays: list[float],
    sent: dict[str, int],
    truth: SimulatedTruth,
    primaries_truth: dict[str, ExactRates],
    start_ms: int,
    rows_per_member: int,
) -> bool:
    minute = {w.window.end_ms: w for w in windows if w.measurement == FEED and w.level == "1m"}
    expected = {}
    for number, name in ((1, "fair minute"), (2, "unfair minute")):
        end_ms = start_ms + number * _MINUTE_MS
        exact = truth.recommendation(end_ms - _MINUTE_MS, end_ms)
        expected[end_ms] = exact.rows
        if end_ms in minute:
            _compare(console, f"{FEED}, {name}: recommendation rate", minute[end_ms], "recommendation_rate", exact)
    log_window = next(
        (w for w in windows if w.measurement == PRIMARIES and w.window.end_ms == start_ms + _MINUTE_MS), None
    )
    if log_window is not None:
        for metric, text in (("recommendation_rate", "endorsed"), ("precision", "won, given endorsed")):
            _compare(console, f"{PRIMARIES} (real candidates): {text}", log_window, metric, primaries_truth[metric])
    console.print(
        "Three things are kept apart above. [bold]published[/bold]: the weighted estimate with noise, and its 95 % "
        "interval. [bold]no noise[/bold]: the same estimate of the same rows. [bold]truth[/bold]: what really "
        "happened. The weighted estimate understates gaps by design, since a name and a place only hint at race; on "
        "the primaries log the proxy (surname and state) sees only about a third of the true gap."
    )
    refused = stack.refused()
    costs = {w.measurement: w.privacy for w in windows}
    console.print(
        f"events in: {sent[FEED]:,} simulated, {sent[PRIMARIES]:,} of the primaries log; rows refused at seal: "
        + (", ".join(f"{reason} {count}" for reason, count in sorted(refused.items())) or "none")
    )
    released = {name: sum(w.measurement == name for w in windows) for name in (FEED, PRIMARIES)}
    console.print(f"windows released: {released[FEED]} of {FEED}, {released[PRIMARIES]} of {PRIMARIES}")
    for name, cost in sorted(costs.items()):
        epsilon = "unbounded" if cost.epsilon is None else f"{cost.epsilon:.2f}"
        console.print(
            f"spent on each member's day by {name}: rho {cost.rho:g}, epsilon {epsilon} at delta {cost.delta:g} "
            "(replacing a member's race probabilities)"
        )
    if delays:
        ordered = sorted(delays)
        console.print(
            f"window end plus lateness until visible on /metrics, {len(ordered)} windows at "
            f"{stack.settings.topics.partitions} partitions: median {1000 * ordered[len(ordered) // 2]:.0f} ms, "
            f"p99 (here the largest) {1000 * ordered[-1]:.0f} ms; target p99 500 ms"
        )
    if stack.supervisor is not None and stack.supervisor.restarts:
        console.print(f"roles that had to be restarted: {stack.supervisor.restarts} (see the logs)")
    fair, unfair = minute.get(start_ms + _MINUTE_MS), minute.get(start_ms + 2 * _MINUTE_MS)
    conditions = judge(fair, unfair, windows, expected, rows_per_member)
    for condition in conditions:
        mark = "[green]holds[/green]" if condition.holds else "[red]FAILS[/red]"
        console.print(f"{mark}  {condition.text}", highlight=False)
    return all(condition.holds for condition in conditions)


def _compare(console: Console, title: str, window: FairnessMetric, metric: str, exact: ExactRates) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("group", "published", "no noise", "truth", "gap published", "gap no noise", "gap truth"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for group in GROUPS:
        result = result_of(window, metric, group)
        if result.value is None:
            table.add_row(
                group, f"({result.suppressed})", *_exact_columns(exact, group, window.reference, show_gap=False)
            )
            continue
        table.add_row(
            group,
            f"{result.value.estimate:.3f} [{result.value.lower:.3f}, {result.value.upper:.3f}]",
            *_exact_columns(exact, group, window.reference, show_gap=False)[:2],
            _interval(result.gap),
            *_exact_columns(exact, group, window.reference, show_gap=True)[3:],
        )
    console.print(table)


def _exact_columns(exact: ExactRates, group: str, reference: str, *, show_gap: bool) -> list[str]:
    weighted, truth = exact.weighted[group], exact.truth[group]
    gaps = ["-", "-"]
    if show_gap and group != reference:
        gaps = [_shown(weighted - exact.weighted[reference], "+.3f"), _shown(truth - exact.truth[reference], "+.3f")]
    return [_shown(weighted, ".3f"), _shown(truth, ".3f"), "-", *gaps]


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
