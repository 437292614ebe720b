"""Strangers' text on a terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from streams.plain_text import NOT_TEXT
from streams.report.terminal import terminal_line, terminal_text


def test_nothing_drives_the_terminal() -> None:
    """Clearing, colouring, titles, answers that a terminal types back, and turned text come out as escapes."""
    hostile = "a\x1b[2J\x1b]0;owned\x07\x9b6n\rb\u202ec\x08\u2028d"
    assert terminal_text(hostile) == r"a\x1b[2J\x1b]0;owned\x07\x9b6n\rb\u202ec\x08\u2028d"


def test_no_line_passes_for_ours() -> None:
    """Every line has the margin, so text cannot forge a command's own line."""
    assert terminal_text("hello\n  closed:\n  > fine", "  | ") == "  | hello\n  |   closed:\n  |   > fine"


def test_text_within_a_line_stays_within_it() -> None:
    """A line feed in it begins no line of its own."""
    assert terminal_line("ok\n   7  approves \x1b[2J") == r"ok    7  approves \x1b[2J"


def test_words_stay() -> None:
    """Any script, composed emoji and ordinary punctuation are shown as they were written."""
    text = "Größe, \u0645\u06cc\u200c\u062e, \N{WOMAN}\u200d\N{MICROSCOPE}?"
    assert terminal_text(text) == text


@given(st.text())
def test_no_control_character_is_ever_left(text: str) -> None:
    """Of all text, nothing but line feeds of that category remains."""
    left = {c for c in terminal_text(text) if unicodedata.category(c) in ("Cc", "Cs")}
    assert left <= {"\n"}


def test_what_is_no_text_covers_what_unicode_calls_control() -> None:
    """Every control character, surrogate, separator and mark that embeds, overrides or isolates a direction."""
    for code in range(0x110000):
        character = chr(code)
        turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        if character != "\n" and (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or turns):
            assert NOT_TEXT.fullmatch(character), hex(code)
