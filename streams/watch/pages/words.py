"""What windows say, in sentences: what is so comes before the number, and how sure it is comes with it.

Every sentence stands by itself and ends with a full stop. A gap whose interval holds 0 is never called a difference; a
value that is not shown is never guessed at. What is picked out of many comparisons is called clear only after allowing
for their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import NormalDist

from privacy.decisions import Forecast
from streams.report.numbers import moment, shown_epsilon
from streams.watch.group_words import capital, group, listed
from streams.watch.shown_record import Detection, Interval, Result, ShownRecord

__all__ = ["capital", "group", "listed"]

_METRICS = {
    "predictive_parity": "Predictive parity",
    "precision": "Precision",
    "tpr": "True positive rate",
    "fpr": "False positive rate",
    "recommendation_rate": "Recommendation rate",
    "position_exposure": "Position exposure",
}

_QUESTIONS = {
    "predictive_parity": "of the rows with such a score, how many have a good outcome",
    "precision": "of what is recommended, how much has a good outcome",
    "tpr": "of what has a good outcome, how much is recommended",
    "fpr": "of what has no good outcome, how much is recommended all the same",
    "recommendation_rate": "of all rows, how many are recommended",
    "position_exposure": "how much attention the place in the ranking draws, where the first place draws 100 %",
}

_SENTENCES = {
    # less, more, alike: {group} and {reference} are filled in.
    "predictive_parity": (
        "A good outcome follows less often for {group} than for {reference}",
        "A good outcome follows more often for {group} than for {reference}",
        "A good outcome follows about as often for {group} as for {reference}",
    ),
    "precision": (
        "Recommendations turn out well less often for {group} than for {reference}",
        "Recommendations turn out well more often for {group} than for {reference}",
        "Recommendations turn out well about as often for {group} as for {reference}",
    ),
    "tpr": (
        "{Group} with a good outcome are recommended less often than such {reference}",
        "{Group} with a good outcome are recommended more often than such {reference}",
        "{Group} with a good outcome are recommended about as often as such {reference}",
    ),
    "fpr": (
        "{Group} without a good outcome are recommended less often than such {reference}",
        "{Group} without a good outcome are recommended more often than such {reference}",
        "{Group} without a good outcome are recommended about as often as such {reference}",
    ),
    "recommendation_rate": (
        "{Group} are recommended less often than {reference}",
        "{Group} are recommended more often than {reference}",
        "{Group} are recommended about as often as {reference}",
    ),
    "position_exposure": (
        "{Group} get less prominent places than {reference}",
        "{Group} get more prominent places than {reference}",
        "{Group} get about as prominent places as {reference}",
    ),
}
_OTHER = (
    "The value of {metric} is lower for {group} than for {reference}",
    "The value of {metric} is higher for {group} than for {reference}",
    "The value of {metric} is about the same for {group} as for {reference}",
)

_UNKNOWN = {
    "too_wide": "the interval is wider than half of the whole range",
    "too_few_rows": "there are too few of them in this window for the noise that protects them",
    "not_separable": "this window cannot tell them apart from other groups",
    "too_few_self_id": "too few of them have said their group themselves",
    "no_correction": "no long window has been published yet that could correct a short one",
}

_REASONS = {
    "no_group_says_anything": "of no group can anything be said: each interval would be too wide, or a group too small",
    "coverage_differs": "the two parties have not counted the same rows",
    "releases_differ": "what the two parties have released does not belong together",
    "not_finite": "it holds something that is no number",
    "implausible_entry": "it holds a sum that cannot have come about honestly",
    "implausible_moments": "its sums of probabilities cannot have come about honestly",
    "channels_disagree": "its parts cannot be of the same rows",
    "incomplete_rollup": "a shorter window that it is made of is missing",
    "measurement_applied_late": "a worker learned of the measurement too late",
    "skipped": "an operator had to give up a part of the log that it needs",
    "budget_exceeded": "a party's privacy budget does not allow it",
    "budget_exceeded_day": "the privacy budget of the day does not allow it",
    "budget_exceeded_30_days": "the privacy budget of 30 days does not allow it",
    "budget_exceeded_year": "the privacy budget of the year does not allow it",
    "budget_exceeded_terms": "a party's ledger knows the measurement on other terms",
    "revoked": "reviewers have revoked the measurement",
}

_ESTIMATORS = {
    "weighted": "Weighted by probability alone; it understates gaps",
    "corrected": "Corrected for mixed-up groups; right where race alone matters, not place or name",
    "rectified": "Corrected by what members say of themselves; assumes least, and is the widest",
}

EASIEST = ("recommendation_rate", "all")
"""The statistic, (metric, score bin), that is easiest to put in words."""

NOT_AUTOMATIC = "An alarm changes no ranking: it asks people to look."


# -- names ------------------------------------------------------------------------------------------------------------


def members(name: str) -> str:
    """The members of a group: "black members", "native and multiracial members (as one group)"."""
    return f"{group(name)} members" + (" (as one group)" if "+" in name else "")


def metric(name: str, score_bin: str = "all") -> str:
    """A statistic: "Predictive parity in score bin 3"."""
    return _METRICS.get(name, capital(name.replace("_", " "))) + (
        "" if score_bin == "all" else f" in score bin {score_bin}"
    )


def question(name: str) -> str | None:
    """What a metric asks; without its question mark."""
    return _QUESTIONS.get(name)


def estimator(name: str) -> str:
    """What an estimator does, in a line."""
    return _ESTIMATORS.get(name, name)


def reason(code: str | None) -> str:
    """Why a window is not published, in words."""
    return "" if code is None else _REASONS.get(code, code.replace("_", " "))


def unknown(code: str | None) -> str:
    """Why a value is not shown, in words."""
    return "" if code is None else _UNKNOWN.get(code, code.replace("_", " "))


_BRIEFLY = {
    "too_wide": "too wide",
    "too_few_rows": "too few",
    "not_separable": "not separable",
    "too_few_self_id": "too few said it",
    "no_correction": "not corrected yet",
}


def briefly_unknown(code: str | None) -> str:
    """The same in a word or two, for tables of many."""
    return "" if code is None else _BRIEFLY.get(code, code.replace("_", " "))


def in_full(codes: Iterable[str | None]) -> str:
    """What those words mean that stand in a table."""
    found = sorted({code for code in codes if code is not None})
    return " ".join(f"{capital(briefly_unknown(code))}: {unknown(code)}." for code in found)


# -- numbers ----------------------------------------------------------------------------------------------------------


def percent(value: float) -> str:
    """``20.7 %``."""
    return f"{_clean(100 * value)} %"


def points(value: float) -> str:
    """``-8.2 points``: percentage points."""
    return f"{_clean(100 * value)} points"


def interval(value: Interval | None, *, gap: bool = False) -> str:
    """``20.7 % (19.9 to 21.5)``, of a gap in points; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    shown = points(value.estimate) if gap else percent(value.estimate)
    return f"{shown} ({_clean(100 * value.lower)} to {_clean(100 * value.upper)})"


