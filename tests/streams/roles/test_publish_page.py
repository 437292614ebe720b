"""What `publish` shows after a start: the same windows as before it, and none that its releases do not bear out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from estimated import published, run
from prometheus_client import CollectorRegistry
from signed_windows import headers_of

from streams.pulse import Pulse
from streams.records.metric import FairnessMetric
from streams.roles import publish_app
from streams.roles.publish_app import Publisher
from streams.settings import Settings, load_settings
from streams.watch.access import OperatorAccess
from streams.watch.health import RoleHealth
from streams.watch.live_page import LivePage
from streams.watch.pages import Shown
from streams.watch.routes import Request, Routes
from streams.watch.window_history import ShownWindows

pytestmark = pytest.mark.slow

_AS_THE_PIPELINE = [f"privacy.rho_{period}_limit=10" for period in ("member_day", "30_days", "year")]


def publisher(monkeypatch: pytest.MonkeyPatch, topic: list[FairnessMetric], *overrides: str) -> Publisher:
    """`publish` at its start, with what it would read of Kafka: these records, and all releases."""
    registry = CollectorRegistry()
    process: Any = SimpleNamespace(
        settings=load_settings(None, [*_AS_THE_PIPELINE, *overrides], environment={}),
        control=run().controls["publish"],
        registry=registry,
        health=RoleHealth("publish", registry),
        pulse=Pulse(60.0),
        access=OperatorAccess(),
        reader=SimpleNamespace(catch_up=lambda: None),
    )
    process.control.version += 1

    def record(key: bytes | None, value: bytes, headers: Any) -> Any:
        now = (1, 1 << 50)
        return SimpleNamespace(key=lambda: key, value=lambda: value, headers=lambda: headers, timestamp=lambda: now)

    def read_to_end(settings: Settings, name: str, **_: Any) -> Iterator[Any]:
        if name == settings.topic("fairness-metrics"):
            return iter([record(w.topic_key(), w.encode(), headers_of(w)) for w in topic])
        return iter([record(None, value, None) for value in run().log.values(name.removeprefix("evenstream."))])

    monkeypatch.setattr(publish_app, "read_to_end", read_to_end)
    return Publisher(process)


def page_of(found: Publisher) -> LivePage:
    """Its page, once it knows what is approved."""
    assert found.page.live is not None
    approved = found.process.control.approved()
    found.page.live.show([Shown(entry, found.core.statement(entry)) for entry in approved])
    return found.page.live


def windows(live: LivePage) -> dict[tuple[str, str, int], bytes]:
    """What is shown."""
    snapshot = live.site.snapshot()
    assert snapshot is not None
    found = snapshot.of(ShownWindows) or ShownWindows()
    return {(w.measurement, w.level, w.end_ms): w.value() for kept in found.levels.values() for w in kept}


def ask(live: LivePage, path: str) -> tuple[int, bytes]:
    path, _, query = path.partition("?")
    found = Routes(live.routes).find(path)
    assert found is not None
    answer = found.route(Request(query, Message(), b"", path, found.parameters))
    return answer.status, answer.body


def test_a_restart_shows_the_windows_that_were_shown_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """From releases alone, from the topic and releases, and with as few windows a level as the setting says."""
    everything = {(w.measurement, w.level, w.window.end_ms): w.encode() for w in published()}
    for topic in ([], published()):
        found = publisher(monkeypatch, topic)
        assert windows(page_of(found)) == {}
        found.replay()
        assert windows(page_of(found)) == everything
    found = publisher(monkeypatch, published(), "publish.page_windows=3")
    found.replay()
    shown = windows(page_of(found))
    last = sorted(everything, key=lambda key: key[2])
    assert shown == {key: everything[key] for level in {key[:2] for key in last}
                     for key in [key for key in last if key[:2] == level][-3:]}  # fmt: skip


def test_a_record_that_its_releases_do_not_bear_out_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's signatures, or a window that nobody released: what is shown is what the releases say."""
    first = min((w for w in published() if w.level == "10s"), key=lambda w: w.window.end_ms)
    assert first.checks is not None
    checks = first.checks.model_copy(update={"release_signature_a": "ab" * 64})
    forged = first.model_copy(update={"checks": checks, "revision": 7})
    early = first.window.model_copy(
        update={"start_ms": first.window.start_ms - 10_000, "end_ms": first.window.end_ms - 10_000}
    )
    invented = first.model_copy(update={"window": early})
    found = publisher(monkeypatch, [invented, *(forged if w is first else w for w in published())])
    found.replay()
    shown = windows(page_of(found))
    assert shown[first.measurement, first.level, first.window.end_ms] == first.encode()
    assert (first.measurement, first.level, early.end_ms) not in shown


def test_without_the_page_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched off, publish shows nothing and holds nothing for it."""
    found = publisher(monkeypatch, published(), "publish.page=false")
    found.replay()
    assert found.page.live is None
    assert not hasattr(found.page, "_history")
    found.page.close()


def test_pages_of_the_whole_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools, three estimators and corrections by earlier windows: every window's page works all of it out again."""
    found = publisher(monkeypatch, [])
    found.replay()
    live = page_of(found)
    estimators = "/measurements/feed?level=1m&metric=recommendation_rate&estimator="
    for name in ("weighted", "corrected", "rectified"):
        status, body = ask(live, estimators + name)
        assert status == 200
        assert f"Recommendation rate, {name}".encode() in body
    pooled = {r.group for w in published() for r in w.results if "+" in r.group}
    assert pooled
    assert b"(as one group)" in ask(live, estimators + "corrected")[1]
    for measurement, level, end_ms in windows(live):
        status, body = ask(live, f"/measurements/{measurement}/{level}/{end_ms}.json")
        assert status == 200
        again = msgspec.json.decode(body)["recomputed"]
        assert again["equal"], (measurement, level, end_ms, again["discrepancies"][:3])
        assert again["compared"] > 0
    status, body = ask(live, "/")
    assert status == 200
    for name in ("feed", "candidates", "plain"):
        assert re.search(rf'<a href="/measurements/{name}">{name}</a>'.encode(), body)
    assert ask(live, "/pipeline")[0] == ask(live, "/pipeline.json")[0] == 200
