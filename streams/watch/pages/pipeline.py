"""The page of the pipeline, for operators: how fresh levels are, whether the parties keep pace, what windows came to.

Everything is read from what /metrics shows at the same moment, so the two cannot tell different things.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from prometheus_client import CollectorRegistry

from streams.report import page
from streams.report.numbers import moment
from streams.watch.pages import words
from streams.watch.pages.base import link, path_of, rich_table
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Snapshot

_APART_WINDOWS = 2
"""Beyond so many the alert EvenstreamPartiesApart is raised."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Metrics:
    """What /metrics shows."""

    registry: CollectorRegistry

    def samples(self) -> dict[str, dict[Labels, float]]:
        """Values by name, without its prefix, and labels."""
        found: dict[str, dict[Labels, float]] = {}
        for family in self.registry.collect():
            for sample in family.samples:
                by_labels = found.setdefault(sample.name.removeprefix("evenstream_"), {})
                by_labels[tuple(sorted(sample.labels.items()))] = sample.value
        return found


@dataclass(frozen=True)
class LevelState:
    """How one level goes.

    Attributes:
        awaited: whether a window of it is due by the clock: of an active measurement of live events. A replayed log is
            as old as it is, and of one that has ended none is to come.
        end_ms: end of its last window, or the activation; epoch milliseconds.
        age_seconds: since then. released: by party, the same of its last release.
        apart_windows: between the two parties; None until both have released.
        delay_median_seconds, delay_p99_seconds: upper ends of the buckets that hold them; None without a live window,
            and where it lies beyond the last bucket.
        windows: by (status, reason), those that came to something.
    """

    measurement: str
    level: str
    length_seconds: float
    lateness_seconds: float
    awaited: bool
    end_ms: int
    age_seconds: float
    released: dict[str, float]
    apart_windows: float | None
    delayed: int
    delay_median_seconds: float | None
    delay_p99_seconds: float | None
    windows: dict[str, int]

    @property
    def stale(self) -> bool:
        """Awaited, and older than three lengths and the lateness, as for the alert EvenstreamMetricsStale."""
        return self.awaited and self.age_seconds > 3 * self.length_seconds + self.lateness_seconds

    @property
    def apart(self) -> bool:
        """Awaited, and one party that far behind the other, as for the alert EvenstreamPartiesApart."""
        return self.awaited and (self.apart_windows or 0) > _APART_WINDOWS


def states(snapshot: Snapshot) -> list[LevelState]:
    """Each level that has a window to come."""
    metrics = snapshot.of(Metrics)
    if metrics is None:
        return []
    samples = metrics.samples()
    now = snapshot.now_ms / 1000
    lateness = samples.get("window_lateness_seconds", {})
    lengths = samples.get("window_length_seconds", {})
    released = samples.get("released_window_end_timestamp_seconds", {})
    awaited = {dict(key)["measurement"] for key in samples.get("release_age_seconds", {})}
    found = []
    for labels, end in samples.get("window_end_timestamp_seconds", {}).items():
        named = dict(labels)
        measurement, level = named["measurement"], named["level"]
        ends = {dict(key)["party"]: value for key, value in released.items() if named.items() <= dict(key).items()}
        length = lengths[labels]
        count, median, p99 = _delays(samples, labels)
        found.append(
            LevelState(
                measurement=measurement,
                level=level,
                length_seconds=length,
                lateness_seconds=lateness.get((("measurement", measurement),), 0.0),
                awaited=measurement in awaited,
                end_ms=round(1000 * end),
                age_seconds=now - end,
                released={party: now - value for party, value in sorted(ends.items())},
                apart_windows=abs(ends["a"] - ends["b"]) / length if len(ends) == 2 else None,
                delayed=count,
                delay_median_seconds=median,
                delay_p99_seconds=p99,
                windows=_outcomes(samples, named),
            )
        )
    return sorted(found, key=lambda state: (state.measurement, state.length_seconds))


def _delays(samples: dict[str, dict[Labels, float]], labels: Labels) -> tuple[int, float | None, float | None]:
    buckets = sorted(
        (float(dict(key)["le"]), value)
        for key, value in samples.get("publish_delay_seconds_bucket", {}).items()
        if dict(labels).items() <= dict(key).items()
    )
    total = buckets[-1][1] if buckets else 0.0

    def quantile(share: float) -> float | None:
        return next((le for le, count in buckets if total and count >= share * total and le != float("inf")), None)

    return int(total), quantile(0.5), quantile(0.99)


