"""Strangers' text on a terminal: nothing in it may move the cursor, colour, ask the terminal, or pass for our words."""

from __future__ import annotations

import unicodedata

_SCRIPTS_NEED = frozenset("\u200c\u200d\u200e\u200f\u061c")


def terminal_text(text: str, margin: str = "") -> str:
    """Text that can be printed: control and direction characters as escapes, each line behind a margin.

    Args:
        margin: begins every line, so that no line of the text can look like one of the command's own.
    """
    return "\n".join(margin + "".join(map(_shown, line)) for line in text.split("\n"))


def _shown(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _SCRIPTS_NEED:
        return character.encode("unicode_escape").decode()
    return character
