"""What of people still lies on Kafka, and whether it can be opened: ``evenstream retention check``.

Individual data is in four kinds of places: batches in `sealed` and `shares`, and the roles' state. Each such record
says in the clear under which keys it lies (the numbers of its recipients' epochs, the number of its state key), and
each role says on `keys`, signed, which of its keys it has destroyed. So whoever may read the topics can tell what is
noise by now, without any key. What a role says is believed here: a copy that someone made is not seen.

Records that aborted transactions left are looked at as well: anyone who may read a topic can read them.

A batch of a later format version says under which keys it lies in a way that this version cannot read. Signed by the
topic's writer, it is not passed over as if it held nothing: what cannot be judged is told, and is no success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.destroyed import KeyDestroyed, KeyKind
from streams.records.frame import Kind
from streams.stage import Record
from streams.state import FIRST, number_of

TOPICS = ("sealed", "shares", "state-seal", "state-attach", "state-a", "state-b")
"""Topics with individual data, by their short names."""

LATEST = 1.5
"""No record may be openable for longer than this many lifetimes of its keys, and the allowance."""


@dataclass(frozen=True, order=True)
class KeyName:
    """A role's key: of an epoch, or of its state."""

    role: str
    kind: KeyKind
    number: int

    def __str__(self) -> str:
        if self.kind == "state":
            return f"{self.role}'s state.key" if self.number == FIRST else f"{self.role}'s state key {self.number}"
        return f"{self.role}'s epoch {self.number}"


def keys_of(topic: str, value: bytes | None) -> frozenset[KeyName]:
    """The keys under which a record of one of :data:`TOPICS` lies; none where it holds nothing of anyone."""
    if not value:
        return frozenset()
    if topic.startswith("state-"):
        number = number_of(value)
        return frozenset({KeyName(topic.removeprefix("state-"), "state", FIRST if number is None else number)})
    try:
        kind = frame.kind_of(value)
        if kind is Kind.SEALED:
            header = SealedBatch.decode(value).header
            numbers = {("attach", header.attach_epoch), ("a", header.a_epoch), ("b", header.b_epoch)}
        elif kind is Kind.SHARES:
            batch = SharesBatch.decode(value)
            header, extension = batch.header, batch.extension
            numbers = {
                (party, n) for part in (header, extension) for party, n in (("a", part.a_epoch), ("b", part.b_epoch))
            }
        else:
            return frozenset()
    except RecordMalformed:  # whoever may write could have put it there; nothing of ours is in it
        return frozenset()
    return frozenset(KeyName(role, "epoch", number) for role, number in numbers)


@dataclass(frozen=True)
class Oldest:
    """The oldest record with individual data in a topic.

    Attributes:
        time_ms: the record's timestamp.
        keys: those under which it lies; None where the role has not said that it is destroyed, else when it said so.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int
    keys: Mapping[KeyName, int | None]


@dataclass
class Openable:
    """Records that are older than they should be and open with a key that still exists.

    Attributes:
        topic, key: which. partition, offset, time_ms: the oldest of them. count: how many.
    """

    topic: str
    key: KeyName
    partition: int
    offset: int
    time_ms: int
    count: int = 1


@dataclass
class Found:
    """What the check found.

    Attributes:
        oldest: by topic; a topic without any such record is left out.
        openable: what should not open any more.
        newer: by topic, how many batches of a later format version were met: nothing is known of these.
    """

    oldest: dict[str, Oldest] = field(default_factory=dict)
    openable: list[Openable] = field(default_factory=list)
    newer: dict[str, int] = field(default_factory=dict)

    @property
    def in_order(self) -> bool:
        """Whether nothing opens that should not, and all could be judged."""
        return not self.openable and not self.newer


@dataclass(frozen=True)
class Limits:
    """Before which time a record must not open any more, epoch milliseconds."""

    epoch_ms: int
    state_ms: int

    @classmethod
    def at(cls, now_ms: int, epoch_lifetime_ms: int, state_lifetime_ms: int, allowance_ms: int) -> Limits:
        """From the keys' lifetimes. A record's key has at most one left when it is used; the rest is for lag."""
        ages = (int(LATEST * lifetime) + allowance_ms for lifetime in (epoch_lifetime_ms, state_lifetime_ms))
        return cls(*(now_ms - age for age in ages))

    def of(self, topic: str) -> int:
        """The limit of a topic."""
        return self.state_ms if topic.startswith("state-") else self.epoch_ms


def check(
    partitions: Mapping[str, int],
    read: Callable[[str, int], Iterable[Record]],
    destroyed: Callable[[str, KeyKind, int], KeyDestroyed | None],
    limits: Limits,
    progress: Callable[[int], None] = lambda count: None,
    is_newer: Callable[[str, bytes], bool] = lambda topic, value: False,
) -> Found:
    """Look at each topic's records from the oldest on, as far as the limit.

    Args:
        partitions: by topic's short name, how many partitions it has.
        read: a partition's records, oldest first, aborted ones as well.
        destroyed: what a role has said of a key.
        progress: called with the number of records that were looked at.
        is_newer: whether a topic's writer signed these bytes in a format version that is not known here.
    """
    found = Found()
    openable: dict[tuple[str, KeyName], Openable] = {}
    count = 0
    for topic, parallel in partitions.items():
        limit = limits.of(topic)
        for i in range(parallel):
            begun = False
            for record in read(topic, i):
                count += 1
                progress(count)
                time_ms = record.timestamp()[1]
                if begun and time_ms > limit:
                    break
                keys = keys_of(topic, record.value())
                if not keys:
                    if is_newer(topic, record.value() or b""):
                        found.newer[topic] = found.newer.get(topic, 0) + 1
                    continue
                said = {key: destroyed(key.role, key.kind, key.number) for key in sorted(keys)}
                known = found.oldest.get(topic)
                if not begun and (known is None or time_ms < known.time_ms):
                    ended = {key: None if word is None else word.at_ms for key, word in said.items()}
                    found.oldest[topic] = Oldest(topic, i, record.offset(), time_ms, ended)
                begun = True
                for key in (key for key, word in said.items() if word is None and time_ms <= limit):
                    entry = openable.get((topic, key))
                    if entry is None:
                        openable[topic, key] = Openable(topic, key, i, record.offset(), time_ms)
                    else:
                        entry.count += 1
                        if time_ms < entry.time_ms:
                            entry.partition, entry.offset, entry.time_ms = i, record.offset(), time_ms
    found.openable = sorted(openable.values(), key=lambda entry: entry.time_ms)
    return found


def as_json(found: Found, limits: Limits) -> dict[str, Any]:
    """The same for machines."""
    return {
        "in_order": found.in_order,
        "newer_version": found.newer,
        "oldest": [
            {
                "topic": oldest.topic,
                "partition": oldest.partition,
                "offset": oldest.offset,
                "time_ms": oldest.time_ms,
                "keys": [
                    {"role": key.role, "kind": key.kind, "number": key.number, "destroyed_ms": at_ms}
                    for key, at_ms in oldest.keys.items()
                ],
            }
            for oldest in found.oldest.values()
        ],
        "openable": [
            {
                "topic": entry.topic,
                "role": entry.key.role,
                "kind": entry.key.kind,
                "number": entry.key.number,
                "records": entry.count,
                "partition": entry.partition,
                "offset": entry.offset,
                "time_ms": entry.time_ms,
            }
            for entry in found.openable
        ],
        "must_not_open_before_ms": {"epoch": limits.epoch_ms, "state": limits.state_ms},
    }