def _outcomes(samples: dict[str, dict[Labels, float]], named: dict[str, str]) -> dict[str, int]:
    found = {}
    for key, value in samples.get("windows_total", {}).items():
        of = dict(key)
        if value and named.items() <= of.items():
            found[f"{of['status']} ({of['reason']})" if of["reason"] else of["status"]] = int(value)
    return found


def refusals(snapshot: Snapshot) -> dict[Labels, int]:
    """Releases that were refused, by measurement, party and reason; those that there were."""
    metrics = snapshot.of(Metrics)
    if metrics is None:
        return {}
    return {key: int(value) for key, value in metrics.samples().get("releases_refused_total", {}).items() if value}


def render(snapshot: Snapshot, params: Params) -> Iterator[str]:
    """The page."""
    found = states(snapshot)
    late = [state for state in found if state.stale]
    apart = [state for state in found if state.apart]
    if not any(state.awaited for state in found):
        yield page.paragraph("No window is due by the clock: no measurement of live events is active.")
    elif not late and not apart:
        yield page.paragraph("Every level is up to date, and the two parties keep pace.", "promise")
    for state in late:
        text = f"{state.measurement}, {state.level}: the last window ended {words.duration(state.age_seconds)} ago."
        advice = " If that lasts two minutes, evenstream doctor names the role and partition that holds it up."
        yield page.paragraph(text + advice, "notice")
    for state in apart:
        text = f"{state.measurement}, {state.level}: the parties are {state.apart_windows:.0f} windows apart."
        yield page.paragraph(text + " If that lasts five minutes, start the one again that is behind.", "notice")
    if not found:
        return
    yield page.heading("How fresh")
    yield rich_table(
        ("Measurement, level", "Last window", "Party a released", "Party b released", "Apart", "Published within"),
        ((_name(state), *map(escape, _fresh(state))) for state in found),
        "The last windows; publish delay counts from window end plus lateness",
    )
    yield page.heading("What windows came to")
    yield rich_table(
        ("Measurement, level", "Windows since the measurement began, as far as releases are kept"),
        ((_name(state), escape(_came_to(state))) for state in found),
        "Windows by status and reason",
    )
    refused = refusals(snapshot)
    if refused:
        yield page.heading("Releases that were refused")
        yield rich_table(
            ("Measurement", "Party", "Reason", "Count"),
            (
                tuple(map(escape, (dict(key)["measurement"] or "none could be believed", dict(key)["party"],
                                   dict(key)["reason"], f"{count:,}")))
                for key, count in refused.items()
            ),
            "Refused releases",
        )  # fmt: skip


def _name(state: LevelState) -> str:
    return link(path_of("measurements", state.measurement, query={"level": state.level}),
                f"{state.measurement}, {state.level}")  # fmt: skip


def _fresh(state: LevelState) -> tuple[str, ...]:
    def ago(party: str) -> str:
        return _when(state, state.released[party]) if party in state.released else "nothing yet"

    delay = "no live window yet"
    if state.delayed:
        median, p99 = (
            "more than 5 minutes" if value is None else f"{value:g} s"
            for value in (state.delay_median_seconds, state.delay_p99_seconds)
        )
        delay = f"{median} (half), {p99} (99 of 100)"
    apart = "" if state.apart_windows is None else f"{state.apart_windows:.0f} windows"
    return _when(state, state.age_seconds), ago("a"), ago("b"), apart, delay


def _when(state: LevelState, age_seconds: float) -> str:
    """How long ago, where the clock says anything of it; else when, by the log's own time."""
    if state.awaited:
        return f"{words.duration(age_seconds)} ago"
    return moment(state.end_ms + round(1000 * (state.age_seconds - age_seconds)))


def _came_to(state: LevelState) -> str:
    return "; ".join(f"{name} {count:,}" for name, count in state.windows.items()) or "none yet"


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    return {
        "levels": states(snapshot),
        "refused": [{**dict(key), "count": count} for key, count in refusals(snapshot).items()],
    }


PAGES = (Page("/pipeline", "How the pipeline does", render, data, nav="Pipeline", operator=True),)
