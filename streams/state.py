"""Private state: what a role must remember across a crash, one compacted record a key.

Every value is an absolute value for its key, never a difference, since compaction keeps one record a key. Values are
MessagePack, sealed with AES-256-GCM under a key derived from the role's own state secret; the record's key is bound in,
so that values cannot be swapped. Keys of records are in the clear and name only streams and windows.

A Struct that is kept here forbids unknown fields: an older version would else read what a newer one wrote, leave out
what it does not know, and write it back without.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from streams.errors import StateNewer, StateUnreadable

T = TypeVar("T")

_NONCE_BYTES = 12


class StateCodec:
    """Seals and opens the values of one role's state topic.

    Args:
        key: 32 bytes.
        role: bound into every value.
    """

    def __init__(self, key: bytes, role: str) -> None:
        self._aead = AESGCM(key)
        self._role = role.encode()
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, key: bytes, value: Any) -> bytes:
        """Seal one value (a msgspec Struct or plain MessagePack data)."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, self._encoder.encode(value), self._role + b"\0" + key)

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
            plain = self._aead.decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], self._role + b"\0" + key)
        except (InvalidTag, ValueError):
            raise StateUnreadable(
                f"the state record {key.decode(errors='replace')!r} of role {self._role.decode()!r} does not open: it "
                "was written with another state.key, or altered. Restore that key; starting afresh would count twice"
            ) from None
        try:
            return msgspec.msgpack.decode(plain, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise StateNewer(
                f"the state record {key.decode(errors='replace')!r} of role {self._role.decode()!r} opens, but holds "
                "other fields than this version keeps there: it was written by a newer one; run that"
            ) from None
