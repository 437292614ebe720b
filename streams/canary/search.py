"""Finds any number of byte strings in any amount of bytes, at every offset, in one pass over arrays.

Each trace is known by four of its bytes, the ones that say most. Positions are sifted by a hash of four bytes (a table
of a million entries), then by the bytes themselves, and what is left is compared whole. So a hundred megabytes cost
some seconds, whether ten strings are looked for or ten thousand.

Vectors that were printed with few digits are no fixed byte strings: for them, numbers are read out of text, and every
run of as many as a vector has is compared within the digits that were printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.canary.encodings import Trace, distinct

_KEY = 4
_BLOCK_BYTES = 1 << 24
_CHUNK_BYTES = 1 << 18
"""So much stays in a processor's cache while it is sifted."""
_SIEVE_BITS = 20
_ODD = np.uint32(0x9E3779B1)
_FRACTION = re.compile(rb"\.[0-9]{3,20}(?:[eE]-[0-9]{1,2})?")
"""Begins with a byte that is looked for fast; what stands before it is looked at afterwards."""
_FARTHEST = 64
"""Bytes between two numbers of one printed vector, at most: separators, names of groups, quotes."""


@dataclass(frozen=True)
class Find:
    """A trace that was found, and where."""

    trace: Trace
    place: str
    offset: int


@dataclass
class Searched:
    """How much was searched, and what was found."""

    bytes: int = 0
    finds: list[Find] = field(default_factory=list)


class Searcher:
    """Looks for traces.

    Args:
        traces: what to look for.
        vectors: by canary, shape (k,): race probabilities to be found as printed numbers of 3 digits or more.
    """

    def __init__(self, traces: Iterable[Trace], vectors: Mapping[str, NDArray[np.float64]] | None = None) -> None:
        self.traces = distinct(traces)
        self._vectors = dict(vectors or {})
        self._longest = max((len(trace.data) for trace in self.traces), default=0)
        self._sieve = np.zeros(1 << _SIEVE_BITS, dtype=bool)
        self._known: dict[int, list[tuple[int, Trace]]] = {}
        for trace in self.traces:
            place = _telling_place(trace.data)
            key = trace.data[place : place + _KEY]
            self._known.setdefault(int.from_bytes(key, "little"), []).append((place, trace))
        self._keys = np.array(sorted(self._known), dtype=np.uint32)
        self._sieve[_hashed(self._keys)] = True

    def search(self, blocks: Iterable[bytes], place: str) -> Searched:
        """Search bytes that come in pieces: what lies across two of them is found as well."""
        searched = Searched()
        overlap, start = b"", 0
        keep = max(self._longest - 1, 512 if self._vectors else 0)
        seen: set[tuple[int, bytes]] = set()
        for whole in blocks:
            for cut in range(0, len(whole), _BLOCK_BYTES):
                piece = whole[cut : cut + _BLOCK_BYTES]
                data = overlap + piece
                for offset, trace in self.finds(data):
                    at = start - len(overlap) + offset
                    if (at, trace.data) not in seen:
                        seen.add((at, trace.data))
                        searched.finds.append(Find(trace, place, at))
                start += len(piece)
                searched.bytes += len(piece)
                overlap = data[-keep:] if keep else b""
        return searched

    def finds(self, data: bytes) -> Iterator[tuple[int, Trace]]:
        """(offset, trace) of each find in one piece."""
        yield from self._exact(data)
        if self._vectors and b"." in data:
            yield from self._printed(data)

    def _exact(self, data: bytes) -> Iterator[tuple[int, Trace]]:
        if len(data) < _KEY or not self._keys.size:
            return
        for begin in range(0, len(data), _CHUNK_BYTES):
            chunk = memoryview(data)[begin : begin + _CHUNK_BYTES + _KEY - 1]
            if not np.frombuffer(chunk, dtype=np.uint8).any():  # memory and index files are mostly zeros
                continue
            for shift in range(min(_KEY, len(chunk) - _KEY + 1)):
                words = np.frombuffer(chunk, dtype="<u4", offset=shift, count=(len(chunk) - shift) // _KEY)
                places = np.flatnonzero(self._sieve[_hashed(words)])
                if places.size:
                    yield from self._compared(data, words[places], begin + shift + _KEY * places)

    def _compared(
        self, data: bytes, words: NDArray[np.uint32], positions: NDArray[np.intp]
    ) -> Iterator[tuple[int, Trace]]:
        """What of the sifted positions is a whole trace."""
        where = np.searchsorted(self._keys, words)
        where[where == self._keys.size] = 0
        known = self._keys[where] == words
        for position, key in zip(positions[known].tolist(), words[known].tolist(), strict=True):
            for place, trace in self._known[key]:
                begin = position - place
                if begin >= 0 and data.startswith(trace.data, begin):
                    yield begin, trace

    def _printed(self, data: bytes) -> Iterator[tuple[int, Trace]]:
        found = list(_numbers(data))
        width = len(next(iter(self._vectors.values())))
        if len(found) < width:
            return
        values = np.array([float(text) for _, _, text in found])
        within = np.array([_tolerance(text) for _, _, text in found])
        begin, end = np.array([(first, last) for first, last, _ in found]).T
        near = np.concatenate(([True], begin[1:] - end[:-1] <= _FARTHEST))
        windows = np.lib.stride_tricks.sliding_window_view
        together = windows(near, width)[:, 1:].all(axis=1)
        for who, vector in self._vectors.items():
            fits = (np.abs(windows(values, width) - vector) <= windows(within, width)).all(axis=1) & together
            for position in np.flatnonzero(fits).tolist():
                last = position + width - 1
                text = data[begin[position] : end[last]]
                yield int(begin[position]), Trace("probabilities", who, "printed vector", text)


def _numbers(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(begin, end, text) of each number below 10 that was printed with three decimals or more."""
    for match in _FRACTION.finditer(data):
        begin, end = match.span()
        whole = data[max(0, begin - 2) : begin]
        if whole[-1:].isdigit():
            if whole[:-1].isdigit() or whole[:-1] == b".":
                continue  # 10 or more, or the middle of something else
            begin -= 1
        elif whole[-1:] == b".":
            continue
        yield begin, end, data[begin:end]


def _tolerance(text: bytes) -> float:
    """Half a unit of the last printed digit, and a little for the printing."""
    digits, _, exponent = text.lower().partition(b"e")
    decimals = len(digits.partition(b".")[2])
    return 0.51 * 10.0 ** (int(exponent or b"0") - decimals) + 2e-16  # as far apart as float64 tells numbers near 1


def _hashed(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A multiplicative hash to ``_SIEVE_BITS`` bits: shape (n,), uint32."""
    hashed: NDArray[np.uint32] = words * _ODD  # wraps, as it should
    hashed >>= np.uint32(32 - _SIEVE_BITS)
    return hashed


def _telling_place(data: bytes) -> int:
    """Where the four bytes begin that say most: different from one another, and not zero."""
    places = range(len(data) - _KEY + 1)

    def weight(place: int) -> tuple[int, int]:
        return len(set(data[place : place + _KEY]) - {0}), -place

    return max(places, key=weight)


def missed(planted: Sequence[Trace], finds: Iterable[Find]) -> list[Trace]:
    """The planted traces that were not found."""
    found = {find.trace.data for find in finds}
    return [trace for trace in planted if trace.data not in found]
