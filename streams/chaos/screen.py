"""What a person sees while a chaos run is under way: one live line, or a plain line now and then without a terminal."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.status import Status

from streams.chaos.report import show
from streams.chaos.run import ChaosRun, Options, Progress, Result

_LINE_SECONDS = 10.0
_LOG_FILE_WIDTH = 130


class _Interrupted(Exception):
    """Ctrl-C, or a request to end."""


class _Screen:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("", console=console) if console.is_terminal else None
        self._shown_at = 0.0

    def __enter__(self) -> _Screen:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._status is not None:
            self._status.stop()

    def turn(self, progress: Progress) -> None:
        wait = _LINE_SECONDS if self._status is None else 0.25
        if time.monotonic() - self._shown_at < wait:
            return
        self._shown_at = time.monotonic()
        if self._status is None:
            self._console.print(f"{time.strftime('%H:%M:%S')} {progress.line()}", highlight=False)
        else:
            self._status.update(progress.line())


def run(root: Path, options: Options) -> int:
    """Run, and show the table.

    Returns:
        0: every row counted once. 1: something falls short. 130: it was interrupted before it could tell.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_FILE_WIDTH)  # a log file has no width of its own
    folder = root / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"chaos: seed {options.seed}, about {options.minutes:g} minutes of faults", highlight=False)
    screen = _Screen(console)
    chaos = ChaosRun(
        folder.absolute(), options, lambda line: console.print(line, highlight=False, soft_wrap=True), screen.turn
    )

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interrupted

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    result: Result | None = None
    try:
        with screen:
            result = chaos.run()
    except _Interrupted:
        console.print(f"\nstopping what was started; the seed was {options.seed}", highlight=False)
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave anything running
        chaos.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if result is None:
        return 130
    show(console, result)
    return 1 if result.shortfalls else 0
