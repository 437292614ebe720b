"""The demo's sentences: who, by how much, how sure, at what cost; and no finding where there is none."""

from __future__ import annotations

from shown_windows import hour

from streams.demo.in_words import in_words


def test_an_unfair_minute_is_told() -> None:
    """The group that is treated worse, the gap with its interval, the alarm, and an epsilon with its relation."""
    (*_, last) = (window for window in hour() if window.level == "1m")
    who, sure, cost = in_words(last, length_ms=60_000)
    assert who.startswith("Who, and by how much: Black members")
    assert "(95 % interval -" in who
    assert "An alarm stands, for" in sure
    assert "recommendation rate of black" in sure
    assert "the first false alarm of a level comes after 1 day or more" in sure
    assert "epsilon 6.04 at delta 1e-09" in cost
    assert "replaced by any others" in cost


def test_a_fair_minute_raises_no_alarm() -> None:
    """Whatever chance shows in one window."""
    first = next(window for window in hour() if window.level == "1m")
    assert "No alarm stands." in "".join(in_words(first, length_ms=60_000))


def test_what_is_corrected_is_what_the_headline_is_about() -> None:
    """Of an unfair minute, also where another statistic of the same group has the larger gap."""
    (*_, last) = (window for window in hour() if window.level == "1m")
    about = next(r for r in last.results if (r.metric, r.group, r.alarm) == ("recommendation_rate", "black", True))
    assert about.gap is not None
    larger = about.gap.model_copy(update={"estimate": -0.9, "lower": -0.95, "upper": -0.85})
    other = about.model_copy(update={"metric": "tpr", "gap": larger})
    corrected = [each.model_copy(update={"estimator": "corrected"}) for each in (about, other)]
    results = (*(r for r in last.results if r.estimator != "corrected"), other, *corrected)
    who, *more = in_words(last.model_copy(update={"results": results}), length_ms=60_000)
    (again,) = (text for text in more if text.startswith("Not understated"))
    told = again.removeprefix("Not understated: corrected for mixed-up groups, the gap is ").split(" ")[0]
    assert told in who
    assert "90" not in again
