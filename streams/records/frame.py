"""The frame around every binary record: magic, version, kind, and length-prefixed sections.

    offset  size  field
    0       2     magic, "ES"
    2       1     format version, 1
    3       1     kind
    4       2     number of sections, little-endian
    6       ...   each section: 4 bytes length, little-endian, then its bytes

Nothing may follow the last section. Decoding checks every length before it slices and never allocates more than the
record itself holds.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence

from streams.errors import RecordMalformed

FORMAT_VERSION = 1
_HEAD = struct.Struct("<2sBBH")
_LENGTH = struct.Struct("<I")


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


def encode(kind: Kind, sections: Sequence[bytes]) -> bytes:
    """Put sections into a frame."""
    parts = [_HEAD.pack(b"ES", FORMAT_VERSION, kind, len(sections))]
    for section in sections:
        parts += (_LENGTH.pack(len(section)), section)
    return b"".join(parts)


def kind_of(data: bytes) -> Kind:
    """The kind of a frame, or :class:`RecordMalformed`."""
    if len(data) < _HEAD.size:
        raise RecordMalformed(f"expected a frame of at least {_HEAD.size} bytes, got {len(data)}")
    magic, version, kind, _ = _HEAD.unpack_from(data)
    if magic != b"ES":
        raise RecordMalformed("the record does not begin with the magic bytes ES")
    if version != FORMAT_VERSION:
        raise RecordMalformed(f"expected format version {FORMAT_VERSION}, got {version}: upgrade this role first")
    try:
        return Kind(kind)
    except ValueError:
        raise RecordMalformed(f"unknown record kind {kind}") from None


def decode(data: bytes, kind: Kind, section_count: int) -> list[bytes]:
    """Take a frame of ``kind`` apart into exactly ``section_count`` sections, or raise :class:`RecordMalformed`."""
    found = kind_of(data)
    if found is not kind:
        raise RecordMalformed(f"expected a {kind.name} record, got {found.name}")
    count = _HEAD.unpack_from(data)[3]
    if count != section_count:
        raise RecordMalformed(f"a {kind.name} record has {section_count} sections, this one has {count}")
    sections = []
    position = _HEAD.size
    for _ in range(count):
        start = position + _LENGTH.size
        if start > len(data):
            raise RecordMalformed(f"a {kind.name} record is cut off inside a section length")
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > len(data):
            raise RecordMalformed(f"a {kind.name} record is cut off inside a section")
        sections.append(data[start:position])
    if position != len(data):
        raise RecordMalformed(f"a {kind.name} record has {len(data) - position} bytes after its last section")
    return sections
