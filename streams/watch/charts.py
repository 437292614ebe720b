"""Charts, drawn by one other process on demand, and kept for as long as nothing new has come.

matplotlib takes some hundred milliseconds a picture and a hundred megabytes: both are kept out of `publish`, whose
event loop must turn. The process is started when the first picture is asked for, ends when it has had nothing to draw
for some minutes, is started anew where it died or hung, and ends with this one, whatever that ends with: its only input
is a pipe that this process holds. It reads no file of ours, knows no key and speaks to nobody. A picture has so many
seconds, and what it is asked for is written within them too: a process that has stopped reading holds up nobody.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from streams.watch.chart_request import HEAD, Drawing, Wanted
from streams.watch.window_history import ShownWindow, digest

log = logging.getLogger(__name__)

_DRAW_SECONDS = 30.0
_MOST_KEPT = 128
_MOST_WAITING = 100
"""Readers that wait for a picture; the others of the server's 200 connections stay free, for /metrics among them."""

_MOST_BYTES = 8 << 20
_STARTS_A_MINUTE = 6


class ChartUnavailable(Exception):
    """There is no picture now; the tables say the same."""


def can_draw() -> bool:
    """Whether matplotlib is installed (the extra ``plots``)."""
    return importlib.util.find_spec("matplotlib") is not None


class Charts:
    """The pictures of a page.

    Args:
        inside: where the folder is made for what matplotlib finds out about fonts, which nobody else can have made
            before; else it is where temporary files are. :meth:`close` removes it.
        niceness: of the process: where processors are short, a picture waits for what publishes.
    """

    def __init__(self, inside: Path | None = None, niceness: int = 10) -> None:
        self._niceness = niceness
        self._inside = inside
        self._folder: Path | None = None
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: list[float] = []
        self._over = False

    def svg(self, wanted: Wanted, windows: Sequence[ShownWindow]) -> bytes:
        """A picture of the windows of one level, or :class:`ChartUnavailable`. Waits until it is drawn.

        One that is kept is had at once, also while another is drawn: many open pages ask for the same one.
        """
        newest = windows[-1]
        key = (wanted, newest.measurement, newest.level, digest(windows))
        found = self._find(key)
        if found is not None:
            return found
        if not self._waiting.acquire(blocking=False):
            raise ChartUnavailable("many pictures are being drawn; try again in a few seconds")
        try:
            with self._drawing:
                found = self._find(key)  # whoever came first has had it drawn
                if found is None:
                    found = self._drawn(Drawing(wanted, tuple(w.packed for w in windows)))
                    with self._lock:
                        self._kept[key] = found
                        if len(self._kept) > _MOST_KEPT:
                            self._kept.popitem(last=False)
                return found
        finally:
            self._waiting.release()

    def _find(self, key: tuple[object, ...]) -> bytes | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def close(self) -> None:
        """End the process; draws nothing any more."""
        self._over = True
        process = self._process
        if process is not None:
            process.kill()  # it may be drawing, and has nothing to lose
            process.wait(timeout=5)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def process_id(self) -> int | None:
        """Of the process that draws, while there is one."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def _drawn(self, drawing: Drawing) -> bytes:
        body = msgspec.msgpack.encode(drawing)
        sent = len(body).to_bytes(HEAD, "big") + body
        for _ in range(2):  # one that has gone since it was asked last is started anew
            process = self._running()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                deadline = time.monotonic() + _DRAW_SECONDS
                _write(process.stdin, sent, deadline)
                answer = _frame(process.stdout, deadline)
            except (OSError, EOFError, TimeoutError) as error:
                log.warning("the process that draws charts is gone (%s)", type(error).__name__)
                self._end(process)
                continue
            if not answer.startswith(b"<svg"):
                raise ChartUnavailable("this picture could not be drawn; the tables say the same")
            return answer
        raise ChartUnavailable("the process that draws pictures does not stay up; the tables say the same")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._over:
            raise ChartUnavailable("this service is ending")
        if self._process is not None and self._process.poll() is None:
            return self._process
        if self._process is not None:
            self._end(self._process)
        now = time.monotonic()
        self._starts = [at for at in self._starts if now - at < 60]
        if len(self._starts) >= _STARTS_A_MINUTE:
            raise ChartUnavailable("the process that draws pictures does not stay up; the tables say the same")
        self._starts.append(now)
        if self._folder is None or not self._folder.is_dir():
            self._folder = Path(tempfile.mkdtemp(prefix="evenstream-charts-", dir=self._inside))
        # Nothing of this process's environment but what Python needs: it may hold secrets, and drawing needs none.
        passed = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL", "SYSTEMROOT")
        environment = {name: os.environ[name] for name in passed if name in os.environ}
        environment |= {"MPLCONFIGDIR": str(self._folder), "MPLBACKEND": "svg", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "streams.watch.chart_process", str(self._niceness)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what was not written is of no use any more
                continue
        process.wait(timeout=5)
        self._process = None


def _write(pipe: IO[bytes], sent: bytes, deadline: float) -> None:
    """All of it, until a deadline (TimeoutError): a pipe takes 64 KB at once, and a picture's windows may be more."""
    left = memoryview(sent)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_WRITE)
        while left:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            left = left[os.write(pipe.fileno(), left[:65_536]) :]


def _frame(pipe: IO[bytes], deadline: float) -> bytes:
    """One frame, until a deadline (TimeoutError), or EOFError."""
    found = b""
    wanted = HEAD
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(found) < wanted:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            part = os.read(pipe.fileno(), min(65_536, wanted - len(found)))
            if not part:
                raise EOFError
            found += part
            if wanted == HEAD == len(found):
                wanted += int.from_bytes(found, "big")
                if wanted > _MOST_BYTES:
                    raise EOFError
    return found[HEAD:]
