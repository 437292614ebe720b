"""How long a control topic has hidden something: pure, with a clock of the test's own."""

from __future__ import annotations

import logging

import pytest

from streams.kafka.held_back import HELD_BACK_SECONDS, HeldBack


class Watched:
    """One topic, and what was told of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[tuple[str, float]] = []
        self.held_back = HeldBack(lambda topic, seconds: self.told.append((topic, seconds)), lambda: self.now)

    def look(self, at: float, read_to: int, end: int) -> bool:
        """Look, and say whether something counts as hidden."""
        self.now = at
        self.held_back.look("t", read_to, end)
        return self.held_back.hidden("t")


def test_what_is_read_is_not_held_back() -> None:
    """Moments behind the end are told and no more: a transaction of a command lasts for some of them."""
    watched = Watched()
    assert not watched.look(0, 0, -1001)  # the broker has not answered yet
    assert not watched.look(1, 5, 5)
    assert not watched.look(2, 5, 7)
    assert not watched.look(3, 6, 7)  # still something behind: it is counted from the beginning
    assert not watched.look(4, 7, 7)
    assert not watched.look(5, 7, 8)
    assert watched.told == [("t", 0.0), ("t", 0.0), ("t", 1.0), ("t", 0.0), ("t", 0.0)]


def test_after_half_a_minute_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """And once more when it is over; the next one is another."""
    watched = Watched()
    with caplog.at_level(logging.WARNING):
        watched.look(0, 5, 5)
        assert not watched.look(1, 5, 7)
        assert not watched.look(1 + HELD_BACK_SECONDS, 5, 7)
        assert caplog.records == []
        for more in (0.5, 1.0, 1.5):
            assert watched.look(1 + HELD_BACK_SECONDS + more, 5, 9)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "t is held back at offset 5 of 9 for 30 s" in caplog.text
        assert not watched.look(60, 9, 9)
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert not watched.look(61, 9, 10)


def test_what_was_never_read_whole_counts_as_hidden_at_once() -> None:
    """A role that starts anew, again and again, is given no half minute each time."""
    watched = Watched()
    assert watched.look(0, 5, 7)
    assert watched.look(1, 5, 7)
    assert not watched.look(2, 7, 7)
    assert not watched.look(3, 7, 8)
