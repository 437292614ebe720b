"""A party's open windows: what is folded into them, when they close, and the roll-ups that they add up to.

Window ends are punctuation in the log, never a local clock: a base window closes when every stream (source, i, j) has
been punctuated past its end plus the lateness. Roll-ups are sums of *un-noised* shares inside the party.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from secure_agg import Coverage, Stream, StreamCoverage, WindowShare
from secure_agg.commitments import DIGEST_BYTES, combine
from streams.control import Approved
from streams.errors import ProtocolStop
from streams.records.punctuation import NEVER_MS
from streams.roles.channel_layout import ChannelLayout
from streams.state import StateCodec

INCOMPLETE_ROLLUP = "incomplete_rollup"


class _WindowState(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """An open base window: its sums and its coverage."""

    columns: int
    table: bytes
    tail: bytes
    void_reason: str | None
    streams: list[tuple[bytes, int, int, int, int, int, bytes]]


class _RollupState(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """An open roll-up window: the sums of the base windows closed so far."""

    columns: int
    table: bytes
    tail: bytes
    void_reason: str | None
    coverage: bytes


class _ScheduleState(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where the closing of a measurement's base windows goes on."""

    next_start_ms: int


@dataclass
class _Rollup:
    table: NDArray[np.uint64]
    tail: NDArray[np.uint64]
    coverage: bytes = bytes(DIGEST_BYTES)
    void_reason: str | None = None


@dataclass(frozen=True, eq=False)
class ClosedWindow:
    """A window that is complete.

    Attributes:
        level: its name. start_ms, end_ms: epoch milliseconds.
        table: shape (cells, columns), uint64: this party's share of what is folded by cell, without noise.
        tail: shape (tail,), uint64: its share of the moments.
        coverage: 32 bytes: what was folded.
        void_reason: why it must not be published, or None.
    """

    approved: Approved
    level: str
    start_ms: int
    end_ms: int
    table: NDArray[np.uint64]
    tail: NDArray[np.uint64]
    coverage: bytes
    void_reason: str | None


