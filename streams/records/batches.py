"""`sealed` and `shares`: one batch of rows on its way.

    SEALED  0 header
            1 members, for attach         nonce + AES-256-GCM of rows x width bytes, ids padded with NUL
            2 cells, for a                nonce + AES-256-GCM of salt (32) + rows x u16
            3 cells, for b                the same plaintext under b's key
            4 seal's signature            over the head and the SHA-256 of sections 0 to 3

    SHARES  0 header                      seal's, byte for byte
            1 SHA-256 of the members section (so that seal's signature can be checked without it)
            2, 3 cells, for a and for b   seal's, byte for byte
            4 seal's signature            the format version of seal's record (1 byte), then its signature
            5 extension                   attach's process, epochs and channels
            6 share, for a                nonce + AES-256-GCM of a 32-byte seed
            7 share, for b                nonce + AES-256-GCM of the masked values, u64 each: rows, then the tail
            8 attach's signature          over the head and the SHA-256 of sections 0 to 7

In version 1, which is still read, seal signed header and SHA-256 of sections 1, 2, 3 under the kind "sealed", attach
signed header, extension and SHA-256 of sections 6, 7 under the kind "shares", and section 4 of SHARES held the
signature alone.

All integers are little-endian. The order of rows is the same in all sections and is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec

from secure_agg import Identity, PinnedIdentities
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind, sha256
from streams.records.header import Count, Header, ProcessId, decode_header

CHANNEL_TABLE = 1
CHANNEL_RECTIFIER = 2
CHANNEL_MOMENTS = 4
"""Bits of ``Extension.channels``. A row carries the table's columns, then the rectifier's; moments are the tail."""

_SEALED = "sealed"
_SHARES = "shares"


def _seal_signs(identity: Identity, version: int, header_bytes: bytes, digests: tuple[bytes, ...]) -> bytes:
    if version == 1:
        return identity.sign(_SEALED, header_bytes, *digests[1:])
    return frame.sign(identity, Kind.SEALED, version, digests)


def _verify_seal(
    trusted: PinnedIdentities, version: int, signature: bytes, header_bytes: bytes, digests: tuple[bytes, ...]
) -> None:
    """Raise unless `seal` signed a batch of these sections (digests of header, members, cells to a, cells to b)."""
    if version == 1:
        trusted.verify("seal", _SEALED, signature, header_bytes, *digests[1:])
    else:
        frame.verify(trusted, "seal", signature, Kind.SEALED, version, digests)


@dataclass(frozen=True)
class SealedBatch:
    """A batch as `seal` wrote it. Of one that was read, the ciphertexts are views of the record."""

    header: Header
    header_bytes: bytes
    members: bytes | memoryview
    cells_a: bytes | memoryview
    cells_b: bytes | memoryview
    seal_signature: bytes
    version: int

    @cached_property
    def digests(self) -> tuple[bytes, bytes, bytes, bytes]:
        """SHA-256 of header, members, cells to a and cells to b."""
        return sha256(self.header_bytes), sha256(self.members), sha256(self.cells_a), sha256(self.cells_b)

    @classmethod
    def signed(cls, identity: Identity, header: Header, header_bytes: bytes, *sections: bytes) -> SealedBatch:
        """Sign ``header_bytes`` and the three ciphertexts (members, cells for a, cells for b)."""
        members, cells_a, cells_b = sections
        version = frame.newest_version(Kind.SEALED)
        digests = sha256(header_bytes), sha256(members), sha256(cells_a), sha256(cells_b)
        signature = _seal_signs(identity, version, header_bytes, digests)
        return cls(header, header_bytes, members, cells_a, cells_b, signature, version)

    def encode(self) -> bytes:
        """The record's value."""
        sections = self.header_bytes, self.members, self.cells_a, self.cells_b, self.seal_signature
        return frame.encode(Kind.SEALED, sections, self.version)

    @classmethod
    def decode(cls, data: bytes) -> SealedBatch:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        header_view, members, cells_a, cells_b, signature = frame.decode(memoryview(data), Kind.SEALED, 5)
        header, version = bytes(header_view), frame.version_of(data)
        return cls(decode_header(header), header, members, cells_a, cells_b, bytes(signature), version)

    def verify(self, trusted: PinnedIdentities) -> None:
        """Raise unless `seal` signed this."""
        _verify_seal(trusted, self.version, self.seal_signature, self.header_bytes, self.digests)


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
    """A batch as `attach` passed it on. Of one that was read, the ciphertexts are views of the record.

    Attributes:
        seal_version: the format version of seal's record, under which its signature is checked.
        version: of this record.
    """

    header: Header
    header_bytes: bytes
    members_digest: bytes
    cells_a: bytes | memoryview
    cells_b: bytes | memoryview
    seal_version: int
    seal_signature: bytes
    extension: Extension
    extension_bytes: bytes
    share_a: bytes | memoryview
    share_b: bytes | memoryview
    attach_signature: bytes
    version: int

    @cached_property
    def _seals_digests(self) -> tuple[bytes, bytes, bytes, bytes]:
        return sha256(self.header_bytes), self.members_digest, sha256(self.cells_a), sha256(self.cells_b)

    @property
    def _passed_signature(self) -> bytes:
        """Section 4."""
        return self.seal_signature if self.version == 1 else bytes((self.seal_version,)) + self.seal_signature

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
        version = frame.newest_version(Kind.SHARES)
        extension_bytes = cls.encode_extension(extension)
        passed = sealed.seal_signature if version == 1 else bytes((sealed.version,)) + sealed.seal_signature
        own = sha256(extension_bytes), sha256(share_a), sha256(share_b)
        if version == 1:
            signature = identity.sign(_SHARES, sealed.header_bytes, extension_bytes, *own[1:])
        else:
            header, members, cells_a, cells_b = sealed.digests
            digests = header, sha256(members), cells_a, cells_b, sha256(passed), *own
            signature = frame.sign(identity, Kind.SHARES, version, digests)
        return cls(
            sealed.header,
            sealed.header_bytes,
            sealed.digests[1],
            sealed.cells_a,
            sealed.cells_b,
            sealed.version,
            sealed.seal_signature,
            extension,
            extension_bytes,
            share_a,
            share_b,
            signature,
            version,
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
                self._passed_signature,
                self.extension_bytes,
                self.share_a,
                self.share_b,
                self.attach_signature,
            ),
            self.version,
        )

    @classmethod
    def decode(cls, data: bytes) -> SharesBatch:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        sections, version = frame.decode(memoryview(data), Kind.SHARES, 9), frame.version_of(data)
        cells_a, cells_b, share_a, share_b = sections[2], sections[3], sections[6], sections[7]
        header, members_digest, passed, extension_bytes, signature = (bytes(sections[k]) for k in (0, 1, 4, 5, 8))
        try:
            extension = _decoder.decode(extension_bytes)
        except msgspec.MsgspecError as error:
            raise RecordMalformed(f"shares extension: {error}") from None
        seal_version, seal_signature = frame.passed_on(passed, version)
        return cls(
            decode_header(header),
            header,
            members_digest,
            cells_a,
            cells_b,
            seal_version,
            seal_signature,
            extension,
            extension_bytes,
            share_a,
            share_b,
            signature,
            version,
        )

    def verify(self, trusted: PinnedIdentities) -> None:
        """Raise unless `seal` signed the header and the cells, and `attach` all of it."""
        digests = self._seals_digests
        _verify_seal(trusted, self.seal_version, self.seal_signature, self.header_bytes, digests)
        own = sha256(self.share_a), sha256(self.share_b)
        if self.version == 1:
            parts = self.header_bytes, self.extension_bytes, *own
            trusted.verify("attach", _SHARES, self.attach_signature, *parts)
            return
        header, members, cells_a, cells_b = digests
        passed, extension = sha256(self._passed_signature), sha256(self.extension_bytes)
        covered = header, sha256(members), cells_a, cells_b, passed, extension, *own
        frame.verify(trusted, "attach", self.attach_signature, Kind.SHARES, self.version, covered)
