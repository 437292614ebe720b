"""Additive secret sharing over Z/2^64 with a seed on one side.

Share a is a 32-byte seed, expanded by ChaCha20 (RFC 8439) into a uniform stream; share b is the values minus that
stream. Each alone is uniformly random to whoever does not hold the other (b's up to the security of ChaCha20 as a
pseudo-random generator). A seed is drawn afresh for every attempt at a batch and used once: one seed under two
different value arrays would give party b their difference.
"""

from __future__ import annotations

import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

SEED_BYTES = 32

# The nonce may be constant because no seed is ever used for a second stream. RFC 8439 counts 64-byte blocks in the
# first 4 bytes; 2^32 blocks are 256 GiB, far beyond one batch.
_NONCE = bytes(16)
# The key stream is what zeros are encrypted to: those of a full batch of 4,096 rows and 12 columns are made once.
_KEPT_ZEROS = 1 << 16
_ZEROS = memoryview(bytes(8 * _KEPT_ZEROS))


def expand(seed: bytes | bytearray, count: int) -> NDArray[np.uint64]:
    """Expand a seed into ring elements.

    Args:
        seed: 32 bytes.
        count: how many elements.

    Returns:
        Shape (count,), uint64, little-endian words of the ChaCha20 key stream.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, this one has {len(seed)}")
    stream = np.empty(count, dtype="<u8")
    if count:
        plain = _ZEROS[: 8 * count] if count <= _KEPT_ZEROS else memoryview(bytes(8 * count))
        Cipher(ChaCha20(seed, _NONCE), mode=None).encryptor().update_into(plain, stream.view(np.uint8).data)
    return stream.astype(np.uint64, copy=False)


def split(values: NDArray[np.uint64]) -> tuple[bytes, NDArray[np.uint64]]:
    """Split values into two shares.

    Args:
        values: any shape, uint64. The caller's array is left as it was; overwrite it when it is no longer needed.

    Returns:
        The seed (party a's share, 32 fresh random bytes) and the masked values (party b's share, same shape, uint64),
        such that ``expand(seed, values.size).reshape(values.shape) + masked == values`` in the ring.
    """
    seed = os.urandom(SEED_BYTES)
    stream = expand(seed, values.size).reshape(values.shape)
    masked = np.subtract(values, stream)
    stream.fill(0)
    return seed, masked
