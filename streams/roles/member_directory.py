"""The members of `attach`'s partitions: attributes in, compact codes kept.

Attributes (for the race model names and places) are turned into codes as they are read and then forgotten; what stays
in memory is the member store of ``estimator.members`` (at most 40 bytes a member). Group probabilities are not kept for
anyone: they are computed from the codes for a batch, or some small ones, at a time.

Attribute records are the company's own JSON: the group model's ``attributes``, each text or null, and under every model
``opt_out`` and ``self_id``. A tombstone takes the member out, and so does a record that cannot be
read, or that the model cannot code (fail closed).
A key that can be no member's id is left aside.

A record in another partition than murmur2 gives its key is refused: nothing that it says is taken in. It may have been
an opt-out, and partitions have no order among each other, so its member does not count while it is there, whatever the
member's own partition says, before it or after it. A topic with many such members was written by another partitioner,
and most of them would be missing: that ends the role, at its start and later.

``self_id`` is what the member said: a list of the model's group names (several: a multi-select), or one name. Anything
else, and a list with a name that is none of the model's, is no Self-ID and counted; the member counts all the same,
since probabilities do not come from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimator.members import FLAG_OPTED_OUT, MemberStore
from estimator.model import GroupModel, Text
from streams.errors import GroupModelUnusable, MembersMisplaced
from streams.kafka.partitioner import partition_of
from streams.roles.attribute_records import AttributeReader, are_member_ids, is_bare_opt_out, is_member_id
from streams.roles.group_model import codes_of
from streams.stage import Partition, Record


class MemberDirectory:
    """Members of the partitions that one `attach` worker owns.

    Args:
        model: the group model whose codes are kept.
        key: 32 bytes for the store's keyed hash; the same over restarts, so that cap state can be found again.
        partitions: number of partitions of `member-attributes`.
    """

    def __init__(self, model: GroupModel, key: bytes, partitions: int) -> None:
        self.model = model
        self.store = MemberStore(key, model.code_width)
        self.version = 0
        """Rises with every change."""
        self.unreadable = 0
        """Attribute records whose key or value could not be read; their members do not count."""
        self.misplaced = 0
        """Attribute records that lay in a wrong partition; their members do not count."""
        self.unreadable_self_ids = 0
        """Self-IDs that are no list of the model's groups; their members count, without Self-ID."""
        self.positions: dict[Partition, int] = {}
        """Where to read on, by partition: kept here, since what was taken in is never taken back by a rewind."""
        self._partitions = partitions
        self._reader = AttributeReader(model)
        self._members: dict[int, int] = {}
        self._taken = 0
        self._held = np.zeros(0, dtype=np.uint64)  # tags of members of whom a record lies in a wrong partition
        self._strays: Counter[tuple[int, int]] = Counter()  # misplaced records, by where they lie and belong
        self._misplaced_at = ""

    def load(self, records: Sequence[Record]) -> None:
        """Take in attribute records, in order within each partition."""
        last = dict(zip([record.partition() for record in records], records, strict=True))
        self.positions |= {(record.topic(), j): record.offset() + 1 for j, record in last.items()}
        keys = [record.key() for record in records]
        if not are_member_ids(keys):
            records = [record for record, key in zip(records, keys, strict=True) if is_member_id(key)]
            self.unreadable += len(keys) - len(records)
            keys = [record.key() for record in records]
        if not records:
            return
        self._taken += len(records)
        ids = np.array(keys, dtype=np.bytes_)
        home = partition_of(ids, self._partitions)
        wrong = home != np.array([record.partition() for record in records], dtype=np.int64)
        if wrong.any():
            self._hold(records, ids, home, wrong)
        out = np.isin(self.store.tag(ids), self._held) if self._held.size else wrong
        # Whoever is taken out, and nothing else, needs no decoding: a million opt-outs take seconds.
        codes = np.zeros((len(records), self.model.code_width), dtype=np.uint32)
        self_id = np.zeros(len(records), dtype=np.uint16)
        flags = np.full(len(records), FLAG_OPTED_OUT, dtype=np.uint8)
        values = [record.value() for record in records]
        where = np.flatnonzero(~out & ~np.fromiter(map(is_bare_opt_out, values), np.bool_, len(values)))
        if where.size:
            codes[where], self_id[where], flags[where] = self._said([values[place] or b"" for place in where])
        new = self.store.upsert(ids, codes, self_id, flags)
        for j, count in zip(*np.unique(home[new], return_counts=True), strict=True):
            self._members[int(j)] = self._members.get(int(j), 0) + int(count)
        self.version += 1

    def _hold(
        self,
        records: Sequence[Record],
        ids: NDArray[np.bytes_],
        home: NDArray[np.int64],
        wrong: NDArray[np.bool_],
    ) -> None:
        """Members of whom a record lies in a wrong partition do not count from here on."""
        self._held = np.union1d(self._held, self.store.tag(ids[wrong]))
        self.misplaced += int(wrong.sum())
        places = np.flatnonzero(wrong).tolist()
        self._strays.update((int(records[place].partition() or 0), int(home[place])) for place in places)
        first = records[places[0]]
        self._misplaced_at = f"{first.topic()} partition {first.partition()} offset {first.offset()}"

    def misplaced_report(self) -> str:
        """What there is to say of records in wrong partitions; names the last place found, and no member."""
        report = (
            f"{self.misplaced} of {self._taken} attribute records lie in another partition than Kafka's murmur2 gives "
            f"their key, such as {self._misplaced_at}: they are refused, and their members do not count"
        )
        out_of_reach = sum(self._strays[pair] for pair in self._out_of_reach())
        if out_of_reach:
            report += (
                f". {out_of_reach} of them are of members that another worker counts, who does not see them: an "
                "opt-out among them has no effect, write it again with `evenstream members opt-out`"
            )
        return report

    def require_placed(self, most_ratio: float) -> None:
        """Called when the topic was read to its end, and with what comes later: whether enough members are left.

        Members are counted and not records: a record that is written again, rightly or wrongly, changes nothing.
        One member is never too many, unless the share is 0: a topic that is being filled may begin with it.

        Args:
            most_ratio: how large a share of the members that are known may have a record in a wrong partition.

        Raises:
            MembersMisplaced: more have. They would be missing, and numbers of the others alone be wrong.
        """
        known, held = len(self.store), self._held.size
        if held > max(most_ratio * known, 1 if most_ratio else 0):
            raise MembersMisplaced(
                f"{self.misplaced_report()}. That is {held} of {known} members, more than attach.misplaced_ratio "
                f"({most_ratio:g}): write the topic with partitioner=murmur2_random (librdkafka) or a Java client. "
                "Nothing is counted until then"
            )

    def keep_only(self, partitions: Collection[int]) -> int:
        """Follow these partitions and no others. What was loaded of others is never asked for, and not kept up.

        Returns:
            How many misplaced records have no effect from here on: they lie in a partition that is kept, and their
            members' own partition is not.
        """
        before = self._out_of_reach()
        self.positions = {place: offset for place, offset in self.positions.items() if place[1] in partitions}
        self._members = {j: count for j, count in self._members.items() if j in partitions}
        return sum(self._strays[pair] for pair in self._out_of_reach() - before)

    def _out_of_reach(self) -> set[tuple[int, int]]:
        """Where misplaced records lie and belong that this worker sees, and whose members another worker counts."""
        followed = {j for _, j in self.positions}
        return {(lies, home) for lies, home in self._strays if lies in followed and home not in followed}

    def members_in(self, j: int) -> int:
        """How many members of a partition are known, opted out or not."""
        return self._members.get(j, 0)

    def _said(self, values: list[bytes]) -> tuple[NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint8]]:
        """Codes, Self-IDs and flags of records that say something."""
        entries = self._reader.read_all(values)
        if entries is None:
            entries = [self._decode(value) for value in values]
        attributes = {name: [column(entry) for entry in entries] for name, column in self._reader.columns}
        codes, coded = self._codes(attributes, len(entries))
        said = [entry.self_id for entry in entries]
        self_id = np.zeros(len(entries), dtype=np.uint16)
        if said.count(None) < len(said):
            self_id = np.fromiter(map(self._self_id, said), np.uint16, len(entries))
        flags = np.where([entry.opt_out for entry in entries], FLAG_OPTED_OUT, 0).astype(np.uint8)
        flags[~coded] |= FLAG_OPTED_OUT
        return codes, self_id, flags

    def _codes(self, attributes: Mapping[str, Text], count: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """Codes, and for whom there are any: one odd record, which a member may have written, must not end a role.

        Raises:
            GroupModelUnusable: the model fails even on a member of whom nothing is known.
        """
        coded = np.ones(count, dtype=bool)
        try:
            return codes_of(self.model, attributes, count), coded
        except GroupModelUnusable:
            codes_of(self.model, {name: [None] for name in attributes}, 1)
        codes = np.zeros((count, self.model.code_width), dtype=np.uint32)
        for k in range(count):
            try:
                codes[k] = codes_of(self.model, {name: column[k : k + 1] for name, column in attributes.items()}, 1)
            except GroupModelUnusable:
                coded[k] = False
        self.unreadable += count - int(coded.sum())
        return codes, coded

    def _self_id(self, said: Any) -> int:
        """The mask of what a member said; 0 where that is nothing, or nothing that can be read."""
        mask = self._reader.mask(said)
        if mask is None:
            self.unreadable_self_ids += 1
        return mask or 0

    def _decode(self, value: bytes) -> Any:
        entry = self._reader.read(value)
        if entry is None:
            self.unreadable += 1
            return self._reader.out
        return entry

    def countable(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Dense index of each member that may count: shape (n,), int64; -1 for unknown or opted out."""
        return self.countable_tags(self.store.tag(ids))

    def countable_tags(self, tags: NDArray[np.uint64]) -> NDArray[np.int64]:
        """:meth:`countable`, of members whose tags (``MemberStore.tag``, shape (n,)) are known already."""
        index = self.store.find_tags(tags)
        # -1 is clipped to member 0, whose flag changes nothing about it.
        index[(self.store.flags.take(index, mode="clip") & FLAG_OPTED_OUT) != 0] = -1
        return index
