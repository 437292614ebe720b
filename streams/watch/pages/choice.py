"""What of a measurement its page is about: the level, the statistic, the estimator and the group that were chosen.

Where nothing was chosen, it is what an alarm is about, else what is easiest to put in words. Groups come and go with
pools, so one that is not there is no mistake; a level, metric or estimator that is not there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streams.alarm_name import AlarmName
from streams.watch.pages import words
from streams.watch.pages.alarms import all_spans, standing
from streams.watch.pages.base import path_of
from streams.watch.pages.levels import LevelView, first_choice, levels_of
from streams.watch.pages.registry import PageNotFound, Params
from streams.watch.pages.site import Shown, Snapshot
from streams.watch.shown_record import Result, ShownRecord


@dataclass(frozen=True)
class Choice:
    """What the page is about: the measurement, and what was chosen of it.

    Attributes:
        record: of the newest window that says something, if there is one.
        statistic: (metric, score bin). group: the one whose windows are listed.
    """

    name: str
    entries: list[Shown]
    levels: list[LevelView]
    alarms: list[AlarmName]
    level: LevelView
    record: ShownRecord | None
    statistics: tuple[tuple[str, str], ...]
    statistic: tuple[str, str]
    estimators: tuple[str, ...]
    estimator: str
    groups: tuple[str, ...]
    group: str

    def address(self, **other: str) -> str:
        """This page, with something else chosen."""
        metric, score_bin = self.statistic
        chosen = {
            "level": self.level.name,
            "metric": metric,
            "bin": score_bin,
            "estimator": self.estimator,
            "group": self.group,
        }
        return path_of("measurements", self.name, query=chosen | other)

    def results(self, estimator: str | None = None) -> list[Result]:
        """Of the chosen statistic, by one estimator, in the groups' order."""
        if self.record is None:
            return []
        return [
            r
            for r in self.record.results
            if (r.metric, r.score_bin) == self.statistic and r.estimator == (estimator or self.estimator)
        ]


def choice(snapshot: Snapshot, params: Params) -> Choice:
    """What is asked for, or PageNotFound."""
    name = params["measurement"]
    entries = snapshot.measurements().get(name)
    if entries is None:
        raise PageNotFound(f"There is no measurement {name!r} here. The overview lists those that there are.")
    levels = levels_of(snapshot, entries)
    alarms = [alarm for alarm in standing(all_spans(snapshot)) if alarm.measurement == name]
    level = first_choice(levels, frozenset(alarm.level for alarm in alarms))
    if "level" in params:
        level = _one_of((found for found in levels if found.name == params["level"]), "level", params["level"])
    record = None if level.newest_said is None else level.newest_said.record()
    results = () if record is None else record.results
    here = [alarm for alarm in alarms if alarm.level == level.name]
    statistics = tuple(dict.fromkeys((r.metric, r.score_bin) for r in results))
    statistic = _statistic(statistics, here, params)
    of_it = [r for r in results if (r.metric, r.score_bin) == statistic]
    estimators = tuple(dict.fromkeys(r.estimator for r in of_it))
    best = None if record is None else words.best_estimator(record)
    estimator = params.get("estimator", best if best in estimators else "".join(estimators[:1]))
    if estimators and estimator not in estimators:
        raise PageNotFound(f"There is no estimator {estimator!r} here.")
    compared = [r for r in of_it if r.estimator == estimator and record is not None]
    groups = tuple(r.group for r in compared if record and record.reference not in r.group.split("+"))
    return Choice(
        name=name,
        entries=entries,
        levels=levels,
        alarms=alarms,
        level=level,
        record=record,
        statistics=statistics,
        statistic=statistic,
        estimators=estimators,
        estimator=estimator,
        groups=groups,
        group=_group(groups, here, statistic, compared, params),
    )


def canonical(snapshot: Snapshot, params: Params) -> Params:
    """Without what was asked for and is not there: pools, and with them groups and bins, come and go."""
    found = choice(snapshot, params)
    metric, score_bin = found.statistic if found.statistic in found.statistics else ("", "")
    there = {
        "metric": (metric,),
        "bin": (score_bin,),
        "estimator": found.estimators,
        "group": found.groups,
    }
    return {name: value for name, value in params.items() if name not in there or value in there[name]}


def _one_of(found: Iterable[LevelView], what: str, name: str) -> LevelView:
    chosen = next(iter(found), None)
    if chosen is None:
        raise PageNotFound(f"There is no {what} {name!r} here.")
    return chosen


def _statistic(statistics: Sequence[tuple[str, str]], alarms: Sequence[AlarmName], params: Params) -> tuple[str, str]:
    if "metric" in params and statistics:
        bins = [score_bin for metric, score_bin in statistics if metric == params["metric"]]
        chosen = params.get("bin", "")
        if chosen not in bins:  # none was chosen, or another metric: its bins are others
            chosen = "all" if "all" in bins else "".join(bins[:1])
        if (params["metric"], chosen) not in statistics:
            raise PageNotFound(f"There is no metric {params['metric']!r} here.")
        return params["metric"], chosen
    alarmed = [one for one in statistics if one in {(alarm.metric, alarm.score_bin) for alarm in alarms}]
    for found in (alarmed, statistics):
        if words.EASIEST in found:
            return words.EASIEST
        if found:
            return found[0]
    return params.get("metric", ""), params.get("bin", "all")


def _group(
    groups: Sequence[str],
    alarms: Sequence[AlarmName],
    statistic: tuple[str, str],
    results: Sequence[Result],
    params: Params,
) -> str:
    if params.get("group") in groups:  # pools come and go: a group that is not there is no mistake
        return params["group"]
    alarmed = [a.group for a in alarms if (a.metric, a.score_bin) == statistic and a.group in groups]
    clear = [r for r in results if r.group in groups and r.gap is not None]
    widest = sorted(clear, key=lambda r: -abs(r.gap.estimate) if r.gap else 0.0)
    return (alarmed or [r.group for r in widest] or list(groups) or [params.get("group", "")])[0]
