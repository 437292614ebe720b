"""What Prometheus reads at `publish`: a custom Collector over the last window of each level.

No value or decision series exists before there is a release, and none for a void or suppressed value: never a last
value, a 0 or NaN in place of an answer. Nothing is exposed before the replay of `releases` is complete, since counters
that are scraped half-way look like a reset. A measurement that is no longer approved takes its series with it; of one
that was revoked, or has expired, what it is remains (`measurement_info`) and what it counted, but no value; so with a
level that the present revision does not have.

Evidence, its threshold and breaches are no values of a window but what has been gathered over many: they stay over void
windows, which leave them as they were, or an alert would end because numbers are missing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from privacy import Limits, epsilon
from streams.control import Approved
from streams.records.metric import FairnessMetric
from streams.roles.emitted import Outcome
from streams.roles.publish import BUDGET_REASONS, NOT_IN_SPEC, REVOKED, SECOND_RELEASE, UNATTRIBUTED
from streams.watch.gathered import gathered_families
from streams.watch.period_budget import PeriodBudget

_KEY = ("measurement", "level", "metric", "score_bin", "group")
_KNOWN_OUTCOMES = (
    ("published", ""),
    ("suppressed", "no_group_says_anything"),
    ("void", "coverage_differs"),
    ("void", "releases_differ"),
    ("void", "not_finite"),
    ("void", "implausible_entry"),
    ("void", "implausible_moments"),
    ("void", "channels_disagree"),
    ("void", "incomplete_rollup"),
    ("void", "measurement_applied_late"),
    ("void", "skipped"),
    *(("void", reason) for reason in BUDGET_REASONS),
    ("withdrawn", REVOKED),
)
"""Shown from 0 on: Prometheus sees no increase in a counter that is born as 1, so the first void would alert nobody."""

_REFUSALS = (*BUDGET_REASONS, SECOND_RELEASE, NOT_IN_SPEC)

_DELAYS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)


@dataclass
class _Level:
    """What is known of one level of one measurement."""

    last: FairnessMetric | None = None
    gathered: FairnessMetric | None = None
    """The last that says what its detectors have gathered; None once another revision's windows have come."""
    windows: dict[tuple[str, str], int] = field(default_factory=dict)


