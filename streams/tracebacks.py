"""What a process says when it fails: where, and with which kinds of error, but not with which values.

An unexpected error's message is whatever a library put into it, often the value that it stumbled over: a name, an id,
a payload. So a role prints the places and the types of a traceback, and of its messages only those that cannot hold
a value: the operating system's own words, and the name of Kafka's error. Errors that evenstream raises itself are shown
by the command line, whole: their messages never carry a value (``streams.errors``).
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

HIDDEN = "(message not shown: it may hold values)"
_DEEPEST = 8


def told(error: BaseException, deepest: int = _DEEPEST) -> str:
    """A traceback without values: the causes first, as Python has them."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = ""
    if cause is not None and deepest > 0:
        before = told(cause, deepest - 1) + "which led to:\n"
    # Frames as file, line, function and the line of source; never their variables.
    frames = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error)
    return (
        f"{before}Traceback (most recent call last):\n{frames}{kind.__module__}.{kind.__qualname__}: {_word(error)}\n"
    )


def _word(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, UnicodeError):
        return f"error {error.errno} of the operating system"
    if type(error).__module__ == "cimpl" and error.args and hasattr(error.args[0], "name"):  # a KafkaException
        return str(error.args[0].name())
    return HIDDEN


def hide_values() -> None:
    """From now on this process tells of unexpected errors without values, whichever thread they end."""

    def of_main(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return  # a person knows what he typed
        sys.stderr.write(told(error))

    def of_thread(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_value is not None and not isinstance(failure.exc_value, SystemExit):
            sys.stderr.write(told(failure.exc_value))

    def of_nobody(failure: sys.UnraisableHookArgs) -> None:
        if failure.exc_value is not None:
            sys.stderr.write(told(failure.exc_value))

    sys.excepthook = of_main
    threading.excepthook = of_thread
    sys.unraisablehook = of_nobody


class ValuesHidden(logging.Formatter):
    """A formatter whose tracebacks hold no values."""

    def formatException(self, ei: Any) -> str:
        return told(ei[1]).rstrip() if ei and ei[1] is not None else ""
