"""Kafka's default partitioner of the Java clients, on arrays: murmur2 of the key's bytes, modulo the partitions.

librdkafka's own default is CRC32; a topic written with it would put every member into the wrong shard, so `attach`
checks the partition of each attribute key that it loads. Source: Apache Kafka, ``Utils.murmur2`` and
``Utils.toPositive`` (seed 0x9747b28c).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIER = np.uint32(0x5BD1E995)
_SHIFT = np.uint32(24)
_SEED = np.uint32(0x9747B28C)


def murmur2(keys: NDArray[np.bytes_]) -> NDArray[np.uint32]:
    """Hash fixed-width byte strings (shape (n,), dtype S; trailing NULs are padding): shape (n,), uint32."""
    keys = np.ascontiguousarray(keys)
    count = keys.size
    lengths = np.char.str_len(keys).astype(np.uint32)
    words = -(-keys.dtype.itemsize // 4)
    padded = np.zeros((count, 4 * words), dtype=np.uint8)
    padded[:, : keys.dtype.itemsize] = keys.view(np.uint8).reshape(count, keys.dtype.itemsize)
    blocks = padded.view("<u4").astype(np.uint32)
    full, rest = lengths // np.uint32(4), lengths % np.uint32(4)
    digest = _SEED ^ lengths
    shortest, longest = int(full.min(initial=words)), int(full.max(initial=0))
    with np.errstate(over="ignore"):
        for position in range(longest):
            word = blocks[:, position] * _MULTIPLIER
            word ^= word >> _SHIFT
            word *= _MULTIPLIER
            word ^= digest * _MULTIPLIER
            digest = word if position < shortest else np.where(position < full, word, digest)
        # The last one to three bytes are taken little-endian; padding is zero, so the word holds just them.
        has_rest = rest > 0
        tail = blocks[np.arange(count)[has_rest], full[has_rest]]
        digest[has_rest] = (digest[has_rest] ^ tail) * _MULTIPLIER
        digest ^= digest >> np.uint32(13)
        digest *= _MULTIPLIER
        digest ^= digest >> np.uint32(15)
    return digest


def partition_of(keys: NDArray[np.bytes_], partitions: int) -> NDArray[np.int64]:
    """The partition of each key: shape (n,), int64, as a Java client would choose it."""
    return to_partition(murmur2(keys), partitions)


def to_partition(digest: NDArray[np.uint32], partitions: int) -> NDArray[np.int64]:
    """The partition of keys that hash to ``digest`` (:func:`murmur2`): shape (n,), int64."""
    return (digest & np.uint32(0x7FFFFFFF)).astype(np.int64) % partitions
