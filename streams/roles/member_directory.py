"""The members of `attach`'s partitions: attributes in, compact codes kept.

Names and places are turned into codes as they are read and then forgotten; what stays in memory is the member store of
``estimator.members`` (about 30 bytes a member). Race probabilities are not kept for anyone: they are computed from the
codes for one batch at a time.

Attribute records are the company's own JSON: ``family_name``, ``given_name``, ``state``, ``county``, ``zcta`` (or
``zip``), ``opt_out``. A tombstone takes the member out, and so does a record that cannot be read (fail closed).
A key that can be no member's id is left aside.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from estimator import RaceModel
from estimator.members import FLAG_OPTED_OUT, MemberStore
from streams.errors import MembersMisplaced
from streams.kafka.partitioner import partition_of
from streams.stage import Partition, Record

log = logging.getLogger(__name__)

_Text = str | None


class _Attributes(msgspec.Struct, gc=False):
    family_name: _Text = None
    given_name: _Text = None
    state: _Text = None
    county: _Text = None
    zcta: _Text = None
    zip: _Text = None
    opt_out: bool = False


_OUT = _Attributes(opt_out=True)
_MAX_ID_BYTES = 128
"""No measurement lets longer ids in (``Source.member_max_bytes``), so no row can ask for them."""


def _is_member_id(key: bytes | None) -> bool:
    # `seal` refuses ids that hold NUL: in an array, whose padding it is, they would pass for other ones.
    return key is not None and 0 < len(key) <= _MAX_ID_BYTES and b"\0" not in key


class MemberDirectory:
    """Members of the partitions that one `attach` worker owns.

    Args:
        model: the race model whose codes are kept.
        key: 32 bytes for the store's keyed hash; the same over restarts, so that cap state can be found again.
        partitions: number of partitions of `member-attributes`.
    """

    def __init__(self, model: RaceModel, key: bytes, partitions: int) -> None:
        self.model = model
        self.store = MemberStore(key)
        self.version = 0
        """Rises with every change."""
        self.unreadable = 0
        """Attribute records whose key or value could not be read; their members do not count."""
        self.misplaced = 0
        """Attribute records that lay in a wrong partition when they came at run time; their members do not count."""
        self.positions: dict[Partition, int] = {}
        """Where to read on, by partition: kept here, since what was taken in is never taken back by a rewind."""
        self._partitions = partitions
        self._decoder = msgspec.json.Decoder(_Attributes)

    def load(self, records: Sequence[Record], *, at_run_time: bool = False) -> None:
        """Take in attribute records, in order within each partition.

        Args:
            at_run_time: a key in a wrong partition then takes its member out, and is logged: one stray record must not
                end a role, and an opt-out must act wherever it lies.

        Raises:
            MembersMisplaced: not ``at_run_time``, and a key lies in another partition than murmur2 gives it.
        """
        for record in records:
            self.positions[record.topic(), record.partition()] = record.offset() + 1
        kept = [record for record in records if _is_member_id(record.key())]
        self.unreadable += len(records) - len(kept)
        if not kept:
            return
        ids = np.array([record.key() for record in kept], dtype=np.bytes_)
        placed = self._in_place(ids, kept)
        if not placed.all():
            if not at_run_time:
                raise MembersMisplaced(_misplaced(kept, placed))
            log.error("%s", _misplaced(kept, placed))
            self.misplaced += int((~placed).sum())
        attributes = [
            self._decode(record.value()) if good else _OUT for record, good in zip(kept, placed.tolist(), strict=True)
        ]
        codes = self.model.encode(
            {
                "family_name": [entry.family_name for entry in attributes],
                "zcta": [entry.zcta for entry in attributes],
                "zip": [entry.zip for entry in attributes],
                "county": [entry.county for entry in attributes],
                "state": [entry.state for entry in attributes],
            }
        )
        flags = np.fromiter((FLAG_OPTED_OUT if entry.opt_out else 0 for entry in attributes), np.uint8, len(kept))
        self.store.upsert(ids, codes[:, 0], codes[:, 2], flags)
        self.version += 1

    def _in_place(self, ids: NDArray[np.bytes_], records: Sequence[Record]) -> NDArray[np.bool_]:
        actual = np.fromiter((record.partition() for record in records), np.int64, len(records))
        return np.asarray(partition_of(ids, self._partitions) == actual)

    def _decode(self, value: bytes | None) -> _Attributes:
        if value is None:
            return _OUT
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.unreadable += 1
            return _OUT

    def countable(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Dense index of each member that may count: shape (n,), int64; -1 for unknown or opted out."""
        index = self.store.lookup(ids)
        known = index >= 0
        index[known] = np.where(self.store.flags[index[known]] & FLAG_OPTED_OUT, -1, index[known])
        return index


def _misplaced(records: Sequence[Record], placed: NDArray[np.bool_]) -> str:
    first = records[int(np.flatnonzero(~placed)[0])]
    return (
        f"{first.topic()} partition {first.partition()} offset {first.offset()} holds a key that Kafka's murmur2 "
        f"partitioner puts elsewhere ({int((~placed).sum())} of {len(records)} keys of this batch do): write the topic "
        "with partitioner=murmur2_random (librdkafka) or a Java client, or its members stay unknown"
    )
