"""The frame around every binary record: magic, version, kind, and length-prefixed sections.

    offset  size  field
    0       2     magic, "ES"
    2       1     format version
    3       1     kind
    4       2     number of sections, little-endian
    6       ...   each section: 4 bytes length, little-endian, then its bytes

Nothing may follow the last section. Decoding checks every length before it slices and never allocates more than the
record itself holds.

*Later versions.* Of the kinds that move with the data (`sealed`, `shares`, punctuation, releases) every version from 2
on keeps one promise, whatever else it changes: the layout above, and as last section the signature of the role that
writes the topic, over the head (the first six bytes) and the SHA-256 of each section before it. So a reader that cannot
read a record can still tell who wrote it. Signed by the topic's writer it is part of the log, and to pass over it would
lose it: the partition stops until the reader has been upgraded. Signed by nobody it is refused, like anything else that
anyone may write to a topic.

Keys and debits stay at version 1, where the signature covers the body alone. Keys go against the direction of the data
(a recipient announces what senders read), so they must not change in the same step.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Sequence
from typing import TypeVar

from secure_agg import Identity, PinnedIdentities, SignatureInvalid
from streams.errors import ProtocolStop, RecordMalformed, VersionUnknown

FORMAT_VERSION = 2
"""The version that is written of the kinds that move with the data; it and those before it are read."""

Data = TypeVar("Data", bytes, memoryview)

_FIRST_VERSION = 1
_HEAD = struct.Struct("<2sBBH")
_LENGTH = struct.Struct("<I")
_MAGIC = b"ES"
_SIGNED_AS = "frame"
WRITERS = {"sealed": "seal", "shares": "attach"}
"""Which role writes a topic of the data's way, by the topic's short name."""
_READERS = {"seal": "attach", "attach": "the parties a and b", "a": "publish", "b": "publish"}


class Kind(enum.IntEnum):
    """What a frame holds."""

    SEALED = 1
    SHARES = 2
    PUNCTUATION = 3
    RELEASE = 4
    EPOCH_KEY = 5
    WRAPPED_KEY = 6
    DEBIT = 7
    LAYOUT = 8
    KEY_DESTROYED = 9


_STILL_FIRST = frozenset((Kind.EPOCH_KEY, Kind.WRAPPED_KEY, Kind.DEBIT, Kind.LAYOUT, Kind.KEY_DESTROYED))


def newest_version(kind: Kind) -> int:
    """The version of a kind that is written, and the last that can be read."""
    return _FIRST_VERSION if kind in _STILL_FIRST else FORMAT_VERSION


def sha256(data: bytes | memoryview) -> bytes:
    """What a signature covers of a section."""
    return hashlib.sha256(data).digest()


def encode(kind: Kind, sections: Sequence[bytes | memoryview], version: int | None = None) -> bytes:
    """Put sections into a frame, of the newest version unless told otherwise."""
    parts: list[bytes | memoryview] = [_head(kind, newest_version(kind) if version is None else version, len(sections))]
    for section in sections:
        parts += (_LENGTH.pack(len(section)), section)
    return b"".join(parts)


def _head(kind: int, version: int, section_count: int) -> bytes:
    return _HEAD.pack(_MAGIC, version, kind, section_count)


def kind_of(data: bytes | memoryview) -> Kind:
    """The kind of a frame.

    Raises:
        VersionUnknown: it was written in a version that is not known here.
        RecordMalformed: it is no frame.
    """
    if len(data) < _HEAD.size:
        raise RecordMalformed(f"expected a frame of at least {_HEAD.size} bytes, got {len(data)}")
    magic, version, kind, _ = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise RecordMalformed("the record does not begin with the magic bytes ES")
    if version < _FIRST_VERSION:
        raise RecordMalformed(f"there is no format version {version}")
    # A later version may have other kinds, so its number is looked at first.
    if version > FORMAT_VERSION or (kind in _STILL_FIRST and version > _FIRST_VERSION):
        raise VersionUnknown(
            f"expected format version {_FIRST_VERSION if kind in _STILL_FIRST else FORMAT_VERSION} or an earlier one, "
            f"got {version}: upgrade this role"
        )
    try:
        return Kind(kind)
    except ValueError:
        raise RecordMalformed(f"unknown record kind {kind}") from None


def version_of(data: bytes | memoryview) -> int:
    """The version of a frame whose kind is known."""
    return data[2]


def decode(data: Data, kind: Kind, *section_counts: int) -> list[Data]:
    """Take a frame of ``kind`` apart into as many sections as it may have, or raise :class:`RecordMalformed`.

    Sections of ``bytes`` are copies; those of a ``memoryview`` are views of it: a batch is a hundred kilobytes.
    """
    found = kind_of(data)
    if found is not kind:
        raise RecordMalformed(f"expected a {kind.name} record, got {found.name}")
    count = _HEAD.unpack_from(data)[3]
    if count not in section_counts:
        expected = " or ".join(map(str, section_counts))
        raise RecordMalformed(f"a {kind.name} record has {expected} sections, this one has {count}")
    return _sections(data, kind.name)


def _sections(data: Data, name: str) -> list[Data]:
    sections: list[Data] = []
    position = _HEAD.size
    for _ in range(_HEAD.unpack_from(data)[3]):
        start = position + _LENGTH.size
        if start > len(data):
            raise RecordMalformed(f"a {name} record is cut off inside a section length")
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > len(data):
            raise RecordMalformed(f"a {name} record is cut off inside a section")
        sections.append(data[start:position])
    if position != len(data):
        raise RecordMalformed(f"a {name} record has {len(data) - position} bytes after its last section")
    return sections


# -- signatures from version 2 on ---------------------------------------------------------------------------------


def sign(identity: Identity, kind: Kind, version: int, digests: Sequence[bytes]) -> bytes:
    """The last section of a frame.

    Args:
        digests: the SHA-256 of each section before it, in order.
    """
    return identity.sign(_SIGNED_AS, _head(kind, version, len(digests) + 1), *digests)


def verify(
    trusted: PinnedIdentities, role: str, signature: bytes, kind: Kind, version: int, digests: Sequence[bytes]
) -> None:
    """Raise :class:`SignatureInvalid` unless ``role`` signed a frame of these sections; arguments as of ``sign``."""
    trusted.verify(role, _SIGNED_AS, signature, _head(kind, version, len(digests) + 1), *digests)


def passed_on(section: bytes, version: int) -> tuple[int, bytes]:
    """Format version and signature of seal's record, from the section in which `attach` passes them on.

    Args:
        version: of attach's record. In version 1 the section is the signature alone, of a record of version 1.
    """
    if version == 1:
        return 1, section
    if not section or not _FIRST_VERSION <= section[0] <= FORMAT_VERSION:
        raise RecordMalformed("what `attach` passes on of seal's signature does not begin with a format version")
    return section[0], section[1:]


def is_newer(data: bytes, writer: str, trusted: PinnedIdentities) -> bool:
    """Whether this is a record of a version that is not known here, signed by the role that writes the topic."""
    if len(data) < _HEAD.size or data[:2] != _MAGIC or version_of(data) <= FORMAT_VERSION:
        return False
    try:
        sections = _sections(data, "newer")
        if not sections:
            return False
        trusted.verify(writer, _SIGNED_AS, sections[-1], data[: _HEAD.size], *map(sha256, sections[:-1]))
    except (RecordMalformed, SignatureInvalid):
        return False
    return True


def stop_at_newer(data: bytes, writer: str, trusted: PinnedIdentities) -> None:
    """Raise :class:`ProtocolStop` where ``is_newer``: passed over, its rows would be lost behind the position."""
    if is_newer(data, writer, trusted):
        raise ProtocolStop(
            f"written in format version {version_of(data)} by {writer}, and this role reads versions up to "
            f"{FORMAT_VERSION}: upgrade {_READERS[writer]} first; nothing is lost, it goes on from here"
        )
