"""Shares: the seed's stream is ChaCha20's, two shares add up exactly, and one alone says nothing."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from secure_agg.sharing import SEED_BYTES, expand, split

RING = 1 << 64
ELEMENT = st.one_of(
    st.sampled_from([0, 1, 1 << 20, (1 << 63) - 1, 1 << 63, RING - 1]),
    st.integers(0, RING - 1),
)
VALUES = hnp.arrays(np.uint64, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9), elements=ELEMENT)

# RFC 8439, appendix A.1: (key, block counter, key stream) of the vectors whose nonce is zero, as `expand`'s is.
KEY_STREAMS = [
    (
        "00" * 32,
        0,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    (
        "00" * 32,
        1,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        "00" * 31 + "01",
        1,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    (
        "00ff" + "00" * 30,
        2,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
]


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """One block of key stream, as RFC 8439 section 2.3 writes it: a 32-bit counter, then a 96-bit nonce."""
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter]
    start += struct.unpack("<3I", nonce)
    state = list(start)

    def turn(value: int, bits: int) -> int:
        return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            state[z] = turn(state[z] ^ state[x], bits)

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        for column in range(4):
            quarter(column, (column + 1) % 4 + 4, (column + 2) % 4 + 8, (column + 3) % 4 + 12)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(state, start, strict=True)))


@pytest.mark.parametrize(("key", "counter", "stream"), KEY_STREAMS, ids=["1", "2", "3", "4"])
def test_the_streams_of_rfc_8439(key: str, counter: int, stream: str) -> None:
    """Block n of an expanded seed is the published key stream for counter n: counting starts at 0, the nonce is 0."""
    words = expand(bytes.fromhex(key), 8 * (counter + 1))
    assert words.astype("<u8").tobytes()[64 * counter :].hex() == stream


def test_the_oracle_is_rfc_8439() -> None:
    """The plain implementation here gives section 2.3.2's block, whose nonce and counter are both set."""
    block = chacha20_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000"))
    assert block.hex() == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )


@given(seed=st.binary(min_size=32, max_size=32), count=st.integers(0, 40))
@examples(30)
def test_expanding_equals_a_plain_chacha20(seed: bytes, count: int) -> None:
    """For any seed and length, also within a block, elements are the little-endian words of the stream."""
    stream = b"".join(chacha20_block(seed, block, bytes(12)) for block in range(count // 8 + 1))
    words = expand(seed, count)
    assert words.dtype == np.uint64
    assert words.tolist() == list(struct.unpack(f"<{count}Q", stream[: 8 * count]))


def test_party_a_may_expand_less_or_more() -> None:
    """A shorter expansion is the beginning of a longer one, over a batch of full size."""
    seed = bytes(range(32))
    assert np.array_equal(expand(seed, 4096 * 6)[:1000], expand(seed, 1000))


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    """A short seed is never padded and a long one never cut; the error names lengths only."""
    seed = bytes(range(100, 100 + length))
    with pytest.raises(ValueError, match=f"a seed has 32 bytes, this one has {length}") as caught:
        expand(seed, 8)
    assert not seed or seed.hex() not in str(caught.value)


@given(values=VALUES)
@examples(80)
def test_the_shares_add_up(values: NDArray[np.uint64]) -> None:
    """For any shape and any elements, share a plus share b is the value, by Python's own integers."""
    before = values.copy()
    seed, masked = split(values)
    assert (masked.shape, len(seed)) == (values.shape, SEED_BYTES)
    assert masked.dtype == np.uint64
    stream = expand(seed, values.size).tolist()
    added = [(a + b) % RING for a, b in zip(stream, masked.ravel().tolist(), strict=True)]
    assert added == before.ravel().tolist()
    assert np.array_equal(values, before)


@given(values=hnp.arrays(np.uint64, (5, 6), elements=ELEMENT))
@examples(30)
def test_views_are_split_as_copies_are(values: NDArray[np.uint64]) -> None:
    """A transposed or strided array is shared in its own order of elements, not in that of memory."""
    for view in (values.T, values[::-1, ::2]):
        seed, masked = split(view)
        assert np.array_equal(expand(seed, view.size).reshape(view.shape) + masked, view)


def test_two_maskings_of_the_same_values_differ() -> None:
    """Every attempt draws a fresh seed: no two share a stream, so two maskings never differ by what their values do."""
    # With one seed used twice around an opt-out, b could subtract its two maskings and read the probabilities.
    values = np.full((8, 6), 1 << 20, dtype=np.uint64)
    opted_out = values.copy()
    opted_out[3] = 0
    first, again = split(values), split(opted_out)
    assert first[0] != again[0]
    assert not np.any(first[1] == again[1])
    assert not np.array_equal(first[1] - again[1], values - opted_out)
    assert len({split(values)[0] for _ in range(200)}) == 200


@pytest.mark.parametrize("unit", [0, 1 << 20, RING - 1])
def test_each_share_alone_looks_uniform(unit: int) -> None:
    """Whatever was shared, zero rows too, the bytes of either share are spread evenly (chi-square, 1e-8)."""
    values = np.full((4096, 6), unit, dtype=np.uint64)
    seed, masked = split(values)
    for share in (masked, expand(seed, values.size)):
        counts = np.bincount(share.view(np.uint8).ravel(), minlength=256)
        expected = counts.sum() / 256
        assert ((counts - expected) ** 2 / expected).sum() < 410
    assert np.unique(masked).size == masked.size
