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
    assert "at most one false alarm in 1 day" in sure
    assert "epsilon 2.72 at delta 1e-09" in cost
    assert "replaced by any others" in cost


def test_a_fair_minute_raises_no_alarm() -> None:
    """Whatever chance shows in one window."""
    first = next(window for window in hour() if window.level == "1m")
    assert "No alarm stands." in "".join(in_words(first, length_ms=60_000))
