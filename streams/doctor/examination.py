"""Looks twice, and puts both looks to every check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import KafkaException, Message

from secure_agg import Trusted
from streams.control import ControlPlane
from streams.doctor import deployment, logs, partitions, roles, windows
from streams.doctor.findings import Finding
from streams.doctor.kafka_look import see, see_unread
from streams.doctor.look import Look, WorkerSeen
from streams.doctor.standing import positions_of_the_silent
from streams.doctor.workers import addresses, ask
from streams.errors import EvenstreamError
from streams.kafka import topics
from streams.kafka.clients import read_to_end, wait_for_kafka
from streams.settings import Settings
from streams.watch.access import asking_context

Check = Callable[[Look, Look], Iterator[Finding]]

CHECKS: Sequence[Check] = (roles.check, logs.check, partitions.check, windows.check, deployment.check)
"""Each takes the look before and the look now. The order is that of the report."""

BETWEEN_SECONDS = 6.0
"""Between two looks: the copies of positions in consumer groups are up to 5 s old."""

_KAFKA_SECONDS = 5.0


@dataclass(frozen=True)
class Doctor:
    """Looks at one deployment.

    Args:
        trusted: pinned public keys; None where there are none: then no measurement can be believed.
        named: addresses of workers, as ``ROLE=HOST:PORT``.
        token: a bearer token for the roles' addresses.
    """

    settings: Settings
    trusted: Trusted | None
    named: tuple[str, ...] = ()
    token: str | None = None

    def look(self) -> Look:
        """Look once. What cannot be seen is noted; nothing of it is an error."""
        at_ms = time.time_ns() // 1_000_000
        unseen: list[str] = []
        control, kafka = None, None
        differences: tuple[str, ...] = ()
        if self.trusted is None:
            unseen.append(
                "there is no trusted.json in keys.dir, so no measurement can be believed: name one with --trusted"
            )
        with ThreadPoolExecutor(max_workers=1) as beside:
            asked = None
            try:
                wait_for_kafka(self.settings, _KAFKA_SECONDS)
                differences = self._differences(unseen)
                control = self._control()
                asked = beside.submit(self._ask, control)
                if control is not None:
                    kafka = see(self.settings, control)
                    unseen += kafka.unseen
            except EvenstreamError as error:
                unseen.append(str(error))
            except KafkaException as error:
                unseen.append(f"Kafka could not be asked: {error.args[0].str()}")
            workers = self._ask(control) if asked is None else asked.result()
        short = {plan.name.removeprefix(self.settings.topic("")) for plan in topics.plan(self.settings)}
        names = {name: self.settings.topic(name) for name in short}
        look = Look(at_ms, names, workers, kafka, control, differences, tuple(unseen))
        if kafka is not None:
            see_unread(self.settings, dict(positions_of_the_silent(look)), kafka)
        return look

    def _ask(self, control: ControlPlane | None) -> tuple[WorkerSeen, ...]:
        return ask(addresses(self.settings, self.named, control), self.token, asking_context(self.settings.http))

    def _control(self) -> ControlPlane | None:
        if self.trusted is None:
            return None
        control = ControlPlane.of(self.trusted, self.settings)
        for message in self._control_records("measurements"):
            control.apply_measurement(int(message.offset() or 0), message.value())
        for message in self._control_records("keys"):
            control.apply_key(message.value())
        return control

    def _control_records(self, name: str) -> Iterator[Message]:
        """What a role would see now: a transaction that stands open there is a finding, and is not waited for."""
        return read_to_end(self.settings, self.settings.topic(name), await_transactions=False, timeout_seconds=15)

    def _differences(self, unseen: list[str]) -> tuple[str, ...]:
        try:
            return tuple(map(str, topics.compare(self.settings, topics.plan(self.settings))))
        except EvenstreamError as error:
            unseen.append(str(error))
            return ()


def examine(before: Look, now: Look) -> list[Finding]:
    """What all checks say, what is wrong first."""
    findings = [finding for check in CHECKS for finding in check(before, now)]
    order = {"wrong": 0, "unseen": 1, "ok": 2}
    return sorted(findings, key=lambda finding: order[finding.verdict])
