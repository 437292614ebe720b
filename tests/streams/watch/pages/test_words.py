"""Sentences: each case has its own, none claims more than the numbers, and all are sentences."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from shown_windows import Level, shown

from estimator import disparity
from privacy.decisions import Forecast
from streams.report import alarms
from streams.review_book import Alarm
from streams.watch.collector import _KNOWN_OUTCOMES
from streams.watch.pages import words
from streams.watch.shown_record import Detection, Interval, Result, ShownRecord, read

WHITE = Result("recommendation_rate", "all", "white", "weighted", value=Interval(0.289, 0.28, 0.298))
BLACK = Result(
    "recommendation_rate", "all", "black", "weighted",
    value=Interval(0.2071, 0.199, 0.215), gap=Interval(-0.0819, -0.0951, -0.068), ratio=Interval(0.72, 0.68, 0.76),
)  # fmt: skip
DETECTION = Detection("weighted", 8640, 20, 12.0, {"recommendation_rate": 0.02})


def result(**changes: object) -> Result:
    """Black members' result, changed where the test needs it."""
    fields = {name: getattr(BLACK, name) for name in BLACK.__struct_fields__}
    return Result(**(fields | changes))  # type: ignore[arg-type]


def say(found: Result, reference: Result | None = WHITE) -> str:
    return words.finding(found, reference, "white", 0.95)


def is_sentence(text: str) -> bool:
    """Begins large, ends with one full stop, says no None, holds no code and no doubled space or word."""
    return (
        re.fullmatch(r"[A-Z].*[^.]\.", text) is not None
        and not re.search(r"None|_|  |\.\.|\{|\bnan\b", text)
        and re.search(r"\b(\w+) \1\b", text) is None
    )


def test_a_clear_gap_is_said_first_and_in_full() -> None:
    """What is so, both values, the gap and how sure it is."""
    assert say(BLACK) == (
        "Black members are recommended less often than white members: 20.7 % against 28.9 %, a gap of -8.2 points "
        "(95 % interval -9.5 to -6.8)."
    )
    more = say(result(gap=Interval(0.05, 0.01, 0.09)))
    assert more.startswith("Black members are recommended more often than white members: ")


def test_a_gap_whose_interval_holds_nothing_is_no_difference() -> None:
    """An interval around 0, or one that only touches it, claims nothing."""
    for gap in (Interval(-0.01, -0.029, 0.009), Interval(-0.01, -0.02, 0.0), Interval(0.01, 0.0, 0.02)):
        text = say(result(gap=gap))
        assert "about as often as white members" in text
        assert text.endswith("; there may be no difference at all.")


@pytest.mark.parametrize("reason", [disparity.TOO_WIDE, disparity.TOO_FEW_ROWS, disparity.NOT_SEPARABLE,
                                    disparity.TOO_FEW_SELF_ID, disparity.NO_CORRECTION, "something_new"])  # fmt: skip
def test_what_is_not_shown_is_said_not_to_be_known(reason: str) -> None:
    """Each reason in words, and no number."""
    text = say(result(group="native", value=None, gap=None, ratio=None, suppressed=reason))
    assert text.startswith("We cannot tell yet for native members: ")
    assert is_sentence(text)
    assert not re.search(r"\d", text)
    assert (reason in ("something_new",)) == (reason.replace("_", " ") in text)


def test_without_the_references_value_there_is_no_comparison() -> None:
    """The group's own value stands alone."""
    text = say(result(gap=None, ratio=None), None)
    assert text.startswith("We cannot compare black members yet: the value of white members is not known. ")
    assert "20.7 %" in text


def test_pools_are_told_as_pools() -> None:
    """Of the groups, and of the reference."""
    pooled = Result("tpr", "all", "white+native+multiple", "corrected", value=Interval(0.5, 0.4, 0.6))
    text = say(result(metric="tpr", group="api+hispanic", estimator="corrected"), pooled)
    assert text.startswith(
        "Asian or Pacific Islander and hispanic members (as one group) with a good outcome are recommended less often "
        "than such white, native and multiracial members (as one group): "
    )
    assert is_sentence(text)


@pytest.mark.parametrize("metric", [*words._METRICS, "a_new_metric"])
@pytest.mark.parametrize("group", ["black", "api", "native+multiple", "people_of_two"])
@pytest.mark.parametrize("gap", [Interval(-0.08, -0.1, -0.06), Interval(0.0, -0.1, 0.1), Interval(0.08, 0.06, 0.1)])
@pytest.mark.parametrize("score_bin", ["all", "3"])
def test_every_metric_has_its_sentences(metric: str, group: str, gap: Interval, score_bin: str) -> None:
    """Grammar, for each metric, direction, kind of group and bin."""
    text = say(result(metric=metric, group=group, gap=gap, score_bin=score_bin))
    assert is_sentence(text), text
    assert ("score bin 3" in text) == (score_bin == "3")
    assert len(words.metric(metric, score_bin)) > 3


