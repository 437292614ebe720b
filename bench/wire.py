"""What a record's signatures cost: microseconds to sign and encode, and to decode and verify, by rows of the batch.

python -m bench.wire
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secure_agg import Identity, PinnedIdentities
from streams.records.batches import Extension, SealedBatch, SharesBatch
from streams.records.header import Header, encode_header
from streams.records.punctuation import Counting, Passage, Punctuation, SignedPunctuation, SourceProgress

_SECONDS = 1.0
_WIDTH = 36


def microseconds(step: Callable[[], object]) -> float:
    """The least time of one call, over five runs of some tenths of a second each."""
    best = float("inf")
    for _ in range(5):
        begun, calls = time.perf_counter(), 0
        while time.perf_counter() - begun < _SECONDS / 5:
            step()
            calls += 1
        best = min(best, (time.perf_counter() - begun) / calls)
    return 1e6 * best


def main() -> None:
    """Print the table."""
    keys = {role: Ed25519PrivateKey.generate() for role in ("seal", "attach")}
    seal, attach = (Identity(role, "bench", key) for role, key in keys.items())
    trusted = PinnedIdentities("bench", {role: key.public_key() for role, key in keys.items()})
    digest, process = os.urandom(32), os.urandom(8)

    def row(name: str, make: Callable[[], bytes], read: Callable[[bytes], object]) -> None:
        value = make()
        made, judged = microseconds(make), microseconds(lambda: read(value))
        print(f"{name:<24}{len(value):>9,} bytes{made:>10.1f} us{judged:>10.1f} us")

    print(f"{'record':<24}{'length':>15}{'sign, encode':>13}{'read, verify':>13}")
    for rows in (1, 4096):
        header = Header("feed", 1, digest, 10_000, digest, 0, 0, 7, rows, process, 1, 2, 3, digest)
        header_bytes = encode_header(header)
        parts = [os.urandom(28 + _WIDTH * rows), os.urandom(60 + 2 * rows), os.urandom(60 + 2 * rows)]
        sealed = SealedBatch.signed(seal, header, header_bytes, *parts)
        extension, share = Extension(process, 1, 2, 5, 6, 29), (os.urandom(60), os.urandom(28 + 8 * (6 * rows + 29)))

        row(
            f"sealed, {rows:,} rows",
            partial(lambda *of: SealedBatch.signed(*of).encode(), seal, header, header_bytes, *parts),
            lambda value: SealedBatch.decode(value).verify(trusted),
        )
        row(
            f"shares, {rows:,} rows",
            partial(lambda *of: SharesBatch.signed(*of).encode(), attach, sealed, extension, *share),
            lambda value: SharesBatch.decode(value).verify(trusted),
        )
    sources = tuple(SourceProgress(digest, i, 4, 5, 6) for i in range(4))
    punctuation = Punctuation(process, 0, 1, 2, sources, (Counting(digest, digest, 0),))
    told, passage = SignedPunctuation.signed(seal, punctuation), Passage(process, 1, 2)
    row(
        "punctuation, sealed",
        lambda: SignedPunctuation.signed(seal, punctuation).encode(),
        lambda value: SignedPunctuation.decode(value).verify(trusted, passed=False),
    )
    row(
        "punctuation, shares",
        lambda: told.passed_on(attach, passage).encode(),
        lambda value: SignedPunctuation.decode(value).verify(trusted, passed=True),
    )


if __name__ == "__main__":
    main()
