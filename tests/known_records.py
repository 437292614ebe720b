"""Records whose every byte is known, and ways to damage them.

Identities come from fixed seeds, and Ed25519 signs deterministically, so one example of each record can be pinned in
`tests/streams/records/golden/` as hexadecimal digits: a change of the wire format shows there as a changed file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from secure_agg import ROLES, Identity, PinnedIdentities, SignatureInvalid
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.batches import (
    CHANNEL_MOMENTS,
    CHANNEL_RECTIFIER,
    CHANNEL_TABLE,
    Extension,
    SealedBatch,
    SharesBatch,
)
from streams.records.debit import NO_DEBIT, SignedDebit
from streams.records.header import Header, encode_header, source_digest
from streams.records.punctuation import Counting, Passage, Punctuation, SignedPunctuation, SourceProgress
from streams.records.release import Release, ReleasedChannel, SignedRelease

GOLDEN = Path(__file__).parent / "streams" / "records" / "golden"
DEPLOYMENT = "golden"
SOURCE = source_digest("rec-events")
NOT_UTF8 = b"\xff\xfe\xfd\xfc"


def identity(role: str, deployment: str = DEPLOYMENT) -> Identity:
    """A role's identity, the same in every run."""
    seed = hashlib.sha256(f"test identity of {role}".encode()).digest()
    return Identity(role, deployment, Ed25519PrivateKey.from_private_bytes(seed))


TRUSTED = PinnedIdentities(DEPLOYMENT, {role: identity(role).private_key.public_key() for role in ROLES})

HEADER = Header(
    measurement="feed",
    revision=3,
    spec=bytes(range(32)),
    window_end_ms=1_764_000_010_000,
    source=SOURCE,
    i=2,
    j=5,
    sequence=1_000_000,
    rows=3,
    process=b"process1",
    attach_epoch=11,
    a_epoch=12,
    b_epoch=13,
    commitment=bytes(range(32, 64)),
)
CHANNELS = CHANNEL_TABLE | CHANNEL_RECTIFIER | CHANNEL_MOMENTS
EXTENSION = Extension(process=b"process2", a_epoch=22, b_epoch=23, channels=CHANNELS, columns=12, tail=23)
PUNCTUATION = Punctuation(
    process=b"process1",
    j=5,
    clock_ms=1_764_000_011_500,
    measurements_offset=4,
    sources=(SourceProgress(SOURCE, 2, 4, 1_764_000_011_000, 1_000_001), SourceProgress(SOURCE, 3, 4, -1, 0)),
    counting=(Counting(bytes(range(32)), SOURCE, -(1 << 53)),),
)
PASSAGE = Passage(b"process2", 1_764_000_011_600, 3)
RELEASE = Release(
    party="a",
    measurement="feed",
    revision=3,
    spec=bytes(range(32)),
    level="10s",
    start_ms=1_764_000_000_000,
    end_ms=1_764_000_010_000,
    status="released",
    reason="",
    coverage=bytes(range(64, 96)),
    debit=bytes(range(96, 128)),
    channels=(
        ReleasedChannel("table", (2, 6), 1_000_000.5, 0.025),
        ReleasedChannel("rectifier", (2, 6), 2_000_000.5, 0.02),
        ReleasedChannel("moments", (23,), 3_000_000.5, 0.005),
    ),
)


DEBIT = (
    b'{"at_ms":17,"day":"2025-11-24","measurement":"feed","party":"a","previous":"' + b"0" * 64 + b'","revision":3,'
    b'"rho":0.1,"sequence":0,"spec_sha256":"' + bytes(range(32)).hex().encode() + b'"}'
)
NOTHING_RELEASED = {"status": "void", "reason": "x", "debit": NO_DEBIT}


def debited() -> SignedDebit:
    """A debit as its party signs it."""
    return SignedDebit.signed(identity("a"), DEBIT)


def sealed(header: Header = HEADER) -> SealedBatch:
    """A batch as `seal` signs it; its ciphertexts are plain text, which no record looks into."""
    sections = b"members for attach", b"cells for a", b"cells for b, longer"
    return SealedBatch.signed(identity("seal"), header, encode_header(header), *sections)


def shares(extension: Extension = EXTENSION) -> SharesBatch:
    """The same batch as `attach` passes it on."""
    return SharesBatch.signed(identity("attach"), sealed(), extension, b"seed for a", b"masked values for b")


def told() -> SignedPunctuation:
    """Punctuation as `seal` writes it."""
    return SignedPunctuation.signed(identity("seal"), PUNCTUATION)


def passed_on() -> SignedPunctuation:
    """The same punctuation in `shares`."""
    return told().passed_on(identity("attach"), PASSAGE)


def released(release: Release = RELEASE) -> SignedRelease:
    """A release; its values are there only where the status says so."""
    values = {
        channel.name: np.arange(channel.size, dtype=np.uint64).reshape(channel.shape)
        * np.uint64(0x0123456789ABCDEF + len(channel.name))
        for channel in release.channels
    }
    return SignedRelease.signed(identity(release.party), release, values if release.status == "released" else None)


