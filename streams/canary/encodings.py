"""The byte strings that would give a canary away: texts and numbers, in every encoding that something might write.

A *trace* is one such string. Each is long enough not to occur by chance: six bytes at least, and numbers that alone
would be too short or too plain (a float32, a fixed-point integer) only together: neighbours within one member's vector,
and the same group's numbers of two members, as an array stored by columns would have them. Of integers most bytes are
zero, so what counts is how many bits they have: two numbers of 13 bits beside each other are in any process's memory.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

SHORTEST = 6
_FLOAT64_BYTES = 6
"""Of a float64, those that do not depend on how the last bits were rounded: a relative error of 2^-36 is let pass."""
_SINGLE_DIGITS = 12
"""Decimals by which one number alone is told from any other; with fewer, only a whole vector is (``search``)."""
_LEAST_BITS = 36
"""Of neighbouring integers together: fewer are found by chance in some 10^8 bytes, looked through for 10^4 traces."""


@dataclass(frozen=True)
class Trace:
    """One byte string to look for.

    Attributes:
        what: "id", "name", "place", "feature", "probabilities", "shares", ...: what it would give away.
        who: which canary. encoding: how it is written.
    """

    what: str
    who: str
    encoding: str
    data: bytes


def traces_of_text(what: str, who: str, text: str) -> Iterator[Trace]:
    """One text in every encoding, as it is, in capitals and in small letters."""
    seen: set[bytes] = set()
    for shown in dict.fromkeys((text, text.upper(), text.lower())):
        for encoding, data in encodings_of(shown):
            if data not in seen and len(data) >= SHORTEST:
                seen.add(data)
                yield Trace(what, who, encoding, data)


def encodings_of(text: str) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each encoding of a text that is tried."""
    plain = text.encode()
    yield "utf-8", plain
    yield "reversed", plain[::-1]
    yield "latin-1", text.encode("latin-1", "replace") if "?" not in text else plain
    yield "utf-16-le", text.encode("utf-16-le")
    yield "utf-16-be", text.encode("utf-16-be")
    yield "utf-32-le", text.encode("utf-32-le")
    yield "hex", plain.hex().encode()
    yield "HEX", plain.hex().upper().encode()
    yield "json", json.dumps(text)[1:-1].encode()
    yield "url", quote(text, safe="").encode()
    yield "url, every byte", "".join(f"%{byte:02X}" for byte in plain).encode()
    yield "repr", repr(plain)[2:-1].encode()
    for alignment in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            yield f"{name} +{alignment}", _inner_base64(encode(bytes(alignment) + plain), alignment, len(plain))
    # A hash without a secret is a name as well: whoever has a list of members finds the one that it stands for.
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, plain, usedforsecurity=False).digest()
        yield name, digest
        yield f"{name}, hex", digest.hex().encode()


def _inner_base64(encoded: bytes, alignment: int, length: int) -> bytes:
    """The characters that depend on the text alone, wherever in a longer text it stands."""
    first = -(-8 * alignment // 6)
    last = 8 * (alignment + length) // 6
    return encoded[first:last]


# -- numbers ---------------------------------------------------------------------------------------------------------


def traces_of_vectors(vectors: dict[str, NDArray[np.float64]], scale: int) -> Iterator[Trace]:
    """Race probabilities of several members, each shape (k,), in every encoding of numbers that is tried."""
    fixed = {who: to_integers(vector, scale) for who, vector in vectors.items()}
    for who, vector in vectors.items():
        yield from _float64(who, vector)
        yield from _text(who, vector)
        yield from _pairs("probabilities", who, "row", vector, fixed[who])
    for (one, first), (other, second) in itertools.permutations(vectors.items(), 2):
        for group in range(len(first)):
            column = np.array([first[group], second[group]])
            integers = np.array([fixed[one][group], fixed[other][group]])
            yield from _pairs("probabilities", f"{one} and {other}", "column", column, integers)


def to_integers(vector: NDArray[np.float64], scale: int) -> NDArray[np.int64]:
    """Fixed point as attach rounds it: running sums rounded and differenced (``estimator.rounding``)."""
    edges = np.rint(np.cumsum(vector) * scale)
    edges[-1] = scale
    return np.diff(edges, prepend=0.0).astype(np.int64)


def traces_of_integers(what: str, who: str, values: Sequence[int]) -> Iterator[Trace]:
    """Neighbours of a row of ring elements (shares, moments, Self-ID residuals), as int64 of both byte orders."""
    ring = [value % 2**64 for value in values]
    for run in _telling_runs([min(value, 2**64 - value) for value in ring]):
        numbers = np.array(ring[run], dtype=np.uint64)
        yield Trace(what, who, "int64 le, row", numbers.astype("<u8").tobytes())
        yield Trace(what, who, "int64 be, row", numbers.astype(">u8").tobytes())


def _telling_runs(sizes: Sequence[int]) -> Iterator[slice]:
    """From each number on, the fewest neighbours, two at least, that together have enough bits."""
    bits = [size.bit_length() for size in sizes]
    for first in range(len(bits)):
        ends = (end for end in range(first + 2, len(bits) + 1) if sum(bits[first:end]) >= _LEAST_BITS)
        end = next(ends, None)
        if end is not None and bits[first]:
            yield slice(first, end)


def _float64(who: str, vector: NDArray[np.float64]) -> Iterator[Trace]:
    for value in _telling(vector):
        little = np.float64(value).astype("<f8").tobytes()
        yield Trace("probabilities", who, "float64 le", little[-_FLOAT64_BYTES:])
        yield Trace("probabilities", who, "float64 be", little[::-1][:_FLOAT64_BYTES])


def _text(who: str, vector: NDArray[np.float64]) -> Iterator[Trace]:
    for value in _telling(vector):
        decimals = f"{value:.20f}"[1 : 2 + _SINGLE_DIGITS]  # ".123456789012": cut, so that any longer print begins so
        yield Trace("probabilities", who, "decimal text", decimals.encode())
        digits, _, _ = f"{value:.20e}".partition("e")
        yield Trace("probabilities", who, "decimal text, exponent", digits[: 2 + _SINGLE_DIGITS].encode())


def _telling(vector: NDArray[np.float64]) -> list[float]:
    """The numbers that are told from others by their digits: none that is nearly 0 or 1, or a short fraction."""
    return [value for value in vector.tolist() if 1e-4 < value < 1 - 1e-4 and (value * 1024) % 1]


def _pairs(
    what: str, who: str, layout: str, vector: NDArray[np.float64], integers: NDArray[np.int64]
) -> Iterator[Trace]:
    telling = set(_telling(vector))
    for first, second in itertools.pairwise(vector.tolist()):
        if first in telling and second in telling:
            pair = np.array([first, second])
            for name in ("<f4", ">f4"):
                yield Trace(what, who, f"float32 {_order(name)}, {layout}", pair.astype(name).tobytes())
    for run in _telling_runs(integers.tolist()):
        for name in ("<i4", ">i4", "<i8", ">i8"):
            width = int(name[-1]) * 8
            yield Trace(what, who, f"int{width} {_order(name)}, {layout}", integers[run].astype(name).tobytes())


def _order(name: str) -> str:
    return "le" if name[0] == "<" else "be"


def distinct(traces: Iterable[Trace]) -> list[Trace]:
    """Each byte string once, the first to name it."""
    return list({trace.data: trace for trace in reversed(list(traces))}.values())[::-1]
