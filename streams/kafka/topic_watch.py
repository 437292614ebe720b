"""Whether the topics that a role lives on are still the ones that it began with.

A topic that is deleted looks like one on which nothing happens: a consumer waits for it to come back, and a role would
stand still without a word. One that is made again has its offsets from 0, and one that somebody gave more partitions
scatters members over partitions of other workers. So each role asks, every few seconds and without waiting for the
answer, and ends with the reason when a topic is gone, has another topic id, or another number of partitions. What it
does at its next start is for the checks there: it does not run without its topics.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.errors import KafkaUnavailable, TopicMismatch
from streams.kafka.clients import shared_admin
from streams.settings import Settings

_INTERVAL_SECONDS = 3.0
_SEE = "See docs/operations.md, When something fails"
_EVERYONES = ("measurements", "keys")
_TOPICS = {
    "seal": ("sealed", "refused", "state-seal"),
    "attach": ("member-attributes", "sealed", "shares", "state-attach"),
    "a": ("shares", "releases-a", "ledger-a", "state-a"),
    "b": ("shares", "releases-b", "ledger-b", "state-b"),
    "publish": ("releases-a", "releases-b", "fairness-metrics"),
}
"""By role; seal's sources are its stage's business, since one must not end the others."""
_ABSENT = KafkaError.UNKNOWN_TOPIC_OR_PART


@dataclass(frozen=True)
class Topic:
    """A topic as the cluster tells it.

    Attributes:
        id: Kafka's own, another one for a topic that is made again; "" from clusters that have none.
        partitions: how many.
    """

    id: str
    partitions: int


def find_topic(client: AdminClient, name: str, timeout_seconds: float) -> Topic | None:
    """A topic; None where it does not exist or may not be described.

    Raises:
        KafkaUnavailable: the cluster did not answer.
    """
    answer = client.describe_topics(TopicCollection([name]), request_timeout=timeout_seconds)[name]
    try:
        return _topic(answer.result(timeout_seconds))
    except (KafkaException, TimeoutError) as error:
        code = error.args[0].code() if isinstance(error, KafkaException) else None
        if code in (_ABSENT, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION):
            return None
        raise KafkaUnavailable(f"topic {name} could not be asked about: {error}") from None


def _topic(description: Any) -> Topic:
    unknown = description.topic_id is None or description.topic_id.get_most_significant_bits() == 0
    return Topic("" if unknown else str(description.topic_id), len(description.partitions))


class TopicWatch:
    """Called at every turn of a role's loop; never waits.

    Args:
        role: whose topics. Those that it may not describe are not watched.
    """

    def __init__(self, settings: Settings, role: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = shared_admin(settings)
        self._names = [settings.topic(name) for name in (*_EVERYONES, *_TOPICS.get(role, ()))]
        self._monotonic = monotonic
        self._asked_at = float("-inf")
        self._answers: dict[str, Future[Any]] = {}
        self._known: dict[str, Topic] = {}

    def look(self) -> None:
        """Judge answers that have come, and ask again when it is time.

        Raises:
            TopicMismatch: a topic is no longer what it was.
        """
        if self._answers and all(answer.done() for answer in self._answers.values()):
            answers, self._answers = self._answers, {}
            for name, answer in answers.items():
                self._judge(name, answer)
        now = self._monotonic()
        if not self._answers and now - self._asked_at >= _INTERVAL_SECONDS:
            self._asked_at = now
            self._answers = self._client.describe_topics(TopicCollection(self._names), request_timeout=5.0)

    def _judge(self, name: str, answer: Future[Any]) -> None:
        error = answer.exception()
        known = self._known.get(name)
        if error is None:
            found = self._known[name] = _topic(answer.result())
            if known is not None and known != found:
                raise TopicMismatch(_told(name, known, found))
        elif known is not None and isinstance(error, KafkaException) and error.args[0].code() == _ABSENT:
            raise TopicMismatch(
                f"topic {name} was deleted while this role ran; it stops, and nothing more is counted. {_SEE}"
            )


def _told(name: str, known: Topic, found: Topic) -> str:
    if known.id != found.id:
        return (
            f"topic {name} was deleted and made again while this role ran (its id was {known.id}, and is {found.id}): "
            f"its positions mean nothing there. It stops, and nothing more is counted. {_SEE}"
        )
    return (
        f"topic {name} was given {found.partitions} partitions and had {known.partitions} while this role ran: P is "
        "fixed for a topic set, since each member's rows lie in one partition. It stops, and nothing more is counted; "
        "begin a new deployment"
    )
