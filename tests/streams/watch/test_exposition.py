"""What /metrics answers is prometheus-client's text to the byte, and what has not changed is not written again."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, exposition
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streams.watch.exposition import Exposition

FORMATS = (
    "",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    "application/openmetrics-text;version=1.0.0",
    "application/openmetrics-text;version=1.0.0;escaping=underscores,text/plain;q=0.5",
)


@pytest.mark.parametrize("accept", FORMATS)
def test_it_is_the_librarys_text(accept: str) -> None:
    """In each format; also after some of it has changed, a family has come, a label has come and a family has gone."""
    registry = CollectorRegistry()
    counter = Counter("rows", "Rows\nwith a break", ("topic",), registry=registry)
    gauge = Gauge("age", "Age", registry=registry)
    histogram = Histogram("took_seconds", "Took", buckets=(0.1, 1.0), registry=registry)
    shown = Exposition(registry)

    def agrees() -> None:
        encode, content_type = choose_encoder(accept)
        assert shown.answer(accept) == (content_type, encode(registry))

    agrees()
    counter.labels('a"b').inc()
    histogram.observe(0.5)
    agrees()
    gauge.set(float("nan"))
    agrees()
    late = Gauge("late", "Late", registry=registry)
    agrees()
    registry.unregister(late)
    registry.unregister(gauge)
    agrees()


def test_what_stands_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the family whose number became another."""
    written: list[str] = []
    encode = exposition.generate_latest

    def note(registry: Collector) -> bytes:
        written.extend(family.name for family in registry.collect())
        return encode(registry)

    registry = CollectorRegistry()
    stands, moves = Gauge("stands", "Stands", registry=registry), Gauge("moves", "Moves", registry=registry)
    stands.set(1)
    shown = Exposition(registry)
    monkeypatch.setattr("streams.watch.exposition.choose_encoder", lambda accept: (note, "text/plain"))
    shown.answer("")
    assert written == ["stands", "moves"]
    moves.set(2)
    assert b"moves 2.0" in shown.answer("")[1]
    assert written == ["stands", "moves", "moves"]


def test_a_client_that_names_any_version_costs_no_memory() -> None:
    """Texts of a few formats are kept, and of no more."""
    shown = Exposition(CollectorRegistry())
    for k in range(50):
        shown.answer(f"application/openmetrics-text;version=1.0.{k}")
    assert shown.formats <= 4


def test_metrics_are_compared_by_all_they_say() -> None:
    """What makes two families the same: prometheus-client's equality takes in help, labels and values."""
    first, second = (Metric("m", "Help", "gauge") for _ in range(2))
    first.add_sample("m", {"a": "1"}, 1.0)
    second.add_sample("m", {"a": "2"}, 1.0)
    assert first != second
    second.samples = list(first.samples)
    assert first == second
