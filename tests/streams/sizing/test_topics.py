"""Bytes a second of each topic are those that the roles write, and what is kept follows from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paced_pipeline import run, spec

from privacy import ContributionCap
from streams.roles.counted_chunks import CountedChunks
from streams.settings import Settings, load_settings
from streams.sizing import TopicSize, load_of
from streams.sizing.load import Layout
from streams.sizing.record_bytes import BATCH_BYTES, MARKER_BYTES, RECORD_BYTES
from streams.sizing.topics import _rewritten, topics_of
from streams.sizing.traffic import traffic_of
from streams.state import StateCodec

SECONDS, RATE, PARTITIONS, SOURCES = 32, 120.0, 2, 2


def topics(settings: Settings) -> dict[str, TopicSize]:
    """Sizes of the topics of one measurement, by name."""
    load, layout = load_of([spec()], RATE, 1.0, 500, settings), Layout(PARTITIONS, SOURCES, 1, 1)
    return {topic.name: topic for topic in topics_of(load, layout, traffic_of(load, layout))}


def test_the_roles_write_so_many_bytes(tmp_path: Path) -> None:
    """Every topic, with Kafka's framing, once 64 digests of each stream are kept."""
    found = run(
        tmp_path, spec(), RATE, PARTITIONS, SOURCES, seconds=SECONDS, warm_up_seconds=140, turn_ms=50, members=500
    )
    expected = topics(Settings())
    writers = {"sealed": ("seal", PARTITIONS), "shares": ("attach", PARTITIONS), "state-seal": ("seal", 1),
               "state-attach": ("attach", 1), "state-a": ("a", 1), "state-b": ("b", 1)}  # fmt: skip
    for name, (role, touched) in writers.items():
        framing = found.transactions[role] * touched * (BATCH_BYTES + MARKER_BYTES)
        real = (found.size[name] + RECORD_BYTES * found.records[name] + framing) / SECONDS
        # A topic in memory has a shorter id, and numbers are small after a minute.
        assert expected[name].written == pytest.approx(real, rel=0.12 if name == "state-seal" else 0.04), name
    releases = found.size["releases-a"] + found.windows * (RECORD_BYTES + BATCH_BYTES + MARKER_BYTES)
    assert expected["releases-a"].written == pytest.approx(releases / SECONDS, rel=0.05)


def test_who_has_counted_is_written_as_often_as_counted() -> None:
    """Entries of all chunks that a day of 600 transactions writes, merges and their padding among them."""
    cap, day, transactions, rows, members = ContributionCap("first", 24, b"key"), 86_400, 600, 40, 3_000
    chunks, codec = CountedChunks(bytes(32), 20_000, 0, cap), StateCodec(bytes(32), "attach")
    rng, numbers, written = np.random.default_rng(2), iter(range(100_000)), 0
    for _ in range(transactions):
        tags = rng.integers(1, members, rows).astype(np.uint64)
        chunks.add(rows, (tags, cap.marks(np.zeros(rows, np.uint8))))
        written += sum(len(value or b"") for _, value in chunks.state(codec, lambda: next(numbers), members))
    said = 9 * _rewritten(rows * transactions / day, 4_096.0, transactions / day) * day
    assert said == pytest.approx(written, rel=0.15)


def test_what_is_kept_follows_from_the_settings() -> None:
    """A day of outage keeps a day's shares, and longer segments keep more of state; members are kept anyway."""
    usual, short = topics(Settings()), topics(load_settings(None, ("topics.retention_hours=24",)))
    assert short["shares"].most == pytest.approx(86_400 * short["shares"].written)
    assert usual["shares"].most == pytest.approx(7 * short["shares"].most)
    assert usual["shares"].kept == short["shares"].kept < short["shares"].most
    longer = topics(load_settings(None, ("topics.segment_minutes=60",)))
    assert longer["state-a"].kept == pytest.approx(6 * usual["state-a"].kept)
    assert usual["member-attributes"].written == 0 < usual["member-attributes"].kept
