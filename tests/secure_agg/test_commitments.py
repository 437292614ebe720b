"""Commitments open to one thing only; coverage is equal only where the same batches were folded."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg import CommitmentMismatch, Coverage, Stream, StreamCoverage
from secure_agg.commitments import SALT_BYTES, authenticate, check, combine, commit, fresh_salt

SOURCE = hashlib.sha256(b"rec-events").digest()
OTHER = hashlib.sha256(b"other-events").digest()
SALT = bytes(range(32))
CELLS = struct.pack("<5H", 3, 0, 19, 3, 7)
# (source, i, j, rows) of batches; the sequence numbers follow from the order within a stream.
BATCH = st.tuples(st.sampled_from([SOURCE, OTHER]), st.integers(0, 2), st.integers(0, 2), st.integers(0, 4096))
Batch = tuple[bytes, int, int, int]


def covered(batches: list[Batch]) -> Coverage:
    """The coverage of these batches, each with a header digest that its place in its stream decides."""
    coverage = Coverage()
    for source, i, j, rows in batches:
        stream = Stream(source, i, j)
        sequence = coverage.streams[stream].batches if stream in coverage.streams else 0
        coverage.add(stream, sequence, rows, hashlib.sha256(f"{i}/{j}/{sequence}/{rows}".encode()).digest())
    return coverage


def plain_digest(batches: list[Batch]) -> bytes:
    """The digest as the docstrings describe it, written without this room's classes."""
    streams: dict[tuple[bytes, int, int], list[bytes | int]] = {}
    for source, i, j, rows in batches:
        seen = streams.setdefault((source, i, j), [-1, 0, 0, bytes(32)])
        last, count, total, chain = seen
        assert isinstance(last, int) and isinstance(count, int) and isinstance(total, int) and isinstance(chain, bytes)
        header_digest = hashlib.sha256(f"{i}/{j}/{count}/{rows}".encode()).digest()
        seen[:] = [last + 1, count + 1, total + rows, hashlib.sha256(chain + header_digest).digest()]
    packed = b"".join(
        struct.pack("<32sIIQQQ32s", *key, *streams[key]) for key in sorted(streams, key=lambda k: (k[0], k[1], k[2]))
    )
    return hashlib.sha256(b"evenstream/1/coverage\0" + packed).digest()


