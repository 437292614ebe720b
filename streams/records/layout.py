"""The layout of a role: into how many shards its partitions are divided, in which generation. On the topic `keys`.

    LAYOUT  0 body (MessagePack array, the fields below)   1 the role's signature

A worker's transactional id names the generation and the shard. Before a worker of a new generation reads state it
fences every id of the earlier ones, which the record's history names; so the record says who may have written, not
only who may write. Without a record a role is in generation 0, with one shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from secure_agg import Identity, PinnedIdentities
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.header import Count, Milliseconds
from streams.records.keys import KeyRecord

SHARDED_ROLES = ("seal", "attach")
MOST_SHARDS = 1024
HISTORY = 32
"""How many earlier generations a record names."""

_KIND = "layout"

Shards = Annotated[int, Meta(ge=1, le=MOST_SHARDS)]


class Generation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An earlier layout.

    Attributes:
        generation: its number.
        shards: how many it had.
    """

    generation: Count
    shards: Shards


class LayoutRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an operator wrote with the role's key.

    Attributes:
        role: whose workers.
        generation: its number, one above the last one of the history.
        shards: worker s of them owns the partitions p with p mod shards = s.
        at_ms: when it was written, epoch milliseconds.
        history: the earlier generations, oldest first and without a gap, the last 32 at most.
    """

    role: Literal["seal", "attach"]
    generation: Annotated[int, Meta(ge=1, lt=1 << 31)]
    shards: Shards
    at_ms: Milliseconds
    history: Annotated[tuple[Generation, ...], Meta(min_length=1, max_length=HISTORY)]

    def topic_key(self) -> bytes:
        """One record a role: the newest."""
        return f"layout/{self.role}".encode()


@dataclass(frozen=True)
class Layout:
    """A role's layout as its workers follow it.

    Attributes:
        generation, shards: see :class:`LayoutRecord`; generation 0 has one shard and no record.
        history: earlier generations, oldest first.
    """

    generation: int = 0
    shards: int = 1
    history: tuple[Generation, ...] = ()

    @classmethod
    def of(cls, record: LayoutRecord) -> Layout:
        """What a verified record says."""
        return cls(record.generation, record.shards, record.history)

    def next(self, role: str, shards: int, now_ms: int) -> LayoutRecord:
        """The record that follows this layout, or :class:`RecordMalformed` where no role can have it."""
        history = (*self.history, Generation(self.generation, self.shards))[-HISTORY:]
        record = LayoutRecord(role, self.generation + 1, shards, now_ms, history)  # type: ignore[arg-type]
        return _checked(_encoder.encode(record))

    def follows(self, earlier: Layout) -> bool:
        """Whether ``earlier`` may have been before this one: lower, and not another than the history names."""
        if earlier.generation >= self.generation:
            return False
        # One that is older than the history reaches, and was compacted away meanwhile, cannot be compared.
        return earlier.generation < self.history[0].generation or (
            Generation(earlier.generation, earlier.shards) in self.history
        )

    def generations(self) -> tuple[Generation, ...]:
        """This one, and those before it that its history names."""
        return (*self.history, Generation(self.generation, self.shards))

    def owns(self, shard: int, count: int) -> range:
        """Which of ``count`` partitions a shard owns; none where the layout does not have the shard."""
        return range(shard, count, self.shards) if shard < self.shards else range(0)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LayoutRecord)


def sign_layout(identity: Identity, record: LayoutRecord) -> KeyRecord:
    """The record for `keys`."""
    body = _encoder.encode(record)
    return KeyRecord(record.topic_key(), frame.encode(Kind.LAYOUT, (body, identity.sign(_KIND, body))))


def decode_layout(data: bytes, trusted: PinnedIdentities) -> LayoutRecord:
    """Decode and verify.

    Raises:
        RecordMalformed: the bytes are not such a record, or its history has a gap.
        SignatureInvalid: the role it names did not sign it.
    """
    body, signature = frame.decode(data, Kind.LAYOUT, 2)
    record = _checked(body)
    trusted.verify(record.role, _KIND, signature, body)
    return record


def _checked(body: bytes) -> LayoutRecord:
    try:
        record = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the second: text that is not UTF-8
        raise RecordMalformed(f"LAYOUT: {error}") from None
    expected = range(record.generation - len(record.history), record.generation)
    complete = len(record.history) == min(record.generation, HISTORY)
    if not complete or [known.generation for known in record.history] != list(expected):
        raise RecordMalformed("LAYOUT: the history does not name the generations before this one, one after another")
    return record
