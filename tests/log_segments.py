"""Reads Kafka's own files: every record of a topic's log segments on disk, aborted and superseded ones as well.

Record batches of format 2, as in Kafka's protocol guide (section "Record Batch"); all integers big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import cramjam

_BATCH = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH = 12  # base offset and length, which the length does not count
_CONTROL = 0x20
_NONE, _LZ4 = 0, 3


def read_topic(data: Path, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Key and value of every record that lies in the files of a topic."""
    files = sorted(data.glob(f"{topic}-[0-9]*/*.log"))
    assert files, f"there is no log of {topic} in {data}"
    for file in files:
        yield from _read_segment(file.read_bytes())


def _read_segment(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    position = 0
    while position + _BATCH.size <= len(data):
        (_, length, _, magic, _, attributes, *_, count) = _BATCH.unpack_from(data, position)
        if length <= 0:
            return
        end = position + _BEFORE_LENGTH + length
        assert magic == 2
        body = data[position + _BATCH.size : end]
        compression = attributes & 7
        assert compression in (_NONE, _LZ4), compression
        if compression == _LZ4:
            body = bytes(cramjam.lz4.decompress(body))
        if not attributes & _CONTROL:
            yield from _read_records(body, count)
        position = end


def _read_records(body: bytes, count: int) -> Iterator[tuple[bytes, bytes | None]]:
    position = 0
    for _ in range(count):
        length, start = _varint(body, position)
        _, at = _varint(body, start + 1)  # after the attributes: the timestamp's difference
        _, at = _varint(body, at)  # the offset's difference
        key, at = _sized(body, at)
        value, at = _sized(body, at)
        yield key or b"", value
        position = start + length


def _sized(body: bytes, position: int) -> tuple[bytes | None, int]:
    length, at = _varint(body, position)
    return (None, at) if length < 0 else (body[at : at + length], at + length)


def _varint(body: bytes, position: int) -> tuple[int, int]:
    """A zigzag-coded integer, and where the next field begins."""
    shift = value = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
