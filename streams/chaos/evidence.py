"""What the topics hold when all is over, read as anyone could read it: committed records and aborted ones apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import Message

from secure_agg import Trusted
from streams.chaos.oracle import SourceRecord
from streams.control import limits_of
from streams.kafka.clients import read_to_end
from streams.ledger_check import check
from streams.public_topics import PublicTopics
from streams.records.metric import FairnessMetric
from streams.records.refused import Refused, decode_refused
from streams.settings import Settings


@dataclass
class PartyEvidence:
    """What a party has written.

    Attributes:
        committed: values on its releases topic that a read_committed reader sees, in order. all: those of aborted
            transactions as well.
        ledger: values on its ledger, committed.
        problems: what `evenstream ledger verify` would say.
    """

    committed: list[bytes] = field(default_factory=list)
    all: list[bytes] = field(default_factory=list)
    ledger: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Evidence:
    """What all have written: two parties, `publish` (in order) and `seal` (what it refused)."""

    parties: dict[str, PartyEvidence]
    metrics: list[FairnessMetric] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def collect(settings: Settings, trusted: Trusted) -> Evidence:
    """Read everything, once no role writes any more.

    Raises:
        EvenstreamError: a topic cannot be read.
    """
    topics = PublicTopics(settings, trusted)
    approved = tuple(topics.control().approved())
    parties = {}
    for party in ("a", "b"):
        ledger, releases = topics.ledger(party), list(topics.releases(party))
        findings = check(
            party,
            ledger=ledger,
            releases=releases,
            approved=approved,
            trusted=trusted.identities,
            limits=limits_of(settings),
        )
        parties[party] = PartyEvidence(
            committed=[value for _, value in topics.records(f"releases-{party}")],
            all=[value for _, value in releases],
            ledger=[value for _, value in ledger],
            problems=[str(problem) for problem in findings.problems],
        )
    return Evidence(
        parties,
        [FairnessMetric.decode(value) for _, value in topics.records("fairness-metrics")],
        [decode_refused(value) for _, value in topics.records("refused")],
    )


def source_records(settings: Settings, topic: str) -> Iterator[SourceRecord]:
    """Everything that the source topic holds, with the broker's own timestamps."""
    for message in read_to_end(settings, topic):
        yield _source_record(message)


def _source_record(message: Message) -> SourceRecord:
    return SourceRecord(
        int(message.partition() or 0), int(message.offset() or 0), int(message.timestamp()[1]), message.value() or b""
    )
