"""How many concerns are open, at /metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry, generate_latest

from privacy import key_id
from privacy.decisions import Answer, Close, Contents, DecisionLog
from streams.records.concern import Concern, encode_concern
from streams.watch.open_concerns import OpenConcerns

GOLDEN = Path(__file__).parent / "golden" / "concern_metrics.txt"
DEPLOYMENT = "test"


class Watched:
    """The count, with the two topics that it follows."""

    def __init__(self) -> None:
        self.reviewer = Ed25519PrivateKey.generate()
        public = self.reviewer.public_key()
        self.log = DecisionLog(DEPLOYMENT, {key_id(public): public}, 1)
        self.registry = CollectorRegistry()
        self.count = OpenConcerns(self.registry, DecisionLog(DEPLOYMENT, {key_id(public): public}, 1))
        self.count.know(["feed"])

    def concern(self, number: int, measurement: str = "feed") -> None:
        """One record of `concerns`."""
        found = Concern(1, f"{number:032x}", measurement, "2025-11-25", "x", "page")
        self.count.apply_concern(found.id.encode(), encode_concern(found))

    def decide(self, contents: Contents, key: Ed25519PrivateKey | None = None) -> None:
        """One record of `decisions`, by the reviewer or another key."""
        record = self.log.sign(contents, key or self.reviewer, 1)
        self.count.apply_decision(len(self.log.chain), record)
        self.log.apply(len(self.log.chain), record)

    def value(self) -> float | None:
        """What /metrics shows."""
        self.count.show()
        return self.registry.get_sample_value("evenstream_concerns_open")


def test_golden_names_and_labels() -> None:
    """One gauge without a label, as the golden file says."""
    watched = Watched()
    watched.count.show()
    lines = [
        f"{family.type} {sample.name} {{{','.join(sample.labels)}}}\n"
        for family in watched.registry.collect()
        for sample in family.samples
    ]
    assert "".join(lines) == GOLDEN.read_text()


def test_nothing_before_both_topics_were_read() -> None:
    """No number, not 0, until somebody says that it is one."""
    watched = Watched()
    watched.concern(1)
    assert generate_latest(watched.registry) == b""
    assert watched.value() == 1


def test_only_a_reviewers_closing_counts() -> None:
    """Answers leave a concern open, strangers' closings and rubbish close nothing, a reviewer's closing does."""
    watched = Watched()
    for number in (1, 2):
        watched.concern(number)
    watched.concern(3, "unknown")
    assert watched.value() == 2
    watched.decide(Answer(f"{1:032x}", "we look"))
    watched.decide(Close(f"{1:032x}", "never"), Ed25519PrivateKey.generate())
    watched.count.apply_decision(5, b"\xff")
    watched.count.apply_decision(6, None)
    assert watched.value() == 2
    watched.decide(Close(f"{1:032x}", "done"))
    assert watched.value() == 1
    watched.concern(1)
    assert watched.value() == 1


def test_what_is_left_out_is_said_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of 1,000 bad records, shown after each, makes some ten lines, and none of them has a word of it."""
    watched = Watched()
    for _ in range(1000):
        watched.count.apply_concern(b"k", b"secret words")
        watched.count.show()
    assert 5 <= len(caplog.records) <= 12
    assert "512 records of concerns are not counted: malformed 512" in caplog.text
    assert "secret" not in caplog.text