def quotient(value: Interval | None) -> str:
    """``0.72 (0.68 to 0.76)``; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value.estimate:.2f} ({value.lower:.2f} to {value.upper:.2f})"


def _clean(number: float) -> str:
    text = f"{number:.1f}"
    return "0.0" if text == "-0.0" else text


def duration(seconds: float) -> str:
    """A time span in its largest fitting unit: "12 seconds", "1 minute", "3 days"."""
    seconds = max(0.0, seconds)
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or (seconds >= length and seconds % length < length / 10):
            return _count(int(seconds // length), unit)
    return _count(int(seconds), "second")


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}" + ("" if number == 1 else "s")


# -- one statistic of one group ---------------------------------------------------------------------------------------


def differs(gap: Interval) -> bool:
    """Whether the interval of a gap leaves 0 out."""
    return gap.lower > 0 or gap.upper < 0


def stands_out(gap: Interval, comparisons: int, confidence: float) -> bool:
    """Whether a gap leaves 0 out that was picked from so many: its interval is widened for them (Bonferroni).

    With a = 1 - ``confidence`` and K = ``comparisons``, half-widths grow as z(1 - a / 2K) to z(1 - a / 2); where no gap
    is true, at most a of all windows have one that stands out, whatever the gaps have to do with one another.
    """
    if not (differs(gap) and 0 < confidence < 1 <= comparisons):
        return False
    chance = (1 - confidence) / 2
    wider = NormalDist().inv_cdf(chance / comparisons) / NormalDist().inv_cdf(chance)
    half = gap.estimate - gap.lower if gap.lower > 0 else gap.upper - gap.estimate
    return abs(gap.estimate) > wider * half


def finding(result: Result, reference: Result | None, reference_name: str, confidence: float) -> str:
    """What one result says of a group, against the reference's result; one sentence.

    Args:
        reference: the reference's result of the same statistic and estimator, if there is one.
        reference_name: the reference, or the pool that it is in.
    """
    if result.value is None:
        return f"We cannot tell yet for {members(result.group)}: {unknown(result.suppressed)}."
    if reference is not None:
        reference_name = reference.group
    if result.gap is None:
        known = f"{capital(members(result.group))}: {percent(result.value.estimate)}"
        return (
            f"We cannot compare {members(result.group)} yet: the value of {members(reference_name)} is not known. "
            f"{known} ({_level(confidence)} interval {_range(result.value)})."
        )
    gap, value = result.gap, result.value
    forms = _SENTENCES.get(result.metric, _OTHER)
    words = (forms[0] if gap.upper < 0 else forms[1] if gap.lower > 0 else forms[2]).format(
        group=members(result.group),
        Group=capital(members(result.group)),
        reference=members(reference_name),
        metric=metric(result.metric).lower(),
    )
    if result.score_bin != "all":
        words = f"In score bin {result.score_bin}, {words[:1].lower() + words[1:]}"
    against = "" if reference is None or reference.value is None else f" against {percent(reference.value.estimate)}"
    text = (
        f"{words}: {percent(value.estimate)}{against}, a gap of {points(gap.estimate)} "
        f"({_level(confidence)} interval {_range(gap)})"
    )
    return text + ("." if differs(gap) else "; there may be no difference at all.")


def _range(value: Interval) -> str:
    return f"{_clean(100 * value.lower)} to {_clean(100 * value.upper)}"


def _level(confidence: float) -> str:
    return f"{100 * confidence:g} %"


# -- evidence and alarms ----------------------------------------------------------------------------------------------


def evidence(log_evidence: float | None, detection: Detection | None, name: str) -> str:
    """How near to an alarm a group's detector is."""
    if log_evidence is None or detection is None:
        return f"No evidence is gathered yet for {members(name)}."
    share = max(0.0, log_evidence) / detection.log_threshold if detection.log_threshold > 0 else 1.0
    if share >= 1:
        return f"The evidence for {members(name)} has reached what an alarm needs."
    if share < 0.05:
        return (
            f"Next to no evidence has been gathered that {members(name)} are treated otherwise than is tolerated, "
            "which does not show that they are not."
        )
    return (
        f"The evidence for {members(name)} is at {100 * share:.0f} % of what an alarm needs, on its logarithmic scale."
    )


