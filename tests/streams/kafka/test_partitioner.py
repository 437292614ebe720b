"""Kafka's murmur2 on arrays, against Kafka's own vectors and against the algorithm as one would write it by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.partitioner import murmur2, partition_of

# Apache Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
KAFKA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
# Keys as arrays of dtype S can hold them: not ending in NUL, which is their padding.
KEYS = st.binary(max_size=40).map(lambda key: key.rstrip(b"\0"))


def by_hand(key: bytes) -> int:
    """``Utils.murmur2`` in plain integers, as an unsigned 32-bit number."""
    mask = 0xFFFFFFFF
    digest = 0x9747B28C ^ len(key)
    for start in range(0, len(key) - len(key) % 4, 4):
        word = int.from_bytes(key[start : start + 4], "little") * 0x5BD1E995 & mask
        word = (word ^ word >> 24) * 0x5BD1E995 & mask
        digest = digest * 0x5BD1E995 & mask ^ word
    if len(key) % 4:
        digest = (digest ^ int.from_bytes(key[len(key) // 4 * 4 :], "little")) * 0x5BD1E995 & mask
    digest = (digest ^ digest >> 13) * 0x5BD1E995 & mask
    return digest ^ digest >> 15


@pytest.mark.parametrize(("key", "expected"), KAFKA.items())
def test_published_vectors(key: bytes, expected: int) -> None:
    """Each of Kafka's own vectors, alone."""
    assert int(murmur2(np.array([key])).view(np.int32)[0]) == expected


def test_published_vectors_together() -> None:
    """Short keys are hashed beside long ones as alone: the array's width makes no difference."""
    assert murmur2(np.array(list(KAFKA))).view(np.int32).tolist() == list(KAFKA.values())


@given(keys=st.lists(KEYS, max_size=20), partitions=st.integers(1, 1000))
def test_the_same_as_by_hand(keys: list[bytes], partitions: int) -> None:
    """Any keys, of any lengths and with NUL inside, have the hash and the partition that a Java client gives them."""
    array = np.array(keys, dtype=np.bytes_)
    assert murmur2(array).tolist() == [by_hand(key) for key in keys]
    assert partition_of(array, partitions).tolist() == [(by_hand(key) & 0x7FFFFFFF) % partitions for key in keys]


def test_negative_hashes_lose_their_sign_not_their_value() -> None:
    """Kafka clears the sign bit (``toPositive``) and does not take the absolute value, which would move members."""
    assert partition_of(np.array([b"21", b"foobar"]), 100).tolist() == [
        (-973932308 & 0x7FFFFFFF) % 100,
        (-790332482 & 0x7FFFFFFF) % 100,
    ]
    assert (-973932308 & 0x7FFFFFFF) % 100 != 973932308 % 100


def test_padding_and_layout_make_no_difference() -> None:
    """Wider arrays and strided views give the same hashes."""
    keys = np.array(list(KAFKA))
    assert np.array_equal(murmur2(keys.astype("S100")), murmur2(keys))
    assert np.array_equal(murmur2(np.repeat(keys, 2)[::2]), murmur2(keys))


def test_shapes_and_dtypes() -> None:
    """Nothing in gives nothing out; one partition takes all."""
    empty = np.array([], dtype=np.bytes_)
    assert murmur2(empty).dtype == np.uint32
    assert partition_of(empty, 4).shape == (0,)
    assert partition_of(np.array([b"", b"x"]), 1).tolist() == [0, 0]
    assert partition_of(np.array([b"x"]), 4).dtype == np.int64


def test_partitions_are_used_evenly() -> None:
    """Members spread over partitions as a hash spreads them (chi-square, 15 degrees, 1e-6)."""
    members = np.array([b"m%09d" % number for number in range(32_000)])
    found = np.bincount(partition_of(members, 16), minlength=16)
    assert ((found - 2000) ** 2 / 2000).sum() < 57
