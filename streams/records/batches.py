"""`sealed` and `shares`: one batch of rows on its way.

    SEALED  0 header
            1 members, for attach         nonce + AES-256-GCM of rows x width bytes, ids padded with NUL
            2 cells, for a                nonce + AES-256-GCM of salt (32) + rows x u16
            3 cells, for b                the same plaintext under b's key
            4 seal's signature            over header and SHA-256 of sections 1, 2, 3

    SHARES  0 header                      seal's, byte for byte
            1 SHA-256 of the members section (so that seal's signature can be checked without it)
            2, 3 cells, for a and for b   seal's, byte for byte
            4 seal's signature
            5 extension                   attach's process, epochs and channels
            6 share, for a                nonce + AES-256-GCM of a 32-byte seed
            7 share, for b                nonce + AES-256-GCM of the masked values, u64 each: rows, then the tail
            8 attach's signature          over header, extension and SHA-256 of sections 6, 7

All integers are little-endian. The order of rows is the same in all sections and is random.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from secure_agg import Identity, PinnedIdentities
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.header import Count, Header, ProcessId, decode_header

CHANNEL_TABLE = 1
CHANNEL_RECTIFIER = 2
CHANNEL_MOMENTS = 4
"""Bits of ``Extension.channels``. A row carries the table's columns, then the rectifier's; moments are the tail."""

_SEALED = "sealed"
_SHARES = "shares"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@dataclass(frozen=True)
class SealedBatch:
    """A batch as `seal` wrote it."""

    header: Header
    header_bytes: bytes
    members: bytes
    cells_a: bytes
    cells_b: bytes
    seal_signature: bytes

    @classmethod
    def signed(cls, identity: Identity, header: Header, header_bytes: bytes, *sections: bytes) -> SealedBatch:
        """Sign ``header_bytes`` and the three ciphertexts (members, cells for a, cells for b)."""
        members, cells_a, cells_b = sections
        signature = identity.sign(_SEALED, header_bytes, _sha256(members), _sha256(cells_a), _sha256(cells_b))
        return cls(header, header_bytes, members, cells_a, cells_b, signature)

    def encode(self) -> bytes:
        """The record's value."""
        return frame.encode(
            Kind.SEALED, (self.header_bytes, self.members, self.cells_a, self.cells_b, self.seal_signature)
        )

    @classmethod
    def decode(cls, data: bytes) -> SealedBatch:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        header, members, cells_a, cells_b, signature = frame.decode(data, Kind.SEALED, 5)
        return cls(decode_header(header), header, members, cells_a, cells_b, signature)

    def verify(self, trusted: PinnedIdentities) -> None:
        """Raise unless `seal` signed this."""
        trusted.verify(
            "seal",
            _SEALED,
            self.seal_signature,
            self.header_bytes,
            _sha256(self.members),
            _sha256(self.cells_a),
            _sha256(self.cells_b),
        )


class Extension(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What `attach` adds to a header.

    Attributes:
        process: 8 random bytes that name attach's process.
        a_epoch, b_epoch: the parties' key epochs that `attach` used.
        channels: bits of the channels that a row carries.
        columns: ring elements a row.
        tail: ring elements after the rows, once a batch (moments).
    """

    process: ProcessId
    a_epoch: Count
    b_epoch: Count
    channels: int
    columns: int
    tail: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Extension)


@dataclass(frozen=True)
class SharesBatch:
    """A batch as `attach` passed it on."""

    header: Header
    header_bytes: bytes
    members_digest: bytes
    cells_a: bytes
    cells_b: bytes
    seal_signature: bytes
    extension: Extension
    extension_bytes: bytes
    share_a: bytes
    share_b: bytes
    attach_signature: bytes

    @staticmethod
    def binding(header_bytes: bytes, extension_bytes: bytes) -> bytes:
        """The associated data of the two share envelopes."""
        return header_bytes + extension_bytes

    @staticmethod
    def encode_extension(extension: Extension) -> bytes:
        """The extension's exact bytes."""
        return _encoder.encode(extension)

    @classmethod
    def signed(
        cls, identity: Identity, sealed: SealedBatch, extension: Extension, share_a: bytes, share_b: bytes
    ) -> SharesBatch:
        """Pass ``sealed`` on with attach's two envelopes, signed by attach."""
        extension_bytes = cls.encode_extension(extension)
        signature = identity.sign(_SHARES, sealed.header_bytes, extension_bytes, _sha256(share_a), _sha256(share_b))
        return cls(
            sealed.header,
            sealed.header_bytes,
            _sha256(sealed.members),
            sealed.cells_a,
            sealed.cells_b,
            sealed.seal_signature,
            extension,
            extension_bytes,
            share_a,
            share_b,
            signature,
        )

    def encode(self) -> bytes:
        """The record's value."""
        return frame.encode(
            Kind.SHARES,
            (
                self.header_bytes,
                self.members_digest,
                self.cells_a,
                self.cells_b,
                self.seal_signature,
                self.extension_bytes,
                self.share_a,
                self.share_b,
                self.attach_signature,
            ),
        )

    @classmethod
    def decode(cls, data: bytes) -> SharesBatch:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        sections = frame.decode(data, Kind.SHARES, 9)
        try:
            extension = _decoder.decode(sections[5])
        except msgspec.MsgspecError as error:
            raise RecordMalformed(f"shares extension: {error}") from None
        header, members_digest, cells_a, cells_b, seal_signature, extension_bytes, share_a, share_b, signature = (
            sections
        )
        return cls(
            decode_header(header),
            header,
            members_digest,
            cells_a,
            cells_b,
            seal_signature,
            extension,
            extension_bytes,
            share_a,
            share_b,
            signature,
        )

    def verify(self, trusted: PinnedIdentities) -> None:
        """Raise unless `seal` signed the header and the cells, and `attach` the rest."""
        trusted.verify(
            "seal",
            _SEALED,
            self.seal_signature,
            self.header_bytes,
            self.members_digest,
            _sha256(self.cells_a),
            _sha256(self.cells_b),
        )
        trusted.verify(
            "attach",
            _SHARES,
            self.attach_signature,
            self.header_bytes,
            self.extension_bytes,
            _sha256(self.share_a),
            _sha256(self.share_b),
        )
