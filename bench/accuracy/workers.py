"""Work in chunks on a few processes, in an order that does not change the result."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
_work: Callable[..., object] | None = None


def _run(arguments: tuple[object, ...]) -> object:
    assert _work is not None
    return _work(*arguments)


def in_order(work: Callable[..., T], chunks: Sequence[tuple[object, ...]], processes: int, label: str) -> Iterator[T]:
    """``work(*chunk)`` for each chunk, on forked processes, in the order of the chunks; progress goes to stderr.

    What ``work`` refers to is shared by the fork: large arrays are neither sent nor copied.
    """
    global _work
    _work = work
    progress = _Progress(label, len(chunks))
    if processes == 1:
        for chunk in chunks:
            yield work(*chunk)
            progress.step()
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for result in pool.imap(_run, chunks):
            yield result  # type: ignore[misc]
            progress.step()


class _Progress:
    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done, self._begun = label, total, 0, time.monotonic()

    def step(self) -> None:
        """One chunk more."""
        self._done += 1
        seconds = time.monotonic() - self._begun
        left = seconds / self._done * (self._total - self._done)
        last = self._done == self._total
        text = f"{self._label}: {self._done} of {self._total}, {seconds:.0f} s, about {left:.0f} s left"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text}   " + "\n" * last)
        elif last or self._done % max(self._total // 10, 1) == 0:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()