def alarm(metric_name: str, score_bin: str, group_name: str, since_ms: int, level: str) -> str:
    """An alarm that stands, in one sentence."""
    return (
        f"Alarm since {moment(since_ms)}, in windows of {level}: for {members(group_name)} the evidence of a gap in "
        f"{_inside(metric(metric_name, score_bin))} beyond what is tolerated has passed what the terms ask."
    )


def _inside(text: str) -> str:
    """A name as it stands inside a sentence."""
    return text[:1].lower() + text[1:]


def promise(detection: Detection, length_ms: int) -> str:
    """What the level's detectors promise."""
    span = duration(detection.false_alarm_windows * length_ms / 1000)
    return (
        f"While every gap is within what is tolerated, the first false alarm of a level comes after {span} or more, on "
        f"average. {NOT_AUTOMATIC}"
    )


def tolerated(detection: Detection, metric_name: str) -> str | None:
    """Which gap is tolerated, if it is known."""
    found = detection.tolerated_gaps.get(metric_name)
    return None if found is None else f"A gap of up to {points(found)} either way is tolerated."


# -- what it costs ----------------------------------------------------------------------------------------------------


def cost(forecast: Forecast) -> str:
    """What a measurement costs a member at most; never an epsilon without relation, delta and period."""
    if forecast.epsilon_year is None:
        return "What it costs a member in privacy: no promise, since its noise is a test's and protects nobody."
    day, month, year = map(
        shown_epsilon, (forecast.epsilon_member_day, forecast.epsilon_30_days, forecast.epsilon_year)
    )
    return (
        f"What it costs a member in privacy, at most: epsilon {day} for a UTC day, {month} for any 30 and {year} for "
        f"any 365, had their group probabilities and Self-ID been replaced by any others, at delta {forecast.delta:g}."
    )