def plain_hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 as RFC 2104 writes it, for keys of up to 64 bytes."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def flipped(data: bytes) -> list[bytes]:
    """Every way to flip one bit."""
    return [
        bytes(byte ^ (1 << n % 8 if n // 8 == index else 0) for index, byte in enumerate(data))
        for n in range(8 * len(data))
    ]


def mismatch(commitment: bytes, cells: bytes, salt: bytes) -> None:
    """Check that this does not open, and that the error tells neither cells nor salt."""
    with pytest.raises(CommitmentMismatch, match="not those committed to in the header") as caught:
        check(commitment, cells, salt)
    for hidden in (cells, salt, commitment):
        assert len(hidden) < 4 or hidden.hex() not in str(caught.value)


@given(cells=st.binary(max_size=200), salt=st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_a_commitment_opens_to_its_cells(cells: bytes, salt: bytes) -> None:
    """It is SHA-256 over the domain tag, the salt and the cells, and opens to exactly these."""
    commitment = commit(cells, salt)
    assert commitment == hashlib.sha256(b"evenstream/1/cells\0" + salt + cells).digest()
    check(commitment, cells, salt)


def test_any_altered_bit_does_not_open() -> None:
    """Each bit of the commitment, of the cells and of the salt counts."""
    commitment = commit(CELLS, SALT)
    for changed in flipped(commitment):
        mismatch(changed, CELLS, SALT)
    for changed in flipped(CELLS):
        mismatch(commitment, changed, SALT)
    for changed in flipped(SALT):
        mismatch(commitment, CELLS, changed)


@pytest.mark.parametrize("cells", [b"", CELLS[:-2], CELLS + b"\0\0", CELLS[2:] + CELLS[:2]])
def test_cells_lost_added_or_reordered_do_not_open(cells: bytes) -> None:
    """The order and the number of the cells are committed to, not only their set."""
    mismatch(commit(CELLS, SALT), cells, SALT)


@pytest.mark.parametrize("commitment", [b"", commit(CELLS, SALT)[:-1], commit(CELLS, SALT) + b"\0"])
def test_a_commitment_of_another_length_does_not_open(commitment: bytes) -> None:
    """A truncated commitment is no commitment to everything that begins like it."""
    mismatch(commitment, CELLS, SALT)


@pytest.mark.parametrize("moved", [-32, -2, 2, 10])
def test_the_border_between_salt_and_cells_cannot_move(moved: int) -> None:
    """The same bytes cut elsewhere would let `seal` show two parties different cells: a salt has 32 bytes."""
    both = SALT + CELLS
    mismatch(commit(CELLS, SALT), both[32 + moved :], both[: 32 + moved])


def test_salts_are_fresh() -> None:
    """Two batches with the same cells never show that they are the same: their salts, so their commitments, differ."""
    salts = {fresh_salt() for _ in range(200)}
    assert len(salts) == 200
    assert {len(salt) for salt in salts} == {SALT_BYTES}
    assert len({commit(CELLS, salt) for salt in salts}) == 200


@given(batches=st.lists(BATCH, max_size=12))
@examples(60)
def test_the_digest_is_as_documented(batches: list[Batch]) -> None:
    """For any batches the digest equals one computed by hand from the documented layout."""
    assert covered(batches).digest() == plain_digest(batches)


def test_the_digest_of_nothing_is_pinned() -> None:
    """Empty windows are released too: their coverage is the bare domain tag's hash, not something random."""
    assert Coverage().digest() == hashlib.sha256(b"evenstream/1/coverage\0").digest()


@given(batches=st.lists(BATCH, max_size=10), data=st.data())
@examples(60)
def test_streams_may_be_met_in_any_order(batches: list[Batch], data: st.DataObject) -> None:
    """Kafka orders batches within a partition only: any interleaving of whole streams has the same digest."""
    order = data.draw(st.permutations(sorted({batch[:3] for batch in batches})))
    regrouped = [batch for stream in order for batch in batches if batch[:3] == stream]
    assert covered(regrouped).digest() == covered(batches).digest()


@given(batches=st.lists(BATCH, max_size=10), others=st.lists(BATCH, max_size=10))
@examples(60)
def test_other_batches_have_other_coverage(batches: list[Batch], others: list[Batch]) -> None:
    """One batch dropped, added or swapped in any stream changes the digest, so the tables are never added."""

    def by_stream(some: list[Batch]) -> dict[tuple[bytes, int, int], list[int]]:
        return {key: [b[3] for b in some if b[:3] == key] for key in {b[:3] for b in some}}

    for candidate in (others, batches[:-1], [*batches, (SOURCE, 0, 0, 1)], batches[::-1]):
        same = by_stream(candidate) == by_stream(batches)
        assert (covered(candidate).digest() == covered(batches).digest()) is same


@pytest.mark.parametrize(
    "change",
    [
        lambda stream, seen: (replace(stream, source=OTHER), seen),
        lambda stream, seen: (replace(stream, i=stream.i + 1), seen),
        lambda stream, seen: (replace(stream, j=stream.j + 1), seen),
        lambda stream, seen: (replace(stream, i=stream.j, j=stream.i), seen),
        lambda stream, seen: (stream, replace(seen, last_sequence=seen.last_sequence + 1)),
        lambda stream, seen: (stream, replace(seen, batches=seen.batches + 1)),
        lambda stream, seen: (stream, replace(seen, rows=seen.rows - 1)),
        lambda stream, seen: (stream, replace(seen, batches=seen.rows, rows=seen.batches)),
        lambda stream, seen: (stream, replace(seen, chain=bytes(32))),
    ],
)
def test_every_field_counts(change: Callable[[Stream, StreamCoverage], tuple[Stream, StreamCoverage]]) -> None:
    """Each field of a stream and of what was folded of it is in the digest."""
    stream, seen = Stream(SOURCE, 1, 2), StreamCoverage(9, 3, 400, hashlib.sha256(b"chain").digest())
    assert Coverage(dict([change(stream, seen)])).digest() != Coverage({stream: seen}).digest()


def test_the_chain_tells_order_and_headers() -> None:
    """Same counts, but headers swapped or another header: the running hash differs."""
    first, second, third = (hashlib.sha256(bytes([n])).digest() for n in range(3))
    digests = set()
    for headers in ([first, second], [second, first], [first, third]):
        coverage = Coverage()
        for sequence, header in enumerate(headers):
            coverage.add(Stream(SOURCE, 0, 0), sequence, 10, header)
        digests.add(coverage.digest())
    assert len(digests) == 3


@given(batches=st.lists(BATCH, min_size=1, max_size=8), cut=st.integers(0, 8))
@examples(40)
def test_coverage_goes_on_after_a_restart(batches: list[Batch], cut: int) -> None:
    """Put together again from its stored fields, coverage ends where the one that never stopped does."""
    restored = Coverage(
        {
            Stream(s.source, s.i, s.j): StreamCoverage(c.last_sequence, c.batches, c.rows, c.chain)
            for s, c in covered(batches[:cut]).streams.items()
        }
    )
    for source, i, j, rows in batches[cut:]:
        stream = Stream(source, i, j)
        sequence = restored.streams[stream].batches if stream in restored.streams else 0
        restored.add(stream, sequence, rows, hashlib.sha256(f"{i}/{j}/{sequence}/{rows}".encode()).digest())
    assert restored.digest() == covered(batches).digest()


def test_a_roll_up_is_a_chain_in_time_order() -> None:
    """The coverage of an hour depends on each of its minutes and on their order, and is no base window's coverage."""
    one, two = (covered([(SOURCE, 0, 0, rows)]).digest() for rows in (1, 2))
    chained = combine(combine(bytes(32), one), two)
    tag = b"evenstream/1/coverage\0roll-up\0"
    first = hashlib.sha256(tag + bytes(32) + one).digest()
    assert chained == hashlib.sha256(tag + first + two).digest()
    assert len({chained, combine(combine(bytes(32), two), one), combine(bytes(32), one), one, two}) == 5


@given(key=st.binary(min_size=32, max_size=32), digest=st.binary(min_size=32, max_size=32), binding=st.binary())
@examples(50)
def test_what_a_release_shows_is_an_hmac(key: bytes, digest: bytes, binding: bytes) -> None:
    """HMAC-SHA-256 by its definition, over the domain tag, the window and the coverage; the same for both parties."""
    shown = authenticate(key, digest, binding)
    assert shown == plain_hmac(key, b"evenstream/1/coverage\0" + binding + digest)
    assert shown == authenticate(key, digest, binding)


def test_what_a_release_shows_depends_on_key_coverage_and_window() -> None:
    """Without the key, `publish` cannot try counts; and equal coverage of two windows is not recognisable as equal."""
    key, digest, binding = bytes(range(32)), covered([(SOURCE, 0, 0, 5)]).digest(), b"feed/1m/1764000000000"
    shown = {authenticate(key, digest, binding), authenticate(key, digest, b"feed/1m/1764000060000")}
    shown |= {authenticate(changed, digest, binding) for changed in flipped(key)}
    shown |= {authenticate(key, changed, binding) for changed in flipped(digest)}
    assert len(shown) == 2 + 256 + 256
