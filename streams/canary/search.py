"""Finds any number of byte strings in any amount of bytes, at every offset, in one pass over arrays.

Each trace is known by four of its bytes, the ones that say most. Positions are sifted by the first two of them (a table
of 65,536 entries), then by all four, and what is left is compared whole. So a hundred megabytes of ciphertext cost some
seconds, whether ten strings are looked for or ten thousand.

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
_NUMBER = re.compile(rb"(?<![0-9.])[0-9]?\.[0-9]{3,20}(?:[eE]-[0-9]{1,2})?")
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
        self._sieve = np.zeros(1 << 16, dtype=bool)
        self._known: dict[int, list[tuple[int, Trace]]] = {}
        for trace in self.traces:
            place = _telling_place(trace.data)
            key = trace.data[place : place + _KEY]
            self._sieve[int.from_bytes(key[:2], "little")] = True
            self._known.setdefault(int.from_bytes(key, "little"), []).append((place, trace))
        self._keys = np.array(sorted(self._known), dtype=np.uint32)

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
        octets = np.frombuffer(data, dtype=np.uint8)
        if not octets.any():  # memory and index files are mostly zeros
            return
        for parity in range(2):
            pairs = np.frombuffer(data, dtype="<u2", offset=parity, count=(len(data) - parity) // 2)
            candidates = 2 * np.flatnonzero(self._sieve[pairs]) + parity
            candidates = candidates[candidates <= len(data) - _KEY]
            if not candidates.size:
                continue
            keys = octets[candidates].astype(np.uint32)
            for byte in range(1, _KEY):
                keys |= octets[candidates + byte].astype(np.uint32) << np.uint32(8 * byte)
            where = np.searchsorted(self._keys, keys)
            where[where == self._keys.size] = 0
            known = self._keys[where] == keys
            for position, key in zip(candidates[known].tolist(), keys[known].tolist(), strict=True):
                for place, trace in self._known[key]:
                    begin = position - place
                    if begin >= 0 and data.startswith(trace.data, begin):
                        yield begin, trace

    def _printed(self, data: bytes) -> Iterator[tuple[int, Trace]]:
        found = [(match.start(), match.end(), match[0]) for match in _NUMBER.finditer(data)]
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


def _tolerance(text: bytes) -> float:
    """Half a unit of the last printed digit, and a little for the printing."""
    digits, _, exponent = text.lower().partition(b"e")
    decimals = len(digits.partition(b".")[2])
    return 0.51 * 10.0 ** (int(exponent or b"0") - decimals)


def _telling_place(data: bytes) -> int:
    """Where the four bytes begin that say most: different from one another, and not zero."""
    places = range(len(data) - _KEY + 1)

    def weight(place: int) -> tuple[int, int, int]:
        key = data[place : place + _KEY]
        # The first two bytes make the sieve, and zeros are everywhere.
        return len(set(key) - {0}), sum(map(bool, key[:2])), -place

    return max(places, key=weight)


def missed(planted: Sequence[Trace], finds: Iterable[Find]) -> list[Trace]:
    """The planted traces that were not found."""
    found = {find.trace.data for find in finds}
    return [trace for trace in planted if trace.data not in found]