# -- a window, a level ------------------------------------------------------------------------------------------------


def window(record_status: str, reason_code: str | None) -> str:
    """What a window without numbers is; a sentence."""
    why = reason(reason_code)
    if record_status == "void":
        return f"This window is void: {why}. Nothing can be said of it, and no number of it exists."
    if record_status == "suppressed":
        return f"This window is suppressed: {why}."
    if record_status == "withdrawn":
        return f"This window is withdrawn: {why}. Its numbers, if it had any, are no longer to be used."
    return "This window is published."


STATUS = {
    "published": ("published", "\N{CHECK MARK}"),
    "void": ("void", "\N{MULTIPLICATION X}"),
    "suppressed": ("suppressed", "\N{WHITE CIRCLE}"),
    "withdrawn": ("withdrawn", "\N{EN DASH}"),
    "alarm": ("alarm", "!"),
}
"""Of each kind of window its word and its mark: colour is never alone."""


def no_windows(begins_ms: int, due_ms: int, now_ms: int, *, replayed: bool) -> str:
    """What is said of a level before its first window; of a replayed log no clock tells when one is due."""
    if replayed:
        return "No window has been published yet: they come when the log is replayed."
    if now_ms < begins_ms:
        return f"Nothing is counted yet: it begins {moment(begins_ms)}."
    if now_ms < due_ms:
        return f"No window has been published yet: the first one is due in {duration((due_ms - now_ms) / 1000)}."
    return f"No window has been published yet, although the first one was due {duration((now_ms - due_ms) / 1000)} ago."


def freshness(end_ms: int, length_ms: int, lateness_ms: int, now_ms: int, *, replayed: bool) -> str:
    """How old the last window of a level is; a replayed log has times of its own."""
    if replayed:
        return f"The last window ended {moment(end_ms)}, by the log's own time."
    ago = f"The last window ended {duration((now_ms - end_ms) / 1000)} ago"
    if now_ms - end_ms > 3 * length_ms + lateness_ms:
        return f"{ago}, which is late: one is due every {duration(length_ms / 1000)}."
    return f"{ago}."


def best_estimator(record: ShownRecord) -> str | None:
    """Which estimator to speak of: the detectors' where it can compare any groups or an alarm stands, else the one that
    assumes least of those that say anything."""
    watched = None if record.detection is None else record.detection.estimator
    if any(r.estimator == watched and (r.gap is not None or r.alarm) for r in record.results):
        return watched
    there = {result.estimator for result in record.results if result.gap is not None}
    if not there:
        return watched or next((result.estimator for result in record.results if result.value is not None), None)
    # As for detection: short windows share one correction, so it is the weighted values that stand by themselves.
    order = ("rectified", "weighted", "corrected") if record.corrected_by is None else ("weighted", "corrected")
    return next((name for name in order if name in there), None)


