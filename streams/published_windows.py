"""Reading `fairness-metrics` without believing more than publish has signed, and saying what was passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from secure_agg import PinnedIdentities
from streams.errors import NotPublished
from streams.records.published import UNSIGNED, PublishedRecord


class _Message(Protocol):
    """What is needed of Kafka's."""

    def key(self) -> object: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> object: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...


class PublishedWindows:
    """Takes messages in as they are read, and counts those that are none of publish's.

    Args:
        trusted: the pinned identities.
    """

    def __init__(self, trusted: PinnedIdentities) -> None:
        self._trusted = trusted
        self._first = ""
        self.passed_over: dict[str, int] = {}
        """By reason (``streams.records.published``), how many."""

    def records(self, messages: Iterable[_Message]) -> Iterator[PublishedRecord]:
        """Those that publish has signed, in their order."""
        for message in messages:
            try:
                record = PublishedRecord.verified(self._trusted, message.key(), message.headers(), message.value())
            except NotPublished as error:
                self._first = self._first or f"partition {message.partition()} offset {message.offset()}"
                self.passed_over[error.reason] = self.passed_over.get(error.reason, 0) + 1
            else:
                yield record

    def told(self, topic: str) -> str | None:
        """What was passed over and what to do about it, naming places and never contents; None where nothing was."""
        if not self.passed_over:
            return None
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.passed_over.items()))
        return (
            f"{topic} holds records that publish has not signed ({counts}; the first: {self._first}), and they are "
            f"taken for not there. After an upgrade from a version that did not sign, {UNSIGNED!r} ones are to be "
            "expected. Else somebody has written there in publish's name: see who may write (`evenstream acl apply "
            "--check`), and change the password that publish has at Kafka"
        )
