"""Many open pages, as browsers with ``live.js`` keep them, without browsers: ``python -m bench.live_page.readers``.

Each holds a stream of events, and fetches its page and the page's pictures up to two seconds after it heard of
something new, over a connection that it keeps. They live in a process of their own, as people's browsers do.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from html import unescape

import numpy as np

_LEAST_SECONDS = 1.0
_SPREAD_SECONDS = 2.0
_BACK_SECONDS = 5.0
_PICTURE = re.compile(r'<img src="(/charts/[^"]+)"')


@dataclass
class Seen:
    """What the readers came by.

    Attributes:
        statuses: answers by status, 0 for a connection that was closed. seconds: each page took.
        told: events heard. streams: how often a stream was opened.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    pictures: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    told: int = 0
    streams: int = 0

    def summary(self) -> dict[str, object]:
        """For the process that asked."""
        took = np.array(self.seconds or [0.0])
        return {
            "pages": dict(self.statuses),
            "pictures": dict(self.pictures),
            "p50_seconds": float(np.quantile(took, 0.5)),
            "p99_seconds": float(np.quantile(took, 0.99)),
            "events": self.told,
            "streams": self.streams,
        }


class Reader:
    """One open page."""

    def __init__(self, port: int, path: str, seen: Seen, rng: random.Random) -> None:
        self._port, self._path, self._seen, self._rng = port, path, seen, rng
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._have: set[str] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.sleep(self._rng.random() * _SPREAD_SECONDS)
        await self._load()
        await asyncio.gather(self._listen(), self._follow())

    async def _listen(self) -> None:
        version = None
        while True:
            try:
                self._seen.streams += 1
                async with _connection(self._port) as (reader, writer):
                    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
                    while line := await reader.readline():
                        if line.startswith(b"id: ") and line != version:
                            version = line
                            self._seen.told += 1
                            self._news.set()
            except OSError:
                pass
            await asyncio.sleep(_BACK_SECONDS)

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(_LEAST_SECONDS + self._rng.random() * _SPREAD_SECONDS)
            self._news.clear()
            await self._load()

    async def _load(self) -> None:
        begun = time.monotonic()
        status, body = await self._get(self._path)
        self._seen.statuses[status] += 1
        if status != 200:
            return
        self._seen.seconds.append(time.monotonic() - begun)
        for address in map(unescape, _PICTURE.findall(body.decode())):
            if address not in self._have:
                status, _ = await self._get(address)
                self._seen.pictures[status] += 1
                if status == 200:
                    self._have.add(address)

    async def _get(self, target: str) -> tuple[int, bytes]:
        """Over the connection that is kept; once more over a new one where the server has closed it."""
        for _ in range(2):
            fresh = self._kept is None
            try:
                if self._kept is None:
                    self._kept = await asyncio.open_connection("127.0.0.1", self._port)
                return await self._ask(*self._kept, target)
            except (OSError, EOFError):
                self._let_go()
                if fresh:
                    break
        return 0, b""

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> tuple[int, bytes]:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?i)content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        if re.search(r"(?i)connection: close", head):
            self._let_go()
        return int(head.split(" ", 2)[1]), body

    def _let_go(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None


@asynccontextmanager
async def _connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def read(port: int, paths: Sequence[str], count: int, stop: asyncio.Event) -> Seen:
    """Keep ``count`` pages open, turn by turn of ``paths``, until ``stop``."""
    seen, rng = Seen(), random.Random(7)  # when to fetch, no secret
    tasks = [
        asyncio.create_task(Reader(port, paths[k % len(paths)], seen, random.Random(rng.random())).run())
        for k in range(count)
    ]
    await stop.wait()
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    return seen


async def _main(port: int, count: int, paths: Sequence[str]) -> None:
    stop = asyncio.Event()
    reading = asyncio.create_task(read(port, paths, count, stop))
    with suppress(EOFError):
        await asyncio.to_thread(sys.stdin.buffer.read)  # until whoever started it closes the pipe
    stop.set()
    print(json.dumps((await reading).summary()))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
