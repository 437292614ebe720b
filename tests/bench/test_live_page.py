"""The load bench's readers and the page itself: all of them come to see what is new, and it is rendered once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from shown_windows import history, hour, shown

from bench.live_page import readers
from bench.live_page.readers import Seen
from streams.watch.http import HealthServer
from streams.watch.live_page import LivePage
from streams.watch.pages import base
from streams.watch.routes import Answer
from streams.watch.token_bucket import TokenBucket

READERS = 60
PATHS = ("/", "/measurements/feed", "/alerts")


@pytest.fixture
def page() -> Iterator[tuple[LivePage, int]]:
    """A page that knows an hour of windows, and its port."""
    made = LivePage(lambda concern: None, TokenBucket(1, 1), lambda: 1_764_075_600_000)
    made.show([shown()])
    made.site.tell(history(hour()[:-1]).shown())
    server = HealthServer(
        "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None, routes=made.routes
    )
    yield made, server.port
    server.close()
    made.close()


def test_everyone_sees_a_new_window_and_it_is_rendered_once(
    page: tuple[LivePage, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty open pages of three kinds: three renderings at first, three for the window, and nobody is turned away."""
    live, port = page
    rendered: Counter[tuple[str, str]] = Counter()
    answer = base.answer

    def counted(*args: Any, here: str = "", version: str = "", **named: Any) -> Answer:
        rendered[here, version] += 1
        return answer(*args, here=here, version=version, **named)

    monkeypatch.setattr(base, "answer", counted)
    monkeypatch.setattr(readers, "_LEAST_SECONDS", 0.05)
    monkeypatch.setattr(readers, "_SPREAD_SECONDS", 0.2)

    async def all_of_it() -> Seen:
        stop = asyncio.Event()
        reading = asyncio.create_task(readers.read(port, PATHS, READERS, stop))
        while live.events.count < READERS:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)  # each has heard of the version that it has
        before = len(rendered)
        live.site.tell(history(hour()).shown(), "window", "feed/10s")
        await asyncio.sleep(1.5)
        assert len(rendered) - before == len(PATHS)
        stop.set()
        return await reading

    seen = asyncio.run(all_of_it())
    assert set(rendered.values()) == {1}
    assert set(seen.statuses) == {200}
    assert seen.statuses[200] >= 2 * READERS
    assert seen.told == 2 * READERS
    assert threading.active_count() < 3 * READERS
