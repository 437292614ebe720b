"""What is simulated: worlds, rules and sizes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from streams.alert_simulation.gaussian import SIGMA, GaussianWorld
from streams.alert_simulation.rules import Cusum, EDetector, Threshold
from streams.alert_simulation.runs import Rule, RunLengths, World, to_alarm, to_end
from streams.alert_simulation.tables import DETECTORS, TableWorld

Section = Literal["false alarms", "delays", "levels", "ends", "points"]

E_DETECTOR, ONE, THREE = "e-detector", "1 window beyond", "3 in a row"
CUSUM, CUSUM_EXACT = "CUSUM, same run length", "CUSUM, exactly A"
RULES = (E_DETECTOR, CUSUM, CUSUM_EXACT, ONE, THREE)
AT_TOLERATED = "every gap exactly at the tolerated one"
GAPS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Beyond the tolerated gap, in sigma."""
UNFAIR_WINDOWS = 200
"""For so long a gap lasts before an alarm's end is waited for."""

_MONTH_SECONDS = 30 * 86_400
_FEW = 5
_DEMO_ROWS_A_SECOND, _DEMO_NOISE_ROWS, _DEMO_CAP = 2_000, 14.142, 2.0
"""Traffic of `evenstream demo`; noise of examples/simulated-feed: rho .1 a member-day, half of it a level, cap 2."""


@dataclass(frozen=True)
class Level:
    """A level: its window's length, seconds, and A, windows."""

    name: str
    seconds: float
    false_alarm_windows: int