def test_every_reason_of_a_window_has_words() -> None:
    """No code of a known outcome comes through; one that is not known is still words."""
    for status, reason in _KNOWN_OUTCOMES:
        text = words.window(status, reason or None)
        assert is_sentence(text.split(". ")[0].rstrip(".") + "."), text
        assert reason == "" or reason in words._REASONS
        assert status in text
    assert "something new" in words.window("void", "something_new")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 seconds"), (0.4, "0 seconds"), (1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (90, "90 seconds"),
     (120, "2 minutes"), (3600, "1 hour"), (5400, "90 minutes"), (86_400, "1 day"), (3 * 86_400, "3 days"),
     (86_400 * 4000, "4,000 days")],
)  # fmt: skip
def test_spans_are_in_their_largest_fitting_unit(seconds: float, text: str) -> None:
    """One has no s."""
    assert words.duration(seconds) == text


def test_numbers_for_people() -> None:
    """One digit after the point, no minus zero, a dash where there is none."""
    assert words.percent(0.2071) == "20.7 %"
    assert words.points(-0.0819) == "-8.2 points"
    assert words.points(-0.0001) == "0.0 points"
    assert words.interval(Interval(0.2, 0.1, 0.3)) == "20.0 % (10.0 to 30.0)"
    assert words.interval(None) == words.quotient(None) == "\N{EN DASH}"
    assert words.quotient(Interval(0.716, 0.68, 0.76)) == "0.72 (0.68 to 0.76)"
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"


def test_evidence_is_told_against_what_an_alarm_needs() -> None:
    """None, next to none, some, enough."""
    said = [words.evidence(value, DETECTION, "black") for value in (None, -3.0, 6.0, 12.0)]
    assert said == [
        "No evidence is gathered yet for black members.",
        "Next to no evidence has been gathered that black members are treated otherwise than is tolerated, which does "
        "not show that they are not.",
        "The evidence for black members is at 50 % of what an alarm needs, on its logarithmic scale.",
        "The evidence for black members has reached what an alarm needs.",
    ]
    assert words.tolerated(DETECTION, "recommendation_rate") == "A gap of up to 2.0 points either way is tolerated."
    assert words.tolerated(DETECTION, "tpr") is None
    assert "the first false alarm of a level comes after 1 day or more" in words.promise(DETECTION, 10_000)
    assert words.NOT_AUTOMATIC in words.promise(DETECTION, 10_000)


def test_an_alarm_is_evidence_that_has_passed_what_was_asked() -> None:
    """It may be false, so no sentence has it that the gap is so."""
    assert words.alarm("tpr", "all", "black", 1_764_072_000_000, "10s") == (
        "Alarm since 2025-11-25T12:00:00Z, in windows of 10s: for black members the evidence of a gap in true "
        "positive rate beyond what is tolerated has passed what the terms ask."
    )
    alarm = Alarm("feed", "10s", "tpr", "all", "black", 1_764_072_000_000, reference="white")
    for text in (alarms.in_words(alarm), words.alarm("tpr", "2", "native+multiple", 1_764_072_000_000, "10s")):
        assert "the evidence of a gap" in text
        assert " is beyond" not in text


def test_a_level_before_its_first_window_and_a_late_one() -> None:
    """Not begun, not due, overdue; fresh, late, and a replayed log."""
    said = [
        words.no_windows(begins, 60_000, now, replayed=False)
        for begins, now in ((5000, 1000), (0, 30_000), (0, 180_000))
    ]
    assert said[0] == "Nothing is counted yet: it begins 1970-01-01T00:00:05Z."
    assert said[1].endswith("the first one is due in 30 seconds.")
    assert said[2].endswith("although the first one was due 2 minutes ago.")
    assert "due" not in words.no_windows(0, 60_000, 10**12, replayed=True)
    assert words.freshness(0, 10_000, 1000, 5000, replayed=False) == "The last window ended 5 seconds ago."
    assert words.freshness(0, 10_000, 1000, 31_000, replayed=False).endswith("ago.")
    assert "which is late: one is due every 10 seconds" in words.freshness(0, 10_000, 1000, 31_001, replayed=False)
    assert "late" not in words.freshness(0, 10_000, 1000, 10**9, replayed=True)


# -- headlines of real records ----------------------------------------------------------------------------------------


def record(made: object) -> ShownRecord:
    found = read(made.encode())  # type: ignore[attr-defined]
    assert found is not None
    return found


