"""A release: the only way out. One party's table share plus that party's own noise, for one closed window.

    RELEASE  0 body               MessagePack array, the fields below
             1 table              cells x groups ring elements, u64 little-endian; empty unless status is "released"
             2 party's signature  over body and table

Every scheduled window is released, empty ones too: existence must not tell. Once written, a release's bytes never
change: the signature is deterministic, and no clock reading is inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from secure_agg import Identity, PinnedIdentities
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.header import Count, Digest, Milliseconds

_KIND = "release"


class Release(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a party says of one window.

    Attributes:
        party: "a" or "b".
        measurement, revision, spec: what was measured, as in a batch header.
        level: the window's level, by its length ("10s").
        start_ms, end_ms: the window.
        status: "released"; "void" (must not be published); "refused" (the budget forbids it).
        reason: why it is not "released", else empty.
        coverage: HMAC-SHA-256 of what was folded; both parties' must be equal.
        cells, columns: shape of the table.
        sigma_units: standard deviation of this party's noise, in fixed-point units.
        rho: what this release cost a member-day (zCDP, on replacement).
    """

    party: Literal["a", "b"]
    measurement: Annotated[str, Meta(min_length=1, max_length=63)]
    revision: Count
    spec: Digest
    level: Annotated[str, Meta(min_length=1, max_length=16)]
    start_ms: Milliseconds
    end_ms: Milliseconds
    status: Literal["released", "void", "refused"]
    reason: Annotated[str, Meta(max_length=200)]
    coverage: Digest
    cells: Annotated[int, Meta(ge=1, le=65535)]
    columns: Annotated[int, Meta(ge=1, le=255)]
    sigma_units: float
    rho: float

    @property
    def key(self) -> tuple[str, str, int]:
        """(measurement, level, end): what the two parties' releases are matched by."""
        return self.measurement, self.level, self.end_ms

    def topic_key(self) -> bytes:
        """The record's key."""
        return f"{self.measurement}/{self.level}/{self.end_ms}".encode()

    def coverage_binding(self) -> bytes:
        """What the coverage HMAC is bound to."""
        return self.spec + f"/{self.level}/{self.end_ms}".encode()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Release)


@dataclass(frozen=True)
class SignedRelease:
    """A release with its noised table share and its party's signature.

    Attributes:
        table: shape (cells, columns), uint64, or None unless the status is "released".
    """

    release: Release
    body: bytes
    table_bytes: bytes
    signature: bytes

    @classmethod
    def signed(cls, identity: Identity, release: Release, table: NDArray[np.uint64] | None) -> SignedRelease:
        """Sign a release under the party's identity."""
        body = _encoder.encode(release)
        table_bytes = b"" if table is None else table.astype("<u8").tobytes()
        return cls(release, body, table_bytes, identity.sign(_KIND, body, table_bytes))

    @property
    def table(self) -> NDArray[np.uint64] | None:
        """The noised share, or None."""
        if not self.table_bytes:
            return None
        flat = np.frombuffer(self.table_bytes, dtype="<u8").astype(np.uint64)
        return flat.reshape(self.release.cells, self.release.columns)

    def encode(self) -> bytes:
        """The record's value."""
        return frame.encode(Kind.RELEASE, (self.body, self.table_bytes, self.signature))

    @classmethod
    def decode(cls, data: bytes) -> SignedRelease:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        body, table_bytes, signature = frame.decode(data, Kind.RELEASE, 3)
        try:
            release = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the second: text that is not UTF-8
            raise RecordMalformed(f"release: {error}") from None
        # What is not a window, or no amount of noise, would fail in `publish` instead, at every restart.
        if not (release.start_ms < release.end_ms and 0 <= release.sigma_units < inf and 0 <= release.rho < inf):
            raise RecordMalformed("release: expected a window that ends after its start, and finite noise and cost")
        expected = 8 * release.cells * release.columns if release.status == "released" else 0
        if len(table_bytes) != expected:
            raise RecordMalformed(f"release: expected {expected} bytes of table, got {len(table_bytes)}")
        return cls(release, body, table_bytes, signature)

    def verify(self, trusted: PinnedIdentities) -> None:
        """Raise unless the party that it names signed it."""
        trusted.verify(self.release.party, _KIND, self.signature, self.body, self.table_bytes)
