"""A row of windows, the newest last: what each came to by colour, by mark, and in words for who sees neither."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from streams.report.numbers import moment
from streams.watch.pages import words
from streams.watch.pages.base import path_of
from streams.watch.window_history import ShownWindow


def kind(window: ShownWindow) -> str:
    """What a window is marked as: its status; of one that was published, an alarm that stands after it."""
    return "alarm" if window.alarms and window.status == "published" else window.status


def strip(windows: Iterable[ShownWindow], label: str) -> str:
    """The windows, each a link to its page."""
    return f'<ol class="strip" aria-label="{escape(label)}">{"".join(map(_mark, windows))}</ol>'


def _mark(window: ShownWindow) -> str:
    word, mark = words.STATUS[kind(window)]
    text = f"{word}: window to {moment(window.end_ms)}" + (f", {words.reason(window.reason)}" if window.reason else "")
    address = path_of("measurements", window.measurement, window.level, window.end_ms)
    return (
        f'<li><a class="mark-{kind(window)}" href="{escape(address)}" title="{escape(text)}" '
        f'aria-label="{escape(text)}">{mark}</a></li>'
    )


def legend() -> str:
    """What the marks mean."""
    meanings = {
        "published": "published",
        "alarm": "published, and an alarm stands",
        "suppressed": "suppressed: too little to say anything",
        "void": "void: no number exists",
        "withdrawn": "withdrawn by reviewers",
    }
    return (
        '<p class="quiet">'
        + "; ".join(
            f'<span class="key mark-{name}" aria-hidden="true">{words.STATUS[name][1]}</span> {escape(text)}'
            for name, text in meanings.items()
        )
        + ". The newest window comes last.</p>"
    )