def test_a_headline_is_the_clearest_gap_else_that_there_is_none() -> None:
    """Of real windows: unfair, fair, with too few of a group, void and suppressed."""
    level = Level(shown().approved.measurement)
    fair, unfair = record(level.published(0)), record(level.published(1, 0.12))
    assert "lack members" in words.headline(unfair)
    assert "less often" in words.headline(unfair)
    assert words.headline(fair).startswith("No alarm stands in windows of 10s. ")
    assert words.headline(record(level.void(2))).startswith("This window is void: the two parties have not counted")
    assert words.headline(record(level.suppressed(3))).startswith("This window is suppressed: of no group")
    assert "revoked" in words.headline(record(level.withdrawn(4)))


def test_of_fair_windows_hardly_any_is_said_to_treat_a_group_otherwise() -> None:
    """Each compares 21 gaps or more, each with a 95 % interval: one in seven would be, did chance not count."""
    spec = shown().approved.measurement
    fair = [record(Level(spec).published(number)) for number in range(100)]
    picked = [one for one in fair if "also after allowing for" in words.headline(one)]
    assert len(picked) <= 5
    assert all("No alarm stands" in words.headline(one) for one in fair)
    some = [one for one in fair if "which chance alone may do" in words.headline(one)]
    assert len(some) > len(picked)
    assert not any(" often than" in words.headline(one) for one in some)


def test_a_gap_stands_out_by_an_interval_for_all_comparisons() -> None:
    """z is 1.96 for one of 95 %, and 3.04 for one of 21 (Bonferroni); each side has its own half-width."""
    for half, comparisons, clear in ((1.96, 1, True), (1.96, 21, False), (3.03, 21, False), (3.05, 21, True)):
        z = 1.959964 * 0.01
        estimate = half * 0.01 + 1e-9
        for gap in (Interval(estimate, estimate - z, 9.0), Interval(-estimate, -9.0, -estimate + z)):
            assert words.stands_out(gap, comparisons, 0.95) == clear, (half, comparisons)
    assert not words.stands_out(Interval(0.5, 0.4, 0.6), 21, 1.0)


def test_a_headline_leads_with_what_alarms_say() -> None:
    """Without one it says so first; a window whose own gaps are small does not hide one that stands."""
    window = record(Level(shown().approved.measurement).void(0)).window
    wide, near = result(gap=Interval(-0.1, -0.195, -0.005)), result(metric="tpr", gap=Interval(0.0, -0.01, 0.01))

    def said(*results: Result) -> str:
        return words.headline(
            ShownRecord("m", 1, "", "10s", window, "published", "white", 0.95, results=(WHITE, *results),
                        detection=DETECTION)
        )  # fmt: skip

    assert said(wide, near) == (
        "No alarm stands in windows of 10s. In this window no group is clearly treated otherwise than white members: "
        "of 2 comparisons, 1 leaves 0 out, which chance alone may do."
    )
    clear = said(result(gap=Interval(-0.1, -0.14, -0.06)), near)
    assert clear.startswith("No alarm stands in windows of 10s. Black members are recommended less often")
    assert clear.endswith("That is clear for one window, also after allowing for 2 comparisons.")
    alarmed = said(result(gap=wide.gap, alarm=True), near)
    assert alarmed.startswith("Black members are recommended less often")
    assert alarmed.endswith("An alarm stands for it.")
    standing = said(result(metric="tpr", gap=near.gap, alarm=True))
    assert standing.endswith("What was gathered up to this window says more: an alarm stands.")
    assert "No alarm" not in standing


def test_a_cost_has_relation_delta_and_periods() -> None:
    """And of test noise none is said."""
    forecast = Forecast.of(shown().approved.measurement)
    text = words.cost(forecast)
    assert is_sentence(text)
    for part in ("a UTC day", "any 30", "any 365", "replaced by any others", "at delta 1e-09"):
        assert part in text
    assert "protects nobody" in words.cost(replace(forecast, epsilon_year=None))


def test_a_headline_without_comparisons() -> None:
    """No group has a gap; or none is clear, and some group has no value at all."""
    none = result(value=None, gap=None, ratio=None, suppressed="too_wide")
    alone = ShownRecord("m", 1, "", "10s", record(Level(shown().approved.measurement).void(0)).window, "published",
                        "white", 0.95, results=(WHITE, none))  # fmt: skip
    assert words.headline(alone) == "We cannot tell yet: no group can be compared with white members."
    near = result(gap=Interval(0.0, -0.01, 0.01))
    hidden = result(group="native", value=None, gap=None, suppressed="too_few_rows")
    some = ShownRecord("m", 1, "", "10s", alone.window, "published", "white", 0.95, results=(WHITE, near, hidden))
    assert words.headline(some) == (
        "In this window no group is clearly treated otherwise than white members. Of native members it can tell "
        "nothing."
    )


def test_nothing_ranks_by_itself() -> None:
    """It is said wherever alarms are."""
    assert "changes no ranking" in words.NOT_AUTOMATIC