def clearest(record: ShownRecord) -> Result | None:
    """The gap to speak of: the largest of those under an alarm, else of those that stand out among all; or None."""
    compared = _compared(record)
    clear = [r for r in compared if r.alarm and differs(r.gap)]  # type: ignore[arg-type]
    alarmed = bool(clear)
    if not alarmed:
        clear = [r for r in compared if r.gap and stands_out(r.gap, len(compared), record.confidence)]
    if not clear:
        return None
    worst = max(clear, key=lambda r: min(abs(r.gap.lower), abs(r.gap.upper)) if r.gap else 0.0)
    # Of the same group, the rate that needs no explanation comes first.
    plain = [r for r in clear if alarmed and (r.metric, r.group) == (EASIEST[0], worst.group)]
    return plain[0] if plain else worst


def headline(record: ShownRecord) -> str:
    """What a window says, in a few sentences.

    What an alarm is about comes first. Where none stands, that is what comes first, and then whether any gap of this
    window stands out by itself.
    """
    if record.status != "published":
        return window(record.status, record.reason)
    chosen = best_estimator(record)  # once, and not for each result
    results = [r for r in record.results if r.estimator == chosen]
    compared, worst = _compared(record), clearest(record)
    alarmed = any(result.alarm for result in results)
    said = []
    if record.detection is not None and not alarmed:
        said.append(f"No alarm stands in windows of {record.level}.")
    if worst is not None:
        said.append(finding(worst, reference_of(results, worst, record.reference), record.reference, record.confidence))
        if worst.alarm:
            said.append("An alarm stands for it.")
        else:
            said.append(f"That is clear for one window, also after allowing for {_count(len(compared), 'comparison')}.")
    elif not compared:
        said.append(f"We cannot tell yet: no group can be compared with {members(record.reference)}.")
    else:
        said.append(_none_clear(record, compared))
    if alarmed and (worst is None or not worst.alarm):
        said.append("What was gathered up to this window says more: an alarm stands.")
    silent = [name for name in dict.fromkeys(r.group for r in results) if _silent(results, name)]
    if worst is None and compared and silent:
        said.append(f"Of {listed([group(name) for name in silent])} members it can tell nothing.")
    return " ".join(said)


def _compared(record: ShownRecord) -> list[Result]:
    """What is compared: the gaps that there are, by the estimator to speak of."""
    chosen = best_estimator(record)
    return [r for r in record.results if r.estimator == chosen and r.gap is not None]


def _none_clear(record: ShownRecord, compared: Iterable[Result]) -> str:
    gaps = [r.gap for r in compared if r.gap is not None]
    apart = sum(map(differs, gaps))
    text = f"In this window no group is clearly treated otherwise than {members(record.reference)}"
    if not apart:
        return f"{text}."
    some = f"of {_count(len(gaps), 'comparison')}, {apart} {'leaves' if apart == 1 else 'leave'} 0 out"
    return f"{text}: {some}, which chance alone may do."


def by_chance(confidence: float) -> str:
    """How little one interval of many may mean."""
    chance = 100 * (1 - confidence)
    return f"Each interval is of one comparison in one window: of 100, about {chance:.3g} leave 0 out by chance alone."


def _silent(results: Iterable[Result], name: str) -> bool:
    return all(result.value is None for result in results if result.group == name)


def reference_of(results: Iterable[Result], result: Result, reference: str) -> Result | None:
    """The reference's result of the same statistic and estimator: its own, or that of the pool that it is in."""
    return next(
        (
            r
            for r in results
            if (r.metric, r.score_bin, r.estimator) == (result.metric, result.score_bin, result.estimator)
            and reference in r.group.split("+")
        ),
        None,
    )
