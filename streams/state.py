"""Private state: what a role must remember across a crash, one compacted record a key.

Every value is an absolute value for its key, never a difference, since compaction keeps one record a key. Values are
MessagePack, sealed with AES-256-GCM; the record's key is bound in, so that values cannot be swapped. Keys of records
are in the clear and name only streams and windows.

    offset  size  field
    0       8     number of the state key, little-endian, bound in
    8       12    nonce
    20      ...   ciphertext and tag

**State keys rotate** (``secure_agg.state_keys``), since an old checkpoint lies in the log until it is compacted. A
stage asks at each checkpoint whether it must write everything anew (:meth:`StateCodec.renew`); when that is committed,
the keys before are destroyed. What decides is not what a stage believes to have written, but the numbers in front of
the live records, as they were found and written since: a record that a stage forgot holds its key back, which shows on
``/metrics``, and never becomes unreadable.

Records of versions without numbers are sealed under a key derived from ``state.key``: number 0. They open, and are
written anew at the first checkpoint.

A Struct that is kept here forbids unknown fields: an older version would else read what a newer one wrote, leave out
what it does not know, and write it back without.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secure_agg import StateKeys
from streams.errors import StateNewer, StateUnreadable
from streams.stage import Out

T = TypeVar("T")

log = logging.getLogger(__name__)

_NONCE_BYTES = 12
_NUMBER = struct.Struct("<Q")
_MOST = 1 << 53  # a number is a time in milliseconds
FIRST = 0
"""The number of the key that is derived from ``state.key``."""


def number_of(value: bytes) -> int | None:
    """The number in front of a value, for whoever has no keys; None where it cannot be one (see the module's text)."""
    if len(value) < _NUMBER.size:
        return None
    number = int(_NUMBER.unpack_from(value)[0])
    return number if 0 < number < _MOST else None


class StateCodec:
    """Seals and opens the values of one role's state topic, for one stage.

    Args:
        first: 32 bytes, the key of number 0.
        role: bound into every value.
        keys: the role's state keys. Without them values are sealed as versions without numbers did it.
    """

    def __init__(self, first: bytes, role: str, keys: StateKeys | None = None) -> None:
        self._first = AESGCM(first)
        self._role = role.encode()
        self._keys = keys
        if keys is not None:
            # A stage is built once its predecessor is fenced. From here on nothing may be sealed under a key older than
            # what that one, or a worker of an earlier layout in this place, has said to have passed.
            keys.refresh()
        self._worker = _place(0, 1)
        self._workers: tuple[str, ...] = (self._worker,)
        self._owns: Callable[[bytes], bool] = lambda key: True
        self._opened: dict[int, AESGCM] = {}
        self._numbers: dict[bytes, int] = {}
        self._renewed = FIRST
        self._said = FIRST
        self._encoder = msgspec.msgpack.Encoder()

    # -- values ---------------------------------------------------------------------------------------------------

    def encode(self, key: bytes, value: Any) -> bytes:
        """Seal one value (a msgspec Struct or plain MessagePack data)."""
        nonce, plain, bound = os.urandom(_NONCE_BYTES), self._encoder.encode(value), self._role + b"\0" + key
        if self._keys is None:
            return nonce + self._first.encrypt(nonce, plain, bound)
        newest = self._keys.newest()
        if newest is None:
            raise StateUnreadable(f"role {self._role.decode()!r} has no state key yet: a stage asks `renew` first")
        head = _NUMBER.pack(newest.number)
        aead = self._find(newest.number)
        assert aead is not None  # it is the newest
        return head + nonce + aead.encrypt(nonce, plain, head + bound)

    def unknown(self, key: bytes) -> StateUnreadable:
        """The error for a record of a kind that this version does not know."""
        return StateUnreadable(
            f"the state record {key.decode(errors='replace')!r} of role {self._role.decode()!r} is of a kind that this "
            "version does not know: it was written by a newer one; run that"
        )

    @contextmanager
    def reading(self, key: bytes) -> Iterator[None]:
        """Around whatever takes a key apart: keys are in the clear, and anyone who may write the topic can make one up.

        Raises:
            StateUnreadable: no version of the role writes such a key.
        """
        try:
            yield
        except (ValueError, IndexError):  # the first: text that is not UTF-8, or no number, as well
            raise StateUnreadable(
                f"the state topic of role {self._role.decode()!r} holds a record under a key that no version writes, "
                f"{key[:80]!r}: somebody else has written to it. Find out who; a tombstone under that key takes it out"
            ) from None

    def decode(self, key: bytes, value: bytes, kind: type[T]) -> T:
        """Open one value.

        Raises:
            StateNewer: it is this role's, but holds something else than this version keeps there.
            StateUnreadable: it does not open.
        """
        try:
            plain = self._open(value, self._role + b"\0" + key)
        except (InvalidTag, ValueError):
            raise StateUnreadable(
                f"the state record {key.decode(errors='replace')!r} of role {self._role.decode()!r} does not open: "
                f"{self._why(value)}"
            ) from None
        try:
            return msgspec.msgpack.decode(plain, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise StateNewer(
                f"the state record {key.decode(errors='replace')!r} of role {self._role.decode()!r} opens, but holds "
                "other fields than this version keeps there: it was written by a newer one; run that"
            ) from None

    def _open(self, value: bytes, bound: bytes) -> bytes:
        number = number_of(value)
        aead = None if number is None else self._find(number)
        if aead is None:
            return self._first.decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], bound)
        head, rest = value[: _NUMBER.size], value[_NUMBER.size :]
        return aead.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head + bound)

    def _why(self, value: bytes) -> str:
        number = number_of(value)
        if self._keys is None or number is None or number in self._opened:
            return (
                "it was written with another state.key, or altered. Restore that key; starting afresh would count twice"
            )
        return (
            f"its key, number {number}, is not in {self._keys.folder}. Was that folder lost, or keys.state_dir or "
            "keys.epoch_dir changed? Restore it. Where that cannot be: a party cannot go on, since it would noise "
            "windows a second time; for attach and seal see docs/operations.md"
        )

    def _find(self, number: int) -> AESGCM | None:
        found = self._opened.get(number)
        if found is None and self._keys is not None:
            secret = self._keys.find(number)
            if secret is not None:
                found = self._opened[number] = AESGCM(secret)
        return found

    # -- rotation -------------------------------------------------------------------------------------------------

    def share(self, shard: int, shards: int, owns: Callable[[bytes], bool]) -> None:
        """Say which part of the role's state this worker writes, where it is not all of it.

        Args:
            owns: whether a record, by its key, is this worker's to write. None may be nobody's.
        """
        if self._keys is not None:
            self._keys.refresh()  # what is written here must not be older than what another has said of the part
        self._worker = _place(shard, shards)
        self._workers = tuple(_place(other, shards) for other in range(shards))
        self._owns = owns

    def found(self, key: bytes, value: bytes | None) -> None:
        """A live record of the state topic was restored (None: its tombstone)."""
        if not self._owns(key):
            return
        if value is None:
            self._numbers.pop(key, None)
        else:
            number = number_of(value)
            self._numbers[key] = FIRST if number is None or self._find(number) is None else number

    def _oldest(self) -> int:
        newest = None if self._keys is None else self._keys.newest()
        return min(self._numbers.values(), default=FIRST if newest is None else newest.number)

    def is_due(self, now_ms: int) -> bool:
        """Whether :meth:`renew` would ask for everything to be written anew, so that a checkpoint is due."""
        if self._keys is None or not self._numbers:
            return False
        newest = self._keys.newest()
        if newest is None or self._keys.is_due(now_ms):
            return True
        return self._oldest() < newest.number and newest.number != self._renewed

    def is_awaited(self) -> bool:
        """Whether older keys wait for this worker's word, though it has no live record to write anew.

        Its word counts only once a transaction of its own has committed, in whatever record: another worker may have
        taken its place meanwhile, and have records.
        """
        if self._keys is None or self._numbers or len(self._keys.numbers()) < 2:
            return False
        return self._said < max(self._keys.numbers())

    def renew(self, now_ms: int) -> bool:
        """Called at the beginning of each checkpoint: whether it must hold every live record that this worker owns.

        That is after a new key has begun, also where a crash came before the commit that was to follow.
        """
        if self._keys is None:
            return False
        number = self._keys.ensure_current(now_ms).number
        self._opened = {known: aead for known, aead in self._opened.items() if known in self._keys.numbers()}
        if self._oldest() >= number or self._renewed == number:
            return False
        self._renewed = number
        log.info("state is written anew under state key %d", number)
        return True

    def written(self, topic: str, outputs: Iterable[Out]) -> None:
        """Called at the end of each checkpoint, with all that it holds."""
        if self._keys is not None:
            for out in outputs:
                if out.topic == topic and out.key is not None:
                    self.found(out.key, out.value)

    def committed(self) -> None:
        """The last checkpoint is durable: keys that no live record needs are destroyed."""
        if self._keys is None or len(self._keys.numbers()) < 2:
            return
        self._said = self._oldest()
        for number in self._keys.passed(self._worker, self._said, self._workers):
            self._opened.pop(number, None)
            log.info("state key %d is destroyed", number)


def _place(shard: int, shards: int) -> str:
    return f"{shard}-of-{shards}"
