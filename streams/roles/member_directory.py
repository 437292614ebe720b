"""The members of `attach`'s partitions: attributes in, compact codes kept.

Names and places are turned into codes as they are read and then forgotten; what stays in memory is the member store of
``estimator.members`` (about 30 bytes a member). Race probabilities are not kept for anyone: they are computed from the
codes for one batch at a time.

Attribute records are the company's own JSON: ``family_name``, ``given_name``, ``state``, ``county``, ``zcta`` (or
``zip``), ``opt_out``. A tombstone takes the member out, and so does a record that cannot be read (fail closed).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from estimator import RaceModel
from estimator.members import FLAG_OPTED_OUT, MemberStore
from streams.errors import MembersMisplaced
from streams.kafka.partitioner import partition_of
from streams.stage import Record

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
        """Attribute records that could not be read; their members do not count."""
        self._partitions = partitions
        self._decoder = msgspec.json.Decoder(_Attributes)

    def load(self, records: Sequence[Record]) -> None:
        """Take in attribute records, in order within each partition.

        Raises:
            MembersMisplaced: a key lies in another partition than murmur2 gives it.
        """
        kept = [record for record in records if record.key()]
        if not kept:
            return
        ids = np.array([record.key() for record in kept], dtype=np.bytes_)
        self._check_partitions(ids, kept)
        attributes = [self._decode(record.value()) for record in kept]
        surname, place = self.model.encode(
            [entry.family_name for entry in attributes],
            zctas=[entry.zcta or entry.zip for entry in attributes],
            counties=[entry.county for entry in attributes],
            states=[entry.state for entry in attributes],
        )
        flags = np.fromiter((FLAG_OPTED_OUT if entry.opt_out else 0 for entry in attributes), np.uint8, len(kept))
        self.store.upsert(ids, surname, place, flags)
        self.version += 1

    def _check_partitions(self, ids: NDArray[np.bytes_], records: Sequence[Record]) -> None:
        expected = partition_of(ids, self._partitions)
        actual = np.fromiter((record.partition() for record in records), np.int64, len(records))
        misplaced = np.flatnonzero(expected != actual)
        if misplaced.size:
            first = records[int(misplaced[0])]
            raise MembersMisplaced(
                f"{first.topic()} partition {first.partition()} offset {first.offset()} holds a key that Kafka's "
                f"murmur2 partitioner puts elsewhere ({misplaced.size} of {len(records)} keys of this batch do): write "
                "the topic with partitioner=murmur2_random (librdkafka) or a Java client, or its members stay unknown"
            )

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
