"""Salted commitments and coverage.

A *commitment* lets both parties check that `seal` gave them the same cells: SHA-256 over a domain tag, a fresh 32-byte
salt and the cells. Hiding rests on the salt, which only the two parties see; binding on SHA-256.

*Coverage* is what a party folded into one window: for each stream (source, i, j) the last sequence number, the number
of batches and rows, and a running SHA-256 over the batch headers. Two tables may be added only if their coverage is
identical. Outside the parties only an HMAC of it is shown, since exact counts are nobody else's business.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field

from secure_agg.errors import CommitmentMismatch

Buffer = bytes | bytearray | memoryview

SALT_BYTES = 32
DIGEST_BYTES = 32

_CELLS = b"evenstream/1/cells\0"
_COVERAGE = b"evenstream/1/coverage\0"
_STREAM = struct.Struct("<32sIIQQQ32s")


def commit(cells: Buffer, salt: Buffer) -> bytes:
    """Commit to the cells of one batch: 32 bytes. ``cells`` is the exact byte string inside the envelope."""
    state = hashlib.sha256(_CELLS)
    state.update(salt)
    state.update(cells)  # where they lie: joined bytes would be a copy that nobody could overwrite
    return state.digest()


def fresh_salt() -> bytes:
    """32 random bytes for one commitment."""
    return os.urandom(SALT_BYTES)


def check(commitment: bytes, cells: Buffer, salt: Buffer) -> None:
    """Raise :class:`CommitmentMismatch` unless ``commitment`` opens to these cells."""
    # The salt's length is part of the binding: bytes moved between salt and cells would leave the hash as it is.
    if len(salt) != SALT_BYTES or not hmac.compare_digest(commitment, commit(cells, salt)):
        raise CommitmentMismatch(
            "the cells in this envelope are not those committed to in the header: seal gave the parties different "
            "cells, or the record was altered; nothing of this batch was folded"
        )


@dataclass(frozen=True, order=True)
class Stream:
    """One sequence of batches: a source topic (32-byte SHA-256 of its name), its partition i, our partition j."""

    source: bytes
    i: int
    j: int


@dataclass
class StreamCoverage:
    """What was folded of one stream into one window."""

    last_sequence: int = -1
    batches: int = 0
    rows: int = 0
    chain: bytes = bytes(DIGEST_BYTES)

    def add(self, sequence: int, rows: int, header_digest: bytes) -> None:
        """Take in one more batch, in sequence order."""
        self.last_sequence = sequence
        self.batches += 1
        self.rows += rows
        self.chain = hashlib.sha256(self.chain + header_digest).digest()


@dataclass
class Coverage:
    """What was folded into one window, over all streams."""

    streams: dict[Stream, StreamCoverage] = field(default_factory=dict)

    def add(self, stream: Stream, sequence: int, rows: int, header_digest: bytes) -> None:
        """Take in one more batch of ``stream``."""
        self.streams.setdefault(stream, StreamCoverage()).add(sequence, rows, header_digest)

    def digest(self) -> bytes:
        """SHA-256 over all streams in a canonical order: 32 bytes, equal only for equal coverage."""
        state = hashlib.sha256(_COVERAGE)
        for stream, seen in sorted(self.streams.items()):
            state.update(
                _STREAM.pack(stream.source, stream.i, stream.j, seen.last_sequence, seen.batches, seen.rows, seen.chain)
            )
        return state.digest()


def combine(so_far: bytes, window_digest: bytes) -> bytes:
    """Coverage of a roll-up: SHA-256 chained over the coverage digests of its base windows, in time order."""
    return hashlib.sha256(_COVERAGE + b"roll-up\0" + so_far + window_digest).digest()


def authenticate(key: bytes, coverage_digest: bytes, binding: bytes) -> bytes:
    """The HMAC-SHA-256 that a release shows of its coverage.

    Args:
        key: 32 bytes, known to both parties and to no one else.
        coverage_digest: 32 bytes.
        binding: the measurement, level and window, so that equal coverage of two windows is not recognisable.
    """
    return hmac.new(key, _COVERAGE + binding + coverage_digest, hashlib.sha256).digest()