@dataclass(frozen=True)
class Terms:
    """What is promised.

    Attributes:
        false_alarm_windows: A of the simulated runs. detectors: each K to simulate.
        tolerated: tau, ratio: one, or one for each detector (then ``detectors`` is their number alone).
        levels: whose delays are shown as well, each at an A of its own; their K is the largest one.
        real_tables: whether to simulate real tables too; they are those of examples/simulated-feed.
    """

    false_alarm_windows: int
    detectors: tuple[int, ...]
    tolerated: float | tuple[float, ...]
    levels: tuple[Level, ...]
    real_tables: bool = True

    @property
    def watched(self) -> float:
        """tau of the one detector whose delay is shown."""
        return self.tolerated if isinstance(self.tolerated, float) else self.tolerated[0]


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        runs: of each Gaussian world; half of them where there are more than 5 detectors.
        horizon: in A: where a run without a false alarm is given up. delay_horizon: windows, of one with a gap.
        table_runs, table_horizon: the same, of real tables. spread: their windows by which the spread is judged.
        point_runs, point_horizon: of the demo's traffic; windows. largest_window: seconds.
    """

    runs: int
    horizon: int
    delay_horizon: int
    table_runs: int
    table_horizon: int
    spread: int
    point_runs: int
    point_horizon: int
    largest_window: int

    def runs_of(self, detectors: int) -> int:
        """Of a Gaussian world with so many detectors."""
        return self.runs if detectors <= _FEW else max(self.runs // 2, 2)


FULL = Size(
    200, 10, 10_000, table_runs=10, table_horizon=3, spread=200, point_runs=10, point_horizon=100, largest_window=60
)
QUICK = Size(40, 4, 400, table_runs=3, table_horizon=1, spread=10, point_runs=3, point_horizon=20, largest_window=10)


@dataclass(frozen=True)
class Task:
    """One figure: a rule in a world, many times.

    Attributes:
        row, rule_name: its place in the section's table. detectors: K. false_alarm_windows: A.
        promised: whether the e-detector's promise is made there.
        gap: for delays and ends, beyond the tolerated one, sigma; for points, percentage points.
        before: the unfair world that comes first, where an alarm's end is waited for.
    """

    section: Section
    row: str
    rule_name: str
    detectors: int
    false_alarm_windows: int
    world: World
    rule: Rule
    runs: int
    horizon: int
    promised: bool = False
    gap: float | None = None
    before: World | None = None

    def run(self, seed: int) -> RunLengths:
        """Simulate it. The seed is made of the given one and of what the world is, so that all rules see the same."""
        name = f"{self.section}/{self.row}/{self.detectors}/{self.gap}"
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if self.before is not None:
            return to_end(self.before, UNFAIR_WINDOWS, self.world, self.rule, self.runs, self.horizon, rng)
        return to_alarm(self.world, self.rule, self.runs, self.horizon, rng)


def month_levels() -> tuple[Level, ...]:
    """The usual lengths, with a false alarm in 30 days."""
    return tuple(Level(name, s, _MONTH_SECONDS // s) for name, s in (("10s", 10), ("1m", 60), ("1h", 3600)))


def null_worlds(terms: Terms, detectors: int) -> Iterator[GaussianWorld]:
    """Worlds without a gap beyond the tolerated one, and worlds that bend an assumption by a known amount."""
    at = GaussianWorld(AT_TOLERATED, tolerated=terms.tolerated, detectors=detectors)
    nothing = replace(at, text="no gap, and none tolerated", tolerated=0.0)
    bent = replace(nothing, promised=False)
    yield at
    yield nothing
    if detectors > 1:
        yield replace(at, text="as the first, detectors correlated by .5", correlation=0.5)
    if detectors <= _FEW:  # where hardly any run ends, many detectors only cost time
        yield replace(at, text="no gap, 1 sigma tolerated", tolerated=SIGMA, beyond=None)
        yield replace(at, text="the pool deviates by .2 sigma, .2 tolerated", tolerated=0.2 * SIGMA)
    yield replace(bent, text="the pool deviates by .2 sigma, none tolerated", beyond=0.2)
    yield replace(bent, text="members return: by chance .1 sigma, none tolerated", pool=0.1)
    yield replace(bent, text="members return: by chance .2 sigma, none tolerated", pool=0.2)
    if detectors <= _FEW:
        text = "members return: by chance .2 sigma, .4 tolerated"
        yield replace(bent, text=text, pool=0.2, tolerated=0.4 * SIGMA, beyond=None)
        yield replace(bent, text="variances estimated, 20 degrees of freedom", degrees=20)
        yield replace(bent, text="intervals a tenth too narrow", width=0.9)


def table_worlds() -> tuple[TableWorld, ...]:
    """Real tables without a gap; the promise is made where members are alike, so that no pool deviates."""
    much = TableWorld("tables: much noise, members alike, none tolerated", 2_000, 5.0, 0.0, promised=True)
    text = "tables: much noise, one in 50 recommended, members alike, none tolerated"
    rare = replace(much, text=text, rows=4_000, rate=0.02, rows_per_member=2.0)
    little = replace(much, text="tables: little noise, members alike, none tolerated", noise_rows=2.0)
    text = "tables: little noise, members return, none tolerated"
    returning = replace(little, text=text, members=8_000, likeness=0.3, promised=False)
    tolerating = replace(returning, text="tables: little noise, members return, .02 tolerated", tolerated=0.02)
    return much, little, returning, tolerating, rare


def false_alarms(terms: Terms, size: Size) -> list[Task]:
    """The e-detector in every world without a gap."""
    a = terms.false_alarm_windows
    tasks = [
        Task("false alarms", world.text, E_DETECTOR, k, a, world, EDetector(world.tolerated, a, k), size.runs_of(k),
             size.horizon * a, world.promised)
        for k in terms.detectors
        for world in null_worlds(terms, k)
    ]  # fmt: skip
    if terms.real_tables:
        tasks += [
            Task("false alarms", world.text, E_DETECTOR, DETECTORS, a, world, EDetector(world.tolerated, a, DETECTORS),
                 size.table_runs, size.table_horizon * a, world.promised)
            for world in table_worlds()
        ]  # fmt: skip
    return tasks


def opponents(tasks: Sequence[Task], measured: Mapping[int, float]) -> list[Task]:
    """The other rules in the same worlds.

    Args:
        measured: by K, the e-detector's windows to a false alarm with every gap exactly at the tolerated one, in A.
    """
    found: list[Task] = []
    for task in tasks:
        assert isinstance(task.rule, EDetector)
        rules = _rules(task.rule.tolerated, task.false_alarm_windows, task.detectors, measured)
        found += [replace(task, rule_name=name, rule=rules[name], promised=False) for name in (CUSUM, ONE, THREE)]
    return found


def _rules(tolerated: float | tuple[float, ...], a: int, k: int, measured: Mapping[int, float]) -> dict[str, Rule]:
    longer = measured.get(k, measured[max(measured)])
    return {
        E_DETECTOR: EDetector(tolerated, a, k),
        CUSUM: Cusum(tolerated, round(longer * a * k, 1)),
        CUSUM_EXACT: Cusum(tolerated, float(a * k)),
        ONE: Threshold(tolerated, 1),
        THREE: Threshold(tolerated, 3),
    }


def delays(terms: Terms, size: Size, measured: Mapping[int, float]) -> list[Task]:
    """How long one gap lasts until its own alarm: for each K, and at each level's own A; thresholds know neither."""
    settings: list[tuple[Section, str, int, int, tuple[str, ...]]] = []
    for number, k in enumerate(terms.detectors):
        names = RULES if number == 0 else (E_DETECTOR, CUSUM, CUSUM_EXACT)
        settings.append(("delays", f"K {k}", k, terms.false_alarm_windows, names))
    for level in terms.levels:
        names = (E_DETECTOR, CUSUM, CUSUM_EXACT)
        settings.append(("levels", level.name, max(terms.detectors), level.false_alarm_windows, names))
    tau = terms.watched
    return [
        Task(section, row, name, k, a, GaussianWorld(f"{gap} sigma beyond", tolerated=tau, beyond=gap),
             _rules(tau, a, k, measured)[name], size.runs, size.delay_horizon, gap=gap)
        for section, row, k, a, names in settings
        for gap in GAPS
        for name in names
    ]  # fmt: skip


