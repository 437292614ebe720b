"""A site that has seen an hour of windows: fair, then unfair until an alarm, a void and a suppressed one among them.

Estimators, detectors and records are the real ones; only the tables are drawn here instead of by the parties.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, CellLayout, Evidence, NoiseVariance, disparities
from privacy import Measurement, epsilon, parse_measurement, plan_noise
from secure_agg import SCALE
from streams.control import FOREVER_MS, Approved
from streams.records.metric import Checks, FairnessMetric, Privacy, Table, Window
from streams.roles.detecting import LevelDetectors
from streams.watch.pages import Shown
from streams.watch.window_history import WindowHistory

START_MS = 1_764_072_000_000
LENGTH_MS = 10_000
AXES = (("score", 2), ("decision", 2), ("outcome", 2))
LAYOUT = CellLayout(AXES)
SPEC = """
id: {name}
revision: {revision}
purpose: "Does everyone see equally good jobs? {hostile}"
source: {{topic: rec-events, member: member_id, time: shown_at}}
cells: {{score: {{field: score, bins: [0.5]}}, decision: {{field: recommended}}, outcome: {{field: hired}}}}
windows: {{base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.44, delta: 1.0e-9,
  channel_shares: {{table: 1.0}}}}
detection: {{tolerated_gap: 0.02, false_alarm_every: 1d}}
review: {{owner: The fairness team, harm_considered: h, data_used: d, retention: r}}
expires: 2100-01-01T00:00:00Z
"""
_ROWS = np.array([9000, 2600, 1500, 1800, 140, 60], dtype=np.float64)
_SIGMA = 6.0


def shown(
    name: str = "feed",
    revision: int = 1,
    *,
    from_ms: int = START_MS,
    until_ms: int = FOREVER_MS,
    revoked_at_ms: int | None = None,
    hostile: str = "",
    replayed: bool = False,
) -> Shown:
    """An approved revision with its promise; of live events, or of a log that is replayed."""
    text = SPEC.format(name=name, revision=revision, hostile=hostile)
    if replayed:
        text = text.replace("time: shown_at}", "time: shown_at, arrival: record_time}")
    spec = parse_measurement(text, origin="test")
    until_ms = min(until_ms, spec.expires_ms or FOREVER_MS)
    approved = Approved(spec, bytes([revision]) * 32, b"s" * 32, from_ms, until_ms, revision, revoked_at_ms)
    return Shown(approved, plan_noise(spec).statement())


def table(number: int, unfair: float = 0.0, rows: NDArray[np.float64] = _ROWS) -> NDArray[np.float64]:
    """A window's noised table, rows: everyone's rates are the same, but for black members' recommendations."""
    exact, rng = _exact(number, unfair, rows)
    return exact + rng.normal(0, _SIGMA, exact.shape)


def exact_counts(number: int, unfair: float = 0.0, rows: NDArray[np.float64] = _ROWS) -> NDArray[np.float64]:
    """The same before its noise: what nobody may ever see, rows."""
    return _exact(number, unfair, rows)[0]


def _exact(number: int, unfair: float, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], np.random.Generator]:
    rng = np.random.default_rng(number)
    found = np.zeros((LAYOUT.count, len(GROUPS)))
    for place, expected in enumerate(rows):
        decided = 0.29 - (unfair if GROUPS[place] == "black" else 0.0)
        likely = np.array([
            score * choice * outcome
            for score in (0.6, 0.4)
            for choice, hired in ((1 - decided, 0.2), (decided, 0.45))
            for outcome in (1 - hired, hired)
        ])  # fmt: skip
        found[:, place] = rng.multinomial(int(expected), likely)
    return found, rng


