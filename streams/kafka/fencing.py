"""Fences transactional ids: whoever still holds one can commit nothing more, and what it left open is aborted.

And what is said to a process that finds itself fenced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import Fenced
from streams.kafka.clients import make_producer
from streams.settings import Settings

FENCED = frozenset(
    (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)  # noqa: SLF001  # its API
)
"""What a producer is told whose id another one has taken over."""

_AT_ONCE = 16
_TIMEOUT_SECONDS = 30.0
_RETRY_SECONDS = 0.1


def fence(settings: Settings, transactional_ids: Sequence[str], alive: Callable[[], None] = lambda: None) -> None:
    """Take each id over and let it go again; when this returns, no holder of one can commit.

    Several workers may do so with the same ids at the same time.

    Args:
        alive: called after each id: many take long, and that is no hang.

    Raises:
        KafkaException: an id could not be taken over.
    """
    if not transactional_ids:
        return
    with ThreadPoolExecutor(min(_AT_ONCE, len(transactional_ids))) as pool:
        for _ in pool.map(partial(_take_over, settings), transactional_ids):
            alive()


def _take_over(settings: Settings, transactional_id: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        producer = make_producer(settings, transactional_id)
        try:
            producer.init_transactions(max(1.0, deadline - time.monotonic()))
        except KafkaException as error:
            code = error.args[0].code()
            if code in FENCED:
                return  # another worker took it over after us: the one before both of us is fenced all the same
            if code != KafkaError.CONCURRENT_TRANSACTIONS or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def taken_over(transactional_id: str) -> Fenced:
    """The error for a producer whose id another one has taken over."""
    return Fenced(
        f"another instance took over {transactional_id!r}; this one stops, so that the two do not fence each other for "
        "ever. If only one should run, find the other"
    )


def reason_of(producer: Producer, error: KafkaException) -> KafkaException:
    """What is behind an error of a producer that is of no use any more.

    librdkafka says only "fatal" to whoever produces after the answer that fenced it has come; to whoever begins a
    transaction it says why. Without this a zombie would take over from its successor.
    """
    if error.args[0].code() == KafkaError._FATAL:  # noqa: SLF001  # its API
        try:
            producer.begin_transaction()
        except KafkaException as reason:
            return reason
    return error