# -- versions -----------------------------------------------------------------------------------------------------


@contextmanager
def of_version(version: int) -> Iterator[None]:
    """Inside, this process is the software whose newest format version is this one."""
    known, frame.FORMAT_VERSION = frame.FORMAT_VERSION, version
    try:
        yield
    finally:
        frame.FORMAT_VERSION = known


def later(
    signer: Identity, kind: int, version: int = 3, sections: Sequence[bytes] = (b"what version 3 holds", b"", b"x" * 9)
) -> bytes:
    """A record of a later version, of which only the frame and its last section are as today."""
    head = frame._head(kind, version, len(sections) + 1)
    signature = signer.sign("frame", head, *(hashlib.sha256(section).digest() for section in sections))
    return frame.encode(kind, [*sections, signature], version)  # type: ignore[arg-type]


# -- golden files -------------------------------------------------------------------------------------------------


def golden(name: str) -> bytes:
    """The pinned bytes of a record."""
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def as_hex(value: bytes) -> str:
    """A record as its golden file holds it: 32 bytes a line."""
    return "".join(value[start : start + 32].hex() + "\n" for start in range(0, len(value), 32))


def brief(value: object) -> str:
    """A parameter as part of a test's name: hostile ones would make it as long as themselves."""
    return repr(value)[:50]


# -- damage -------------------------------------------------------------------------------------------------------


def sections_of(value: bytes) -> list[bytes]:
    """The sections of a sound frame."""
    return frame.decode(value, frame.kind_of(value), int.from_bytes(value[4:6], "little"))


def with_section(value: bytes, number: int, section: bytes) -> bytes:
    """The frame with one section replaced."""
    sections = sections_of(value)
    sections[number] = section
    return frame.encode(frame.kind_of(value), sections, frame.version_of(value))


def tampered(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Sections cut, emptied, lengthened, altered at each byte, two swapped; other versions; the whole cut short."""
    sections = sections_of(value)
    for number, section in enumerate(sections):
        changes = {"emptied": b"", "lengthened": section + b"\0", "cut": section[:-1], "begun late": section[1:]}
        changes |= {
            f"bit of byte {place}": section[:place] + bytes([byte ^ 1 << place % 8]) + section[place + 1 :]
            for place, byte in enumerate(section)
        }
        for how, changed in changes.items():
            if changed != section:
                yield f"section {number} {how}", with_section(value, number, changed)
    for one, other in combinations(range(len(sections)), 2):
        swapped = list(sections)
        swapped[one], swapped[other] = sections[other], sections[one]
        if swapped != sections:
            kind, version = frame.kind_of(value), frame.version_of(value)
            yield f"sections {one} and {other} swapped", frame.encode(kind, swapped, version)
    for version in set(range(frame.FORMAT_VERSION + 3)) - {frame.version_of(value)}:
        yield f"as version {version}", value[:2] + bytes((version,)) + value[3:]
    for length in range(len(value)):
        yield f"cut to {length} bytes", value[:length]
    yield "with a byte after it", value + b"\0"


def accepted(judge: Callable[[bytes], object], value: bytes) -> list[str]:
    """Which ways of tampering with a record ``judge`` lets pass; all others must be malformed or badly signed."""
    passed = []
    for how, changed in tampered(value):
        try:
            judge(changed)
        except (RecordMalformed, SignatureInvalid):
            continue
        passed.append(how)
    return passed


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


def packed(values: list[object]) -> bytes:
    """A MessagePack array, as bodies are written."""
    return msgspec.msgpack.encode(values)


@st.composite
def _other_fields(draw: st.DrawFn, body: bytes) -> bytes:
    fields = list(msgspec.msgpack.decode(body))
    for place in draw(st.lists(st.integers(0, len(fields) - 1), min_size=1, max_size=3)):
        fields[place] = draw(_ANYTHING)
    return packed(fields[: draw(st.integers(0, len(fields)))] if draw(st.integers(0, 9)) == 0 else fields)


@st.composite
def _damaged(draw: st.DrawFn, value: bytes) -> bytes:
    data = bytearray(value)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 1, 1, 4, 40]))
        data[place : place + length] = draw(st.binary(max_size=4))
    return bytes(data)


def hostile_body(body: bytes) -> st.SearchStrategy[bytes]:
    """Bytes in place of a MessagePack array: arbitrary, a sound one damaged, or one with other fields."""
    return st.binary(max_size=80) | _damaged(body) | _other_fields(body)


@st.composite
def hostile_frame(draw: st.DrawFn, value: bytes, body: int) -> bytes:
    """Bytes in place of a record whose section ``body`` is a MessagePack array: what anyone may write to a topic."""
    if draw(st.booleans()):
        return with_section(value, body, draw(hostile_body(sections_of(value)[body])))
    return draw(st.binary(max_size=80) | _damaged(value))
