"""A measurement in plain words, for whoever has to judge it: who is measured, what anyone will see, what it costs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence

from estimator.rates import MAX_HALF_WIDTH, MIN_TOTAL_DEVIATIONS
from privacy import PERIOD_DAYS, Limits, Measurement, epsilon, live_revisions, peak_spending, plan_noise
from privacy.decisions import Forecast
from privacy.limits import TOLERANCE
from privacy.spec_fields import Binned, Rank
from streams.cell_layout import layout_of
from streams.control import Approved, revoked_at_ms
from streams.report.numbers import shown_epsilon
from streams.report.terminal import terminal_line

PERIODS = ("a UTC day", "any 30 days", "a year")
_METRICS = {
    "predictive_parity": "predictive parity: how often the outcome is good",
    "precision": "precision: how often the outcome is good where the decision was yes",
    "tpr": "true positive rate: how often the decision is yes where the outcome is good",
    "fpr": "false positive rate: how often the decision is yes where the outcome is not good",
    "recommendation_rate": "recommendation rate: how often the decision is yes",
    "position_exposure": "position exposure: what the place in the ranked list is worth on average",
}


def review(
    spec: Measurement, topic: str, others: Sequence[Approved], limits: Limits, verdict: str, now_ms: int
) -> list[str]:
    """The dry run: lines of text.

    Args:
        spec: what is to be judged.
        topic: where results appear, `fairness-metrics` in full.
        others: all approved revisions.
        limits: of the registry.
        verdict: what would be refused now, and why.
        now_ms: epoch milliseconds.
    """
    lines = [f"{spec.id}, revision {spec.revision}", f"  spec SHA-256 {spec.digest().hex()}"]
    lines += _section("Why", [spec.purpose])
    lines += _section("Who is measured", _who(spec))
    lines += _section("What is computed", _what(spec))
    lines += _section("What anyone will see", _seen(spec, topic))
    lines += _section("What raises an alarm", _alarms(spec))
    lines += _section("What it costs each member", _cost(spec, others, limits, now_ms))
    lines += _section("What was considered", _judged(spec))
    lines += _section("When", _when(spec))
    lines += _section("What would be refused now, and why", [verdict])
    return [terminal_line(line) for line in lines]


def _section(title: str, sentences: Iterable[str]) -> list[str]:
    return ["", title, *(f"  {sentence}" for sentence in sentences)]


def _who(spec: Measurement) -> Iterator[str]:
    source, terms = spec.source, spec.privacy
    each = f"each element of {source.explode} in each record" if source.explode else "each record"
    yield f"Of {each} of the topic {source.topic}: the member named in {source.member}."
    yield f"Their side: {_side(spec)}. Whoever has opted out never counts."
    for condition in source.filter:
        values = ", ".join(json.dumps(value) for value in condition.one_of)
        yield f"Only where {condition.field} is {'one of ' if len(condition.one_of) > 1 else ''}{values}."
    if not source.filter:
        yield "There is no filter: every such record counts."
    rule = "the first" if terms.cap_rule == "first" else "one in each of as many hours, drawn by a keyed hash"
    rows = f"{terms.contribution_cap} row{'' if terms.contribution_cap == 1 else 's'}"
    yield f"At most {rows} of a member count in a UTC day: {rule}."
    if terms.rotation is not None:
        yield (
            f"A member counts on at most {terms.days_in_30} of any 30 days and {terms.days_in_year} of any 365, drawn "
            "by a keyed hash."
        )
    if "rectifier" in spec.channels:
        yield "What members say of themselves (Self-ID) is used."
    else:
        yield "Group membership is only ever a probability; what members say of themselves (Self-ID) is not used."


def _side(spec: Measurement) -> str:
    if spec.source.explode is None:
        return "the one whom the record is about"
    within = spec.source.member.startswith(f"{spec.source.explode}[]")
    return "those in the list, who are shown or ranked" if within else "the one to whom the list is shown"


def _what(spec: Measurement) -> Iterator[str]:
    yield f"Groups {', '.join(spec.group_names)}; each is compared with {spec.reference}."
    for name, path in spec.cells.binding():
        feature = getattr(spec.cells, name)
        yield f"{name}: {path}{_bins(feature)}"
    for metric in dict.fromkeys(statistic.metric for statistic in layout_of(spec).statistics()):
        bins = ", in each score bin" if metric == "predictive_parity" and spec.cells.score is not None else ""
        yield f"{_METRICS.get(metric, metric)}{bins}."
    names = ", ".join(level.name for level in spec.levels)
    yield f"In windows of {names}; a row may be {spec.windows.lateness} late and {spec.windows.max_future} early."
    found = ["weighted", *(["corrected"] if "moments" in spec.channels else [])]
    found += ["rectified (by Self-ID)"] if "rectifier" in spec.channels else []
    yield f"Estimated in these ways: {', '.join(found)}."


def _bins(feature: Binned | Rank | object) -> str:
    if not isinstance(feature, Binned):
        return ", yes or no"
    edges = [f"{edge:g}" for edge in feature.bins]
    inner = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
    return (
        f", in {len(edges) + 1} bins: below {edges[0]}; {''.join(f'{part}; ' for part in inner)}{edges[-1]} and above"
    )


def _seen(spec: Measurement, topic: str) -> Iterator[str]:
    layout, noise = layout_of(spec), plan_noise(spec)
    first = next(layout.statistics())
    group = next(name for name in spec.group_names if name != spec.reference)
    interval = {"estimate": "...", "lower": "...", "upper": "..."}
    shape = {"metric": first.metric, "score_bin": first.score_bin, "group": group, "estimator": "weighted"}
    shape |= {"value": interval, "gap": interval, "ratio": interval, "suppressed": None}  # type: ignore[dict-item]
    values = layout.count * len(spec.group_names)
    yield f"For each window one record on {topic}, and /metrics: per statistic, group and estimator, for example"
    yield f"  {json.dumps(shape)}"
    yield f"and the noised sums themselves: {layout.count} cells x {len(spec.group_names)} groups, {values} numbers."
    for level in spec.levels:
        channels = noise.level(level.name).channels
        told = ", ".join(f"{name} {channel.published_sigma_rows:.3g}" for name, channel in channels.items())
        total = MIN_TOTAL_DEVIATIONS * channels["table"].published_sigma_rows
        cells = [math.sqrt(statistic.denominator.sum()) for statistic in layout.statistics()]
        yield (
            f"Windows of {level.name}: noise of one number, standard deviation in rows: {told}. A group's value is "
            f"shown from {_span(total * min(cells), total * max(cells))} rows of its own that it is a mean over."
        )
    yield f"Where the half-width of its interval would be above {MAX_HALF_WIDTH:g}, it is held back all the same."
    yield "Never: a member, an event, one person's group, or a total without noise."


def _span(low: float, high: float) -> str:
    low_text, high_text = f"{low:,.0f}", f"{high:,.0f}"
    return low_text if low_text == high_text else f"{low_text} to {high_text}"


def _alarms(spec: Measurement) -> Iterator[str]:
    terms = spec.alarms
    gaps = {metric: terms.tolerated(metric) for metric in spec.cells.metrics}
    if spec.detection is None:
        yield "The spec does not say; these are the defaults."
    for gap in dict.fromkeys(gaps.values()):
        metrics = ", ".join(metric for metric, tolerated in gaps.items() if tolerated == gap)
        yield f"Tolerated: a rate up to {100 * gap:g} percentage points above or below the reference's, of {metrics}."
    yield "Evidence of more than that, gathered over windows, raises an alarm; nothing changes a ranking by itself."
    every = ", ".join(f"{terms.false_alarm_windows(level.length_ms):,} of {level.name}" for level in spec.levels)
    yield (
        f"The first false alarm of a level comes after {terms.false_alarm_every} or more, on average (in windows: "
        f"{every})."
    )
    yield f"An alarm opens a review; reviewers have {terms.review_within}."


def _cost(spec: Measurement, others: Sequence[Approved], limits: Limits, now_ms: int) -> Iterator[str]:
    own, delta = Forecast.of(spec), spec.privacy.delta
    revoked = revoked_at_ms(others)
    for period, rho, promised in zip(PERIODS, _rhos(own), _epsilons(own), strict=True):
        yield f"{period}: epsilon {_shown(promised)} at delta {delta:g} (rho {rho:.4g} zCDP)."
    yield "Each on replacing the member's group probabilities and Self-ID by any others, all windows together."
    known = any(entry.spec == spec.digest() for entry in others)
    live = [e for e in others if e.spec != spec.digest() and not e.revoked and e.until_ms > now_ms]
    for entry in live:
        costs = ", ".join(
            f"{rho:.4g} {period}" for period, rho in zip(PERIODS, _rhos(Forecast.of(entry.measurement)), strict=True)
        )
        yield f"Beside it, {entry.measurement.id} revision {entry.measurement.revision}: rho {costs}."
    if not live:
        yield "No other measurement is approved and still to run."
    everything = live_revisions([*(entry.measurement for entry in others), *([] if known else [spec])], revoked)
    for words, (period, days) in zip(PERIODS, PERIOD_DAYS.items(), strict=True):
        total, cap = peak_spending(everything, days).rho, limits.of(period)
        over = "MORE THAN" if total > cap + TOLERANCE else "of"
        yield (
            f"All together at most rho {total:.4g} in {words}, {over} the registry's {cap:g}, which is epsilon "
            f"{epsilon(cap, delta):.3g} at delta {delta:g}."
        )


def _rhos(forecast: Forecast) -> tuple[float, float, float]:
    return forecast.rho_member_day, forecast.rho_30_days, forecast.rho_year


def _epsilons(forecast: Forecast) -> tuple[float | None, float | None, float | None]:
    return forecast.epsilon_member_day, forecast.epsilon_30_days, forecast.epsilon_year


def _shown(promised: float | None) -> str:
    return shown_epsilon(promised) + (" (the noise protects nobody)" if promised is None else "")


def _judged(spec: Measurement) -> Iterator[str]:
    if spec.review is None:
        yield "The spec does not say: it has no review."
        return
    yield f"Owner: {spec.review.owner}"
    yield f"Harm considered: {spec.review.harm_considered}"
    yield f"Data used: {spec.review.data_used}"
    yield f"Kept: {spec.review.retention}"


def _when(spec: Measurement) -> Iterator[str]:
    begin = "chosen when it is proposed" if spec.effective_from is None else f"{spec.effective_from:%Y-%m-%d %H:%M} UTC"
    end = "never" if spec.expires is None else f"{spec.expires:%Y-%m-%d %H:%M} UTC"
    clock = "the log's own times" if spec.source.arrival == "record_time" else "the present"
    yield f"First window: {begin}. Ends: {end}. Time is {clock}."
