"""Puts one role to every check, and shows what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from confluent_kafka import KafkaException

from secure_agg import KeyFileError
from streams.doctor.findings import Finding, exit_status
from streams.doctor.readiness import access, certificates, clock, keys, listen, memory, reach, specs, topics
from streams.doctor.readiness.subject import Subject
from streams.errors import EvenstreamError

Check = Callable[[Subject], Iterator[Finding]]

LOCAL: Sequence[tuple[str, Check]] = (
    (keys.CHECK, keys.check),
    (certificates.CHECK, certificates.check),
    (listen.CHECK, listen.check),
)
"""What needs no Kafka."""

ON_KAFKA: Sequence[tuple[str, Check]] = (
    (access.CHECK, access.check),
    (topics.CHECK, topics.check),
    (specs.CHECK, specs.check),
    (memory.CHECK, memory.check),
    (clock.CHECK, clock.check),
)
"""What is looked at once a broker has taken these credentials."""


def examine(subject: Subject) -> list[Finding]:
    """What all checks say, in their order: it is that in which things are put right."""
    findings = [*asked(reach.BROKERS, reach.check, subject)]
    if subject.reached:
        for name, check in ON_KAFKA:
            findings += asked(name, check, subject)
    else:
        names = ", ".join(name for name, _ in ON_KAFKA)
        findings.append(Finding(reach.BROKERS, "unseen", f"without Kafka these cannot be looked at: {names}"))
    for name, check in LOCAL:
        findings += asked(name, check, subject)
    return findings


def asked(name: str, check: Check, subject: Subject) -> Iterator[Finding]:
    """What a check says; what keeps it from looking is no error."""
    try:
        yield from check(subject)
    except (EvenstreamError, KeyFileError) as error:
        yield Finding(name, "unseen", str(error))
    except KafkaException as error:
        yield Finding(name, "unseen", f"Kafka could not be asked: {error.args[0].str()}")
    except TimeoutError:
        yield Finding(name, "unseen", "Kafka did not answer in time (kafka.request_timeout_seconds)")


def as_json(subject: Subject, findings: list[Finding]) -> str:
    """Everything, for machines; times are epoch milliseconds."""
    return json.dumps(
        {
            "at_ms": subject.now_ms,
            "as": subject.role,
            "status": exit_status(findings),
            "findings": [asdict(finding) for finding in findings],
        },
        indent=2,
    )
