"""Strangers' text on a terminal: nothing in it may move the cursor, colour, ask the terminal, or pass for our words."""

from __future__ import annotations

from streams.plain_text import NOT_TEXT


def terminal_text(text: str, margin: str = "") -> str:
    """Text that can be printed: control and direction characters as escapes, each line behind a margin.

    Args:
        margin: begins every line, so that no line of the text can look like one of the command's own.
    """
    shown = NOT_TEXT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return "\n".join(margin + line for line in shown.split("\n"))


def terminal_line(text: str) -> str:
    """Text that is printed within a line of ours, which it cannot end."""
    return terminal_text(text).replace("\n", " ")
