"""The member store: millions of members in arrays, looked up by id a batch at a time.

Open addressing with linear probing over a table of dense indices, all in numpy. A member costs a 64-bit tag, the group
model's code (4 bytes a word), a bit for each group that the member ticked (Self-ID, 2 bytes) and a flag byte, growing
by an eighth at a time, and 1 / load entries of 4 bytes in the table. No name, no address and no probability is in it;
what members said of themselves is, and it leaves the store for one batch at a time, as shares.

Members are told apart by a keyed 64-bit hash of their id (murmur-style mixing over 8-byte words, keyed at both ends and
at each word). It is not a cryptographic promise: two of 50 million members share a tag with probability 7e-5, and would
then share codes, flags and caps. The key keeps the tags from being linked to those of another installation.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from estimator.errors import UnequalColumns

FLAG_OPTED_OUT = 1
"""Flag bit: the member must not count."""

_MULTIPLIER = np.uint64(0xC6A4A7935BD1E995)
_FINAL = np.uint64(0x9FB21C651E98DF25)
_SHIFT = np.uint64(47)
_KEY_WORDS = 32
_LOAD = 0.6
_FIRST_CAPACITY = 1024
_AHEAD = np.arange(8)


class MemberStore:
    """See the module's text.

    An index, once given to a member, is his for the life of the store; members are never removed, only flagged.

    Args:
        key: secret bytes; the same over restarts, since tags are kept in cap state.
        code_width: words of a member's code, as the group model makes it.

    Attributes (by dense index, shape (capacity, ...); use them with indices that :meth:`lookup` returned):
        tags: uint64. codes: (capacity, code_width), uint32. flags: uint8.
        self_id: uint16, bit g set where the member ticked the model's group g; 0 where nothing is known.
    """

    def __init__(self, key: bytes, code_width: int) -> None:
        stream = hashlib.shake_256(b"evenstream/1/member-tag\0" + key).digest(8 * (2 + _KEY_WORDS))
        words = np.frombuffer(stream, dtype="<u8").astype(np.uint64)
        self._key_in, self._key_out, self._word_keys = words[0], words[1], words[2:]
        self._count = 0
        self._table = np.full(2 * _FIRST_CAPACITY, -1, dtype=np.int32)
        self.tags = np.zeros(_FIRST_CAPACITY, dtype=np.uint64)
        self.codes = np.zeros((_FIRST_CAPACITY, code_width), dtype=np.uint32)
        self.self_id = np.zeros(_FIRST_CAPACITY, dtype=np.uint16)
        self.flags = np.zeros(_FIRST_CAPACITY, dtype=np.uint8)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes that all arrays hold."""
        return sum(array.nbytes for array in (self._table, self.tags, self.codes, self.self_id, self.flags))

    @property
    def bytes_per_member(self) -> float:
        """Bytes that all arrays hold, by members; 0 while there are none."""
        return self.nbytes / self._count if self._count else 0.0

    def tag(self, ids: NDArray[np.bytes_]) -> NDArray[np.uint64]:
        """Keyed hash of ids: shape (n,), uint64.

        Args:
            ids: shape (n,), dtype S of any width: padding does not count, so an id has one tag in every batch.

        Raises:
            UnequalColumns: the ids are not of dtype S (str would be hashed with its own padding).
        """
        if ids.dtype.kind != "S":
            raise UnequalColumns(f"member ids must be bytes (dtype S), not {ids.dtype}; encode them as UTF-8")
        ids = np.ascontiguousarray(ids)
        words = -(-ids.dtype.itemsize // 8)
        padded = np.zeros(ids.size, dtype=f"S{8 * words}")
        padded[:] = ids
        blocks = padded.view("<u8").reshape(ids.size, words)
        lengths = np.char.str_len(ids).astype(np.uint64)
        with np.errstate(over="ignore"):
            mixed: NDArray[np.uint64] = (lengths * _MULTIPLIER) ^ self._key_in
            for position in range(words):
                # A key of its own before each word's mixing: else ids could be made to collide without knowing it.
                word = blocks[:, position] ^ self._word_keys[position % _KEY_WORDS]
                word *= _MULTIPLIER
                word ^= word >> _SHIFT
                word *= _MULTIPLIER
                word ^= mixed
                word *= _MULTIPLIER
                word ^= word >> np.uint64(32)
                # Words beyond an id's end are all padding: skipped, so that the width makes no difference.
                np.copyto(mixed, word, where=np.uint64(8 * position) < lengths)
            mixed ^= self._key_out
            mixed ^= mixed >> _SHIFT
            mixed *= _FINAL
            mixed ^= mixed >> np.uint64(29)
            mixed *= _MULTIPLIER
            mixed ^= mixed >> _SHIFT
        blocks.fill(0)  # a copy of the ids that their owner could not overwrite
        return mixed

    def lookup(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Dense index of each id: shape (n,), int64; -1 where unknown."""
        return self.find_tags(self.tag(ids))

    def find_tags(self, tags: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Dense index of each tag: shape (n,), int64; -1 where unknown."""
        mask = np.int64(self._table.size - 1)
        slot = (tags & np.uint64(mask)).astype(np.int64)
        # The first slot, where most are, for all at once; then the second for those that it does not decide.
        found = self._table.take(slot).astype(np.int64)
        open_ = np.flatnonzero((self.tags.take(found, mode="clip") != tags) & (found >= 0))
        if not open_.size:
            return found
        wanted, slot = tags[open_], slot[open_] + 1
        index = self._table.take(slot & mask).astype(np.int64)
        found[open_] = index
        still = np.flatnonzero((self.tags.take(index, mode="clip") != wanted) & (index >= 0))
        open_, wanted, slot = open_[still], wanted[still], slot[still] + 1
        found[open_] = -1
        # The few that are left have chains of any length: several slots of each in one go.
        while open_.size:
            ahead = self._table.take((slot[:, None] + _AHEAD) & mask)
            taken = ahead >= 0
            row, column = np.nonzero((self.tags.take(ahead, mode="clip") == wanted[:, None]) & taken)
            found[open_[row]] = ahead[row, column]
            goes_on = np.all(taken, axis=1)
            goes_on[row] = False
            still = np.flatnonzero(goes_on)
            open_, wanted, slot = open_[still], wanted[still], slot[still] + _AHEAD.size
        return found

    def upsert(
        self,
        ids: NDArray[np.bytes_],
        codes: NDArray[np.uint32],
        self_id: NDArray[np.uint16],
        flags: NDArray[np.uint8],
    ) -> NDArray[np.int64]:
        """Insert or overwrite members; of several entries with one id the last wins.

        Args:
            ids: shape (n,), dtype S. codes: shape (n, code_width), uint32. self_id: shape (n,), uint16. flags: shape
                (n,), uint8.

        Returns:
            Places in ``ids`` of members that were not known before, one for each: shape (m,), int64.

        Raises:
            UnequalColumns: the arrays have different lengths, the codes another width, or the ids are not of dtype S.
        """
        width = self.codes.shape[1]
        if codes.shape != (ids.size, width) or not ids.size == self_id.size == flags.size:
            raise UnequalColumns(
                f"{ids.size} ids, codes of shape {codes.shape}, {self_id.size} Self-IDs, {flags.size} flags: give one "
                f"for each, codes of {width} words"
            )
        tags = self.tag(ids)
        # np.unique keeps the first of equals, so the arrays are turned round.
        unique, last = np.unique(tags[::-1], return_index=True)
        source = tags.size - 1 - last
        index = self.find_tags(unique)
        fresh = np.flatnonzero(index < 0)
        self._reserve(self._count + fresh.size)
        index[fresh] = np.arange(self._count, self._count + fresh.size)
        self.tags[index[fresh]] = unique[fresh]
        self._count += fresh.size
        self._place_in_table(index[fresh])
        self.codes[index] = codes[source]
        self.self_id[index] = self_id[source]
        self.flags[index] = flags[source]
        return source[fresh]

    def _reserve(self, count: int) -> None:
        if count > self.tags.size:
            # An eighth more: enough that growing is rare, little enough for the promise of 40 bytes a member.
            size = max(count, self.tags.size * 9 // 8)
            for name in ("tags", "codes", "self_id", "flags"):
                array = getattr(self, name)
                grown = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
                grown[: array.shape[0]] = array
                setattr(self, name, grown)
        if count > _LOAD * self._table.size:
            size = self._table.size
            while count > _LOAD * size:
                size *= 2
            self._table = np.full(size, -1, dtype=np.int32)
            self._place_in_table(np.arange(self._count))

    def _place_in_table(self, index: NDArray[np.int64]) -> None:
        """Put dense indices, none of which is in the table yet, into free slots."""
        mask = np.int64(self._table.size - 1)
        slot = (self.tags[index] & np.uint64(mask)).astype(np.int64)
        waiting = np.arange(index.size)
        while waiting.size:
            free = self._table[slot[waiting]] < 0
            candidates = waiting[free]
            # Where several want one slot, the assignment leaves one of them in it; the others go on.
            self._table[slot[candidates]] = index[candidates]
            placed = np.zeros(index.size, dtype=bool)
            placed[candidates] = self._table[slot[candidates]] == index[candidates]
            waiting = waiting[~placed[waiting]]
            slot[waiting] = (slot[waiting] + 1) & mask