class Level:
    """Windows of one level, in their order; evidence is carried from one to the next."""

    def __init__(self, spec: Measurement, name: str = "10s", revision: int = 1) -> None:
        self.spec, self.name, self.revision = spec, name, revision
        self.length_ms = {"10s": LENGTH_MS, "1m": 60_000}[name]
        self.detectors = LevelDetectors.of(spec, name)
        self.evidence = Evidence.none(len(self.detectors.names))
        self.plan = plan_noise(spec)
        units = self.plan.level(name).channels["table"].scale_units
        self.sigma_rows = math.hypot(units, units) / SCALE

    def published(self, number: int, unfair: float = 0.0, rows: NDArray[np.float64] = _ROWS) -> FairnessMetric:
        """The window with this number, from 0."""
        values = table(number, unfair, rows)
        found = disparities(
            values,
            cells=LAYOUT,
            noise_variance=NoiseVariance(self.sigma_rows**2),
            reference="white",
            rows_per_member=2,
            tolerated=self.detectors.tolerated_gaps,
        )
        end_ms = START_MS + (number + 1) * self.length_ms
        self.evidence = self.detectors.detectors.after(self.evidence, self.detectors.gaps(found.results, 0.95), end_ms)
        silent = all(result.value is None for result in found.results)
        return self._record(
            number,
            status="suppressed" if silent else "published",
            reason="no_group_says_anything" if silent else None,
            results=self.detectors.results(found.results, self.evidence),
            table=Table.of(LAYOUT, GROUPS, values),
            detection=self.detectors.said(self.evidence),
        )

    def void(self, number: int, reason: str = "coverage_differs") -> FairnessMetric:
        """A void one."""
        return self._record(number, status="void", reason=reason)

    def suppressed(self, number: int) -> FairnessMetric:
        """One with next to no rows."""
        return self.published(number, rows=_ROWS / 2000)

    def withdrawn(self, number: int) -> FairnessMetric:
        """One whose measurement was revoked."""
        return self._record(number, status="withdrawn", reason="revoked", privacy=None, checks=None)

    def _record(self, number: int, **parts: object) -> FairnessMetric:
        start_ms = START_MS + number * self.length_ms
        promise = self.plan.statement()
        whole: dict[str, object] = {
            "measurement": self.spec.id,
            "revision": self.revision,
            "spec_sha256": (bytes([self.revision]) * 32).hex(),
            "level": self.name,
            "window": Window(start_ms=start_ms, end_ms=start_ms + self.length_ms),
            "reference": "white",
            "confidence": 0.95,
            "results": (),
            "table": None,
            "moments": None,
            "rectifier": None,
            "rows_per_member": None if parts.get("privacy", 1) is None else 2,
            "privacy": Privacy(
                unit=promise.unit,
                period=promise.period,
                rho=promise.rho,
                rho_limit=0.6,
                epsilon=promise.epsilon,
                epsilon_limit=epsilon(0.6, promise.delta),
                epsilon_add_remove=promise.epsilon_add_remove,
                delta=promise.delta,
                noise_sigma_rows=self.sigma_rows,
            ),
            "checks": Checks(release_signature_a="aa" * 64, release_signature_b="bb" * 64, debit_a="cc" * 32),
        } | parts
        return FairnessMetric(**whole)  # type: ignore[arg-type]


@cache
def hour(name: str = "feed", count: int = 60) -> tuple[FairnessMetric, ...]:
    """Windows of 10 s and of a minute: unfair from the thirtieth on; the twentieth is void, the 25th suppressed."""
    spec = shown(name).approved.measurement
    short, long = Level(spec), Level(spec, "1m")
    found = []
    for number in range(count):
        unfair = 0.0 if number < 30 else 0.12
        if number == 20:
            found.append(short.void(number))
        elif number == 25:
            found.append(short.suppressed(number))
        else:
            found.append(short.published(number, unfair))
        if number % 6 == 5:
            found.append(long.published(number // 6, unfair, rows=6 * _ROWS))
    return tuple(found)


def history(records: Iterable[FairnessMetric], most: int = 240) -> WindowHistory:
    """A history that has taken records in, and is open."""
    made = WindowHistory(most)
    for record in records:
        made.add(record)
    made.open()
    return made


def names(records: Sequence[FairnessMetric]) -> set[tuple[str, str]]:
    """Their measurements and levels."""
    return {(record.measurement, record.level) for record in records}