def ends(terms: Terms, size: Size) -> list[Task]:
    """How long an alarm outlasts its gap."""
    k, a = max(terms.detectors), terms.false_alarm_windows
    after = {
        "no gap, 1 sigma tolerated": GaussianWorld("fair", tolerated=SIGMA, beyond=None),
        "the gap exactly at the tolerated one": GaussianWorld("just fair", tolerated=SIGMA),
    }
    return [
        Task("ends", name, E_DETECTOR, k, a, fair, EDetector(SIGMA, a, k), size.runs, 1_000, gap=gap,
             before=GaussianWorld("unfair", tolerated=SIGMA, beyond=gap))
        for name, fair in after.items()
        for gap in (1.0, 2.0, 4.0)
    ]  # fmt: skip


def points(terms: Terms, size: Size, measured: Mapping[int, float]) -> list[Task]:
    """The demo's traffic with its K and 30 days, when black members are recommended less often by so many points."""
    found: list[Task] = []
    levels = [level for level in month_levels() if level.seconds <= size.largest_window]
    for level in levels if terms.real_tables else ():
        rows = int(_DEMO_ROWS_A_SECOND * level.seconds)
        for gap in (0.05, 0.10, 0.15):
            world = TableWorld(
                f"{level.name}, {rows:,} rows", rows, _DEMO_NOISE_ROWS, 0.02, gap=gap, rows_per_member=_DEMO_CAP,
                only=("recommendation_rate", "black"),
            )  # fmt: skip
            rules = _rules(world.tolerated, level.false_alarm_windows, DETECTORS, measured)
            found += [
                Task("points", world.text, name, DETECTORS, level.false_alarm_windows, world, rules[name],
                     size.point_runs, size.point_horizon, gap=100 * gap)
                for name in (E_DETECTOR, CUSUM, ONE, THREE)
            ]  # fmt: skip
    return found