class OpenWindows:
    """The open windows of all measurements."""

    def __init__(self) -> None:
        self._base: dict[tuple[bytes, int], WindowShare] = {}
        self._rollups: dict[tuple[bytes, str, int], _Rollup] = {}
        self._next_start: dict[bytes, int] = {}
        self._changed: set[bytes] = set()
        self._removed: set[bytes] = set()

    # -- state ----------------------------------------------------------------------------------------------------

    def restore(self, key: bytes, value: bytes, codec: StateCodec) -> bool:
        """Take in one state record; False where it is none of windows."""
        kind, *rest = key.decode().split("/")
        if kind == "window":
            self._base[bytes.fromhex(rest[0]), int(rest[1])] = _window(codec.decode(key, value, _WindowState))
        elif kind == "rollup":
            stored = codec.decode(key, value, _RollupState)
            self._rollups[bytes.fromhex(rest[0]), rest[1], int(rest[2])] = _Rollup(
                _table(stored), _elements(stored.tail), stored.coverage, stored.void_reason
            )
        elif kind == "schedule":
            self._next_start[bytes.fromhex(rest[0])] = codec.decode(key, value, _ScheduleState).next_start_ms
        else:
            return False
        return True

    @property
    def changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._changed or self._removed)

    def state(self, codec: StateCodec) -> list[tuple[bytes, bytes | None]]:
        """Key and value of each state record that has changed since the last call; None: it is gone."""
        records: list[tuple[bytes, bytes | None]] = [
            (key, codec.encode(key, self._stored(key))) for key in sorted(self._changed)
        ]
        records += [(key, None) for key in sorted(self._removed)]
        self._changed.clear()
        self._removed.clear()
        return records

    def _stored(self, key: bytes) -> msgspec.Struct:
        kind, *rest = key.decode().split("/")
        if kind == "window":
            return _window_state(self._base[bytes.fromhex(rest[0]), int(rest[1])])
        if kind == "rollup":
            rollup = self._rollups[bytes.fromhex(rest[0]), rest[1], int(rest[2])]
            return _RollupState(*_stored_sums(rollup.table, rollup.tail), rollup.void_reason, rollup.coverage)
        return _ScheduleState(self._next_start[bytes.fromhex(rest[0])])

    def touch_all(self) -> None:
        """Have :meth:`state` give every record, changed or not."""
        self._changed.update(_window_key(*slot) for slot in self._base)
        self._changed.update(_rollup_key(*slot) for slot in self._rollups)
        self._changed.update(_schedule_key(spec) for spec in self._next_start)

    def _drop(self, key: bytes) -> None:
        self._changed.discard(key)
        self._removed.add(key)

    # -- folding --------------------------------------------------------------------------------------------------

    def takes(self, approved: Approved, end_ms: int) -> bool:
        """Whether a batch of this base window is folded; False where another revision has taken the window over.

        Rows that `seal` wrote before it learned of a later revision count for neither: the window is the later
        revision's, and void, since that worker did not count it from the window's start.

        Raises:
            ProtocolStop: a batch must not name this window.
        """
        start = approved.window_start_ms(end_ms)
        if start < self._next_start.get(approved.spec, approved.from_ms):
            raise ProtocolStop("a batch came for a window that its own punctuation had closed")
        return approved.covers(start)

    def closed_through_ms(self, spec: bytes) -> int:
        """The end of the last base window of a measurement that was closed; ``NEVER_MS`` where none was."""
        return self._next_start.get(spec, NEVER_MS)

    def forget_taken_over(self, approved: Approved) -> None:
        """Drop what was folded of windows before it was known that a later revision takes them over."""
        base = approved.measurement.base_ms
        for spec, end_ms in list(self._base):
            if spec == approved.spec and not approved.covers(end_ms - base):
                del self._base[spec, end_ms]
                self._drop(_window_key(spec, end_ms))

    def drop(self, spec: bytes) -> None:
        """Let go of all that was folded of a revision. How far its windows were closed stays known."""
        for key in [key for key in self._base if key[0] == spec]:
            del self._base[key]
            self._drop(_window_key(*key))
        for slot in [slot for slot in self._rollups if slot[0] == spec]:
            del self._rollups[slot]
            self._drop(_rollup_key(*slot))

    def fold(
        self,
        approved: Approved,
        end_ms: int,
        values: NDArray[np.uint64],
        cells: NDArray[np.uint16],
        tail: NDArray[np.uint64],
        *,
        stream: Stream,
        sequence: int,
        header_digest: bytes,
    ) -> None:
        """Add one batch to its base window: ``values`` (n, columns) uint64, ``cells`` (n,) uint16, ``tail`` (tail,)."""
        slot = (approved.spec, end_ms)
        window = self._base.get(slot)
        if window is None:
            window = self._base[slot] = _empty(approved)
        window.fold(values, cells, tail, stream=stream, sequence=sequence, header_digest=header_digest)
        self._changed.add(_window_key(*slot))

    # -- closing --------------------------------------------------------------------------------------------------

    def closable(self, approved: Approved, arrival_ms: int) -> Iterator[int]:
        """Starts of the base windows that are complete, in order.

        Args:
            arrival_ms: nothing that arrived before this time is still to come, from any stream.
        """
        base = approved.measurement.base_ms
        start = self._next_start.get(approved.spec, approved.from_ms)
        while start + base <= arrival_ms - approved.measurement.lateness_ms and start < approved.until_ms:
            yield start
            start += base

    def close(self, approved: Approved, start_ms: int, void_reason: str | None) -> Iterator[ClosedWindow]:
        """Close one base window and add it to its roll-ups: the window, and the roll-ups that end with it.

        Args:
            void_reason: why nothing that holds this window may be published, or None.
        """
        measurement = approved.measurement
        base, *rollups = measurement.levels
        end = start_ms + base.length_ms
        window = self._base.pop((approved.spec, end), None)
        if window is None:
            window = _empty(approved)
        reason = window.void_reason or void_reason
        coverage = window.coverage.digest()
        self._drop(_window_key(approved.spec, end))
        self._next_start[approved.spec] = end
        self._changed.add(_schedule_key(approved.spec))
        yield ClosedWindow(approved, base.name, start_ms, end, window.table, window.tail, coverage, reason)
        for level in rollups:
            level_end = (start_ms // level.length_ms + 1) * level.length_ms
            slot = (approved.spec, level.name, level_end)
            rollup = self._rollups.get(slot)
            if rollup is None:
                rollup = self._rollups[slot] = _Rollup(np.zeros_like(window.table), np.zeros_like(window.tail))
                if start_ms != max(level_end - level.length_ms, approved.from_ms):
                    rollup.void_reason = INCOMPLETE_ROLLUP
            rollup.table += window.table
            rollup.tail += window.tail
            rollup.coverage = combine(rollup.coverage, coverage)
            rollup.void_reason = rollup.void_reason or reason
            self._changed.add(_rollup_key(*slot))
            if level_end == end:
                del self._rollups[slot]
                self._drop(_rollup_key(*slot))
                start = end - level.length_ms
                sums, reason_of_all = (rollup.table, rollup.tail), rollup.void_reason
                yield ClosedWindow(approved, level.name, start, end, *sums, rollup.coverage, reason_of_all)


def _window_key(spec: bytes, end_ms: int) -> bytes:
    return f"window/{spec.hex()}/{end_ms}".encode()


def _rollup_key(spec: bytes, level: str, end_ms: int) -> bytes:
    return f"rollup/{spec.hex()}/{level}/{end_ms}".encode()


def _schedule_key(spec: bytes) -> bytes:
    return f"schedule/{spec.hex()}".encode()


def _empty(approved: Approved) -> WindowShare:
    layout = ChannelLayout.of(approved.measurement)
    return WindowShare.empty(layout.cells, layout.columns, layout.tail)


def _elements(data: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)


def _table(stored: _WindowState | _RollupState) -> NDArray[np.uint64]:
    return _elements(stored.table).reshape(-1, stored.columns)


def _stored_sums(table: NDArray[np.uint64], tail: NDArray[np.uint64]) -> tuple[int, bytes, bytes]:
    return table.shape[1], table.astype("<u8").tobytes(), tail.astype("<u8").tobytes()


def _window_state(window: WindowShare) -> _WindowState:
    streams = [
        (s.source, s.i, s.j, seen.last_sequence, seen.batches, seen.rows, seen.chain)
        for s, seen in window.coverage.streams.items()
    ]
    return _WindowState(*_stored_sums(window.table, window.tail), window.void_reason, streams)


def _window(state: _WindowState) -> WindowShare:
    coverage = Coverage(
        {
            Stream(source, i, j): StreamCoverage(last, batches, rows, chain)
            for source, i, j, last, batches, rows, chain in state.streams
        }
    )
    return WindowShare(_table(state), _elements(state.tail), coverage, state.void_reason)