class FairnessCollector(Collector):
    """Holds what is shown; fed by `publish`, read by the HTTP server's threads.

    Args:
        clock: epoch seconds; says which measurements have expired.
        limits: of the registry; without them no period's spending is shown.
        retention_seconds: how long `sealed` and `shares` keep their records; not shown where it is not given.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.time,
        limits: Limits | None = None,
        retention_seconds: float | None = None,
    ) -> None:
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._period_budget = None if limits is None else PeriodBudget(limits)
        self._lock = threading.Lock()
        self._open = False
        self._levels: dict[tuple[str, str], _Level] = {}
        self._revisions: dict[str, list[Approved]] = {}
        self._epsilon_limits: dict[str, float] = {}
        self._released: dict[tuple[str, str, str], int] = {}
        self._refused: dict[tuple[str, str, str], int] = {}
        # Not registered by itself: it too is shown through collect(), once replay is complete.
        self._delay = Histogram(
            "evenstream_publish_delay_seconds",
            "From window end plus lateness until its numbers are shown",
            ("measurement", "level"),
            buckets=_DELAYS,
            registry=None,
        )
        registry.register(self)

    def open(self) -> None:
        """Replay is complete: begin to show."""
        with self._lock:
            self._open = True

    def forget(self) -> None:
        """Begin again to take in windows and releases; only before :meth:`open`."""
        with self._lock:
            self._levels, self._released, self._refused = {}, {}, {}

    def measurements(self, approved: Iterable[Approved], rho_limit: float) -> None:
        """Which measurements there are, all revisions of each; what is not among them is no longer shown.

        Args:
            approved: as :meth:`streams.control.ControlPlane.approved` gives them.
            rho_limit: what all measurements together may spend of a member-day (zCDP), positive.
        """
        revisions: dict[str, list[Approved]] = {}
        for entry in sorted(approved, key=lambda entry: entry.measurement.revision):
            revisions.setdefault(entry.measurement.id, []).append(entry)
        limits = {
            name: epsilon(rho_limit, entries[-1].measurement.privacy.delta) for name, entries in revisions.items()
        }
        with self._lock:
            self._revisions, self._epsilon_limits = revisions, limits

    def paid_for(self, approved: Approved, start_ms: int) -> None:
        """A party has released numbers of a window that starts then, so its day is paid for."""
        if self._period_budget is not None:
            with self._lock:
                self._period_budget.released(approved, start_ms)

    def released(self, measurement: str, level: str, party: str, end_ms: int) -> None:
        """A party has released a window."""
        with self._lock:
            key = (measurement, level, party)
            self._released[key] = max(end_ms, self._released.get(key, 0))

    def refused(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        """Releases that a party's budget forbade or that were not taken in, by (measurement, party, reason)."""
        with self._lock:
            self._refused = dict(counts)

    def count(self, record: FairnessMetric | Outcome) -> None:
        """A window came to this, which is not shown: it was withdrawn before, or a newer one is.

        Whoever reads the revocation first counts it as whoever reads it last, so that no counter falls on a restart.
        """
        with self._lock:
            self._count(record)

    def _count(self, record: FairnessMetric | Outcome) -> _Level:
        level = self._levels.setdefault((record.measurement, record.level), _Level())
        counter = (record.status, record.reason or "")
        level.windows[counter] = level.windows.get(counter, 0) + 1
        return level

    def window(self, record: FairnessMetric, delay_seconds: float | None) -> None:
        """A window is done. ``delay_seconds`` is None while old releases are replayed."""
        with self._lock:
            level = self._count(record)
            if level.last is None or level.last.window.end_ms < record.window.end_ms:
                level.last = record
                if record.detection is not None:
                    level.gathered = record
                elif level.gathered is not None and level.gathered.spec_sha256 != record.spec_sha256:
                    level.gathered = None
        if delay_seconds is not None:
            self._delay.labels(record.measurement, record.level).observe(max(delay_seconds, 0.0))

    # -- exposition -----------------------------------------------------------------------------------------------

    def describe(self) -> Iterable[Metric]:
        """Nothing is promised before it exists (and registering must not collect)."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, from one consistent moment."""
        with self._lock:
            if not self._open:
                return
            families = [*self._values(), *self._gathered(), *self._freshness(), *self._counters(), *self._budget()]
            shown = set(self._revisions)
        yield from families
        for delay in self._delay.collect():
            delay.samples = [sample for sample in delay.samples if sample.labels["measurement"] in shown]
            yield delay

    def _current(self) -> Iterator[tuple[str, Approved]]:
        """(measurement, the revision that its windows have reached, else its first).

        A later revision is approved ahead of its start; until the windows get there, its terms are not what is shown.
        """
        for name, entries in self._revisions.items():
            ends = [level.last.window.end_ms for (m, _), level in self._levels.items() if m == name and level.last]
            reached = [entry for entry in entries if ends and entry.from_ms < max(ends)]
            yield name, (reached or entries[:1])[-1]

    def _ended(self, approved: Approved) -> bool:
        """Whether no window of a revision is still to come: a last value would pass for an answer of today."""
        if approved.revoked:
            return True
        measurement = approved.measurement
        if measurement.expires_ms is None or measurement.source.arrival == "record_time":
            return False  # a log may be replayed at any time
        last_ms = measurement.expires_ms + measurement.levels[-1].length_ms + measurement.lateness_ms
        return self._clock() * 1000 >= last_ms

    def _values(self) -> Iterator[Metric]:
        last = self._standing(level.last for level in self._current_levels())
        results = [(record, result) for record in last for result in record.results]

        def family(name: str, text: str, which: str, end: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
            gauge = GaugeMetricFamily(f"evenstream_{name}", text, labels=labels)
            for record, result in results:
                interval = getattr(result, which)
                if interval is None:
                    continue
                values = [record.measurement, record.level, result.metric, result.score_bin, result.group]
                if "reference" in labels:
                    values.append(record.reference)
                gauge.add_metric([*values, result.estimator], getattr(interval, end))
            return gauge

        value_labels, gap_labels = (*_KEY, "estimator"), (*_KEY, "reference", "estimator")
        for end, suffix, text in (
            ("estimate", "", ""),
            ("lower", "_lower", ", lower end"),
            ("upper", "_upper", ", upper end"),
        ):
            yield family(f"group_value{suffix}_ratio", f"Rate of a group{text}", "value", end, value_labels)
            yield family(f"gap{suffix}_ratio", f"Rate less the reference's{text}", "gap", end, gap_labels)
            yield family(f"parity{suffix}_ratio", f"Rate over the reference's{text}", "ratio", end, gap_labels)
        suppressed = GaugeMetricFamily(
            "evenstream_group_suppressed",
            "1 where none of a group's values can be shown",
            labels=("measurement", "level", "group"),
        )
        for record in last:
            if record.status in ("void", "withdrawn"):
                continue
            for group in dict.fromkeys(result.group for result in record.results):
                silent = all(result.value is None for result in record.results if result.group == group)
                suppressed.add_metric([record.measurement, record.level, group], float(silent))
        yield suppressed

    def _gathered(self) -> Iterator[Metric]:
        shown = self._current_levels()
        gathered, last = (level.gathered for level in shown), (level.last for level in shown)
        yield from gathered_families(self._standing(gathered), self._standing(last))

    def _current_levels(self) -> list[_Level]:
        """Those that the present revisions have: of a level that ended with an earlier one nothing more will come."""
        wanted = {(name, level.name) for name, approved in self._current() for level in approved.measurement.levels}
        return [level for key, level in self._levels.items() if key in wanted]

    def _standing(self, records: Iterable[FairnessMetric | None]) -> list[FairnessMetric]:
        ended = self._ended_specs()
        return [record for record in records if record is not None and record.spec_sha256 not in ended]

    def _ended_specs(self) -> set[str]:
        now_ms = int(self._clock() * 1000)
        return {e.spec.hex() for entries in self._revisions.values() for e in entries if e.is_over(now_ms)}

    def _freshness(self) -> Iterator[Metric]:
        labels = ("measurement", "level")
        end = GaugeMetricFamily("evenstream_window_end_timestamp_seconds", "End of the last window", labels=labels)
        length = GaugeMetricFamily("evenstream_window_length_seconds", "Length of a window", labels=labels)
        lateness = GaugeMetricFamily(
            "evenstream_window_lateness_seconds", "How late a row may be", labels=("measurement",)
        )
        ended = {name for name, approved in self._current() if self._ended(approved)}
        for name, approved in self._current():
            if name in ended:
                continue  # else it would be called stale for ever
            lateness.add_metric([name], approved.measurement.lateness_ms / 1000)
            for level in approved.measurement.levels:
                known = self._levels.get((name, level.name))
                # Before the first window: the activation, so that a measurement that never starts is not silent.
                moment = approved.from_ms if known is None or known.last is None else known.last.window.end_ms
                end.add_metric([name, level.name], moment / 1000)
                length.add_metric([name, level.name], level.length_ms / 1000)
        released = GaugeMetricFamily(
            "evenstream_released_window_end_timestamp_seconds",
            "End of the last window that a party released",
            labels=("measurement", "level", "party"),
        )
        for key, end_ms in self._released.items():
            if key[0] in self._revisions and key[0] not in ended:
                released.add_metric(list(key), end_ms / 1000)
        yield from (end, length, lateness, released, *self._silence())

    def _silence(self) -> Iterator[Metric]:
        """How long each party has released nothing new, and how long what it has not read is kept.

        Of live measurements only: a replayed log is as old as it is.
        """
        age = GaugeMetricFamily(
            "evenstream_release_age_seconds",
            "Since the end of the last window that a party released, or the activation",
            labels=("measurement", "party"),
        )
        now = self._clock()
        for name, approved in self._current():
            if approved.state(int(now * 1000)) != "active" or approved.measurement.source.arrival == "record_time":
                continue
            for party in "ab":
                ends = [end_ms for (m, _, p), end_ms in self._released.items() if (m, p) == (name, party)]
                age.add_metric([name, party], max(0.0, now - max([approved.from_ms, *ends]) / 1000))
        yield age
        retention = GaugeMetricFamily("evenstream_log_retention_seconds", "How long sealed and shares keep records")
        if self._retention_seconds is not None:
            retention.add_metric([], self._retention_seconds)
        yield retention

    def _counters(self) -> Iterator[Metric]:
        windows = CounterMetricFamily(
            "evenstream_windows", "Windows by status", labels=("measurement", "level", "status", "reason")
        )
        scheduled = {
            (name, level.name): dict.fromkeys(_KNOWN_OUTCOMES, 0)
            for name, approved in self._current()
            for level in approved.measurement.levels
        }
        seen = {key: known.windows for key, known in self._levels.items() if key[0] in self._revisions}
        for measurement, level in sorted(scheduled.keys() | seen.keys()):
            counts = scheduled.get((measurement, level), {}) | seen.get((measurement, level), {})
            for (status, reason), count in counts.items():
                windows.add_metric([measurement, level, status, reason], count)
        refused = CounterMetricFamily(
            "evenstream_releases_refused",
            "Windows that a party's budget forbids it to release, and releases that publish did not take in",
            labels=("measurement", "party", "reason"),
        )
        names = {name for name, entries in self._revisions.items() if not all(map(self._ended, entries))}
        born = {
            **{("", party, reason): 0 for party in "ab" for reason in UNATTRIBUTED},
            **{(n, party, reason): 0 for n in sorted(names) for party in "ab" for reason in _REFUSALS},
        }
        for labels, count in (born | self._refused).items():
            if not labels[0] or labels[0] in self._revisions:
                refused.add_metric(list(labels), count)
        yield from (windows, refused)

    def _budget(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "evenstream_measurement_info",
            "Approved measurements: scheduled, active, expired, superseded or revoked",
            labels=("measurement", "revision", "reference", "state"),
        )
        parties = ("measurement", "party")
        spent = GaugeMetricFamily(
            "evenstream_privacy_budget_spent_ratio",
            "Rho of a member-day (replacement) that the measurement spends, over what all together may spend",
            labels=parties,
        )
        epsilon_spent = GaugeMetricFamily(
            "evenstream_privacy_epsilon_spent",
            "Epsilon of a member-day (replacement) at evenstream_privacy_delta that the measurement spends",
            labels=parties,
        )
        limit = GaugeMetricFamily(
            "evenstream_privacy_epsilon_limit",
            "Epsilon of a member-day (replacement) at evenstream_privacy_delta that all measurements may spend",
            labels=("measurement",),
        )
        delta = GaugeMetricFamily("evenstream_privacy_delta", "Delta of the epsilons", labels=("measurement",))
        for name, approved in self._current():
            measurement = approved.measurement
            state = approved.state(int(self._clock() * 1000))
            info.add_metric([name, str(measurement.revision), measurement.reference, state], 1)
            if self._ended(approved):
                continue
            limit.add_metric([name], self._epsilon_limits[name])
            delta.add_metric([name], measurement.privacy.delta)
            records = [level.last for (m, _), level in self._levels.items() if m == name and level.last is not None]
            if not records:
                continue
            privacy = max(records, key=lambda record: record.window.end_ms).privacy
            if privacy is None:
                continue
            for party in sorted({party for m, _, party in self._released if m == name}):
                spent.add_metric([name, party], privacy.rho / privacy.rho_limit)
                if privacy.epsilon is not None:
                    epsilon_spent.add_metric([name, party], privacy.epsilon)
        yield from (info, spent, epsilon_spent, limit, delta, self._expiry(), *self._periods())

    def _periods(self) -> Iterator[Metric]:
        if self._period_budget is None:
            return
        now_ms = int(self._clock() * 1000)
        standing = [entry for entries in self._revisions.values() for entry in entries]
        for name, text, ratios in (
            ("spent", "", self._period_budget.spent(now_ms)),
            (
                "forecast",
                ", in 14 days if all that is approved goes on",
                self._period_budget.forecast(now_ms, standing),
            ),
        ):
            gauge = GaugeMetricFamily(
                f"evenstream_privacy_period_{name}_ratio",
                f"Rho (replacement) that one member can have spent in a period, over all, of its limit{text}",
                labels=("period",),
            )
            for period, ratio in ratios.items():
                gauge.add_metric([period], ratio)
            yield gauge

    def _expiry(self) -> Metric:
        expiry = GaugeMetricFamily(
            "evenstream_measurement_expiry_timestamp_seconds",
            "When the approval of a measurement's newest revision that stands ends",
            labels=("measurement",),
        )
        for name, entries in self._revisions.items():
            standing = [entry.measurement for entry in entries if not entry.revoked]
            if standing and standing[-1].expires_ms is not None:
                expiry.add_metric([name], standing[-1].expires_ms / 1000)
        return expiry
