"""Private state: what a role must remember across a crash, one compacted record a key.

Every value is an absolute value for its key, never a difference, since compaction keeps one record a key. Values are
MessagePack, sealed with AES-256-GCM under a key derived from the role's own state secret; the record's key is bound in,
so that values cannot be swapped. Keys of records are in the clear and name only streams and windows.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from streams.errors import StateUnreadable

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

    def decode(self, key: bytes, value: bytes, kind: type[T]) -> T:
        """Open one value, or raise :class:`StateUnreadable`."""
        try:
            plain = self._aead.decrypt(value[:_NONCE_BYTES], value[_NONCE_BYTES:], self._role + b"\0" + key)
            return msgspec.msgpack.decode(plain, type=kind)
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            raise StateUnreadable(
                f"the state record {key.decode(errors='replace')!r} of role {self._role.decode()!r} does not open: it "
                "was written with another state.key, or altered. Restore that key; starting afresh would count twice"
            ) from None
