"""A release: the only way out. One party's share of each channel plus that party's own noise, for one closed window.

    RELEASE  0 body               MessagePack array, the fields below
             1 values             ring elements, u64 little-endian, of the channels in the order in which the body names
                                  them; empty unless status is "released"
             2 party's signature  over the head and the SHA-256 of sections 0 and 1 (in version 1, which is still
                                  read, over body and values under the kind "release")

Every scheduled window is released, empty ones too: existence must not tell. Once written, a release's bytes never
change: the signature is deterministic, and no clock reading is inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from secure_agg import Identity, PinnedIdentities
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.debit import NO_DEBIT
from streams.records.frame import Kind, sha256
from streams.records.header import Count, Digest, Milliseconds

_KIND = "release"
_ORDER = ("table", "rectifier", "moments")

_Size = Annotated[int, Meta(ge=1, le=65535)]


class ReleasedChannel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One channel of a release.

    Attributes:
        name: "table", "rectifier" or "moments".
        shape: of its values, row by row: (cells, groups), of moments (k (k + 1) / 2 + 2 + k,).
        sigma_units: scale of this party's noise, in fixed-point units.
        rho: what the channel costs a member-day (zCDP, on replacement).
    """

    name: Literal["table", "rectifier", "moments"]
    shape: Annotated[tuple[_Size, ...], Meta(min_length=1, max_length=2)]
    sigma_units: float
    rho: float

    @property
    def size(self) -> int:
        """Ring elements."""
        return math.prod(self.shape)


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
        debit: SHA-256 of the debit that pays for it, in the party's own ledger; zeros where nothing was released.
        channels: what the window releases: the table first, then rectifier and moments where they are there.
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
    debit: Digest
    channels: Annotated[tuple[ReleasedChannel, ...], Meta(min_length=1, max_length=3)]

    @property
    def size(self) -> int:
        """Ring elements of all channels."""
        return sum(channel.size for channel in self.channels)

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
_RING_HALF = 2.0**63


def _in_order(channels: tuple[ReleasedChannel, ...]) -> bool:
    places = [_ORDER.index(channel.name) for channel in channels]
    shaped = all(len(channel.shape) == (1 if channel.name == "moments" else 2) for channel in channels)
    return shaped and places[0] == 0 and places == sorted(set(places))


@dataclass(frozen=True)
class SignedRelease:
    """A release with its noised shares and its party's signature."""

    release: Release
    body: bytes
    values: bytes
    signature: bytes
    version: int

    @classmethod
    def signed(
        cls, identity: Identity, release: Release, channels: Mapping[str, NDArray[np.uint64]] | None
    ) -> SignedRelease:
        """Sign a release under the party's identity.

        Args:
            channels: each channel's noised share, by name, uint64; None unless the status is "released".
        """
        version = frame.newest_version(Kind.RELEASE)
        body, values = _encoder.encode(release), b""
        if channels is not None:
            values = b"".join(channels[channel.name].astype("<u8").tobytes() for channel in release.channels)
        if version == 1:
            signature = identity.sign(_KIND, body, values)
        else:
            signature = frame.sign(identity, Kind.RELEASE, version, (sha256(body), sha256(values)))
        return cls(release, body, values, signature, version)

    def channel(self, name: str) -> NDArray[np.uint64] | None:
        """A channel's noised share in its shape, uint64; None where it is not there, or nothing was released."""
        offset = 0
        for channel in self.release.channels if self.values else ():
            if channel.name == name:
                flat = np.frombuffer(self.values, dtype="<u8", count=channel.size, offset=8 * offset)
                return flat.astype(np.uint64).reshape(channel.shape)
            offset += channel.size
        return None

    def encode(self) -> bytes:
        """The record's value."""
        return frame.encode(Kind.RELEASE, (self.body, self.values, self.signature), self.version)

    @classmethod
    def decode(cls, data: bytes) -> SignedRelease:
        """Take a record apart, or raise :class:`RecordMalformed`. Says nothing about who sent it."""
        body, values, signature = frame.decode(data, Kind.RELEASE, 3)
        try:
            release = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the second: text that is not UTF-8
            raise RecordMalformed(f"release: {error}") from None
        # What is not a window, or no amount of noise, would fail in `publish` instead, at every restart. More noise
        # than the ring holds is none, and its variance would pass what a float can be.
        sound = all(
            0 <= channel.sigma_units < _RING_HALF and 0 <= channel.rho < _RING_HALF**2 for channel in release.channels
        )
        if not (release.start_ms < release.end_ms and sound):
            raise RecordMalformed(
                "release: expected a window that ends after its start, noise below 2^63 and a cost below 2^126"
            )
        if not _in_order(release.channels):
            raise RecordMalformed("release: expected the table, then rectifier and moments, each once and in its shape")
        expected = 8 * release.size if release.status == "released" else 0
        if len(values) != expected:
            raise RecordMalformed(f"release: expected {expected} bytes of values, got {len(values)}")
        if (release.debit == NO_DEBIT) == (release.status == "released"):
            raise RecordMalformed("release: expected the debit that pays for what is released, and for nothing else")
        return cls(release, body, values, signature, frame.version_of(data))

    def verify(self, trusted: PinnedIdentities) -> None:
        """Raise unless the party that it names signed it."""
        if self.version == 1:
            trusted.verify(self.release.party, _KIND, self.signature, self.body, self.values)
            return
        digests = sha256(self.body), sha256(self.values)
        frame.verify(trusted, self.release.party, self.signature, Kind.RELEASE, self.version, digests)
