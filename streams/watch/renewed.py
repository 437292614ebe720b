"""What is made of files that somebody else renews: a certificate, its key, a token.

A mounted Secret is renewed by a link that is pointed at another folder, at once for all of its files; cert-manager does
so some weeks before a certificate ends, and nobody starts a role again for it. So whoever uses such a thing asks for it
anew each time (:meth:`Renewed.now`), and every ten seconds that looks whether the files are still the same ones.

A new file that is of no use changes nothing: what there was serves on, and one line of the log says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from streams.errors import EvenstreamError

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0

_Made = TypeVar("_Made")
_Identity = tuple[tuple[str, int, int, int] | None, ...]


class Renewed(Generic[_Made]):
    """Made at once, and again when its files have changed. Thread-safe.

    Args:
        files: from which it is made.
        make: makes it, or raises EvenstreamError, whose text is logged.
        clock: seconds, of which two readings can be compared.

    Raises:
        EvenstreamError: it cannot be made now.
    """

    def __init__(
        self, files: tuple[Path, ...], make: Callable[[], _Made], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files, self._make, self._clock = files, make, clock
        # Looked at before it is made: files that change between the two are made again at the next look.
        self._seen = self._complained = _identity(files)
        self._made = make()
        self._next_look = clock() + LOOK_SECONDS
        self._lock = threading.Lock()

    def now(self) -> _Made:
        """What the files are good for now, as of ten seconds ago at most."""
        # Whoever comes while another looks takes what there is: nobody waits for a disk.
        if self._clock() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._made

    def _look(self) -> None:
        self._next_look = self._clock() + LOOK_SECONDS
        found = _identity(self._files)
        if found == self._seen:
            return
        # A pair that does not fit is tried again at each look: it may have been read while the link was pointed
        # elsewhere, one half here and one there.
        try:
            self._made = self._make()
        except EvenstreamError as error:
            if found != self._complained:
                self._complained = found
                log.error("what was renewed on disk is not usable, and what there was before serves on: %s", error)
            return
        self._seen = self._complained = found
        log.info("renewed from disk: %s", ", ".join(str(path) for path in self._files))


def _identity(files: tuple[Path, ...]) -> _Identity:
    """Of each file where it really lies, which one it is, and when and to what length it was written."""
    found: list[tuple[str, int, int, int] | None] = []
    for path in files:
        try:
            there = path.resolve(strict=True)
            stat = there.stat()
        except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
            found.append(None)
        else:
            found.append((str(there), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)
