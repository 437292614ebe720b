"""What lies in a broker's log segments: record batches, decompressed.

A compressed batch hides what is in it from a search of the file's bytes, so every batch is opened as the file has it:
committed or aborted, of evenstream's topics or of Kafka's own (`__transaction_state`, `__consumer_offsets`, the
metadata log), in segments in use or renamed for deletion. The format is Kafka's record batch of magic 2 (Kafka
documentation, "Record Batch").
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cramjam

from streams.errors import InputError

_HEADER = struct.Struct(">qiibIhiqqqhii")
_MAGIC = 2
_CODEC_BITS = 7


def _snappy(data: bytes) -> bytes:
    """Snappy as Java clients frame it (a magic of 16 bytes, then blocks with their lengths), or one bare block."""
    if not data.startswith(b"\x82SNAPPY\0"):
        return bytes(cramjam.snappy.decompress_raw(data))
    out, place = b"", 16
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        out += bytes(cramjam.snappy.decompress_raw(data[place + 4 : place + 4 + size]))
        place += 4 + size
    return out


_DECOMPRESS: dict[int, Callable[[bytes], bytes]] = {
    1: lambda data: bytes(cramjam.gzip.decompress(data)),
    2: _snappy,
    3: lambda data: bytes(cramjam.lz4.decompress(data)),
    4: lambda data: bytes(cramjam.zstd.decompress(data)),
}


@dataclass
class SegmentContent:
    """The batches of one segment file.

    Attributes:
        batches, records: how many. decompressed: the records of compressed batches, in clear.
    """

    batches: int = 0
    records: int = 0
    decompressed: list[bytes] = field(default_factory=list)


def read_segment(data: bytes, name: str) -> SegmentContent:
    """Read a segment's batches, up to its end or to what was only reserved.

    Raises:
        InputError: bytes that are no record batch, or that do not decompress: then the search would be blind to them.
    """
    content = SegmentContent()
    for attributes, count, payload in _batches(data, name):
        content.batches += 1
        content.records += count
        codec = attributes & _CODEC_BITS
        if codec:
            if codec not in _DECOMPRESS:
                raise InputError(f"{name} holds a batch of an unknown compression, {codec}: it cannot be searched")
            try:
                content.decompressed.append(_DECOMPRESS[codec](payload))
            except (cramjam.DecompressionError, ValueError) as error:
                raise InputError(f"{name} holds a batch that does not decompress ({error})") from None
    return content


def _batches(data: bytes, name: str) -> Iterator[tuple[int, int, bytes]]:
    """(attributes, number of records, records) of each batch."""
    place = 0
    while place + _HEADER.size <= len(data):
        _, length, _, magic, _, attributes, *_, count = _HEADER.unpack_from(data, place)
        end = place + 12 + length
        if length == 0 and not any(data[place:]):
            return  # reserved, not written
        if magic != _MAGIC or length < _HEADER.size - 12:
            raise InputError(f"{name} holds no record batch at byte {place}: it cannot be searched")
        if end > len(data):
            return  # the broker was writing it
        yield attributes, count, data[place + _HEADER.size : end]
        place = end
