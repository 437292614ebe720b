"""From the company's JSON to rows: member ids, event times and cells, as arrays.

The paths of a measurement are compiled once into a msgspec Struct that holds just its fields (``json_fields``);
everything after that works on columns. Only when some record of the batch does not decode are records looked at one by
one, to name the one at fault.

A record that is refused touches nothing else: this is what lets one event change only its own rows.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from privacy import Measurement
from streams.roles.json_fields import UNDECODABLE, FlatRecords, compile_fields

NOT_JSON = "not_json"
WRONG_TYPE = "wrong_type"
MISSING_FIELD = "missing_field"
BAD_MEMBER_ID = "bad_member_id"
TIME_OUT_OF_RANGE = "time_out_of_range"
TOO_LARGE = "too_large"
EMPTY = "empty"
LATE = "late"
FUTURE = "future"

REASONS = (NOT_JSON, WRONG_TYPE, MISSING_FIELD, BAD_MEMBER_ID, TIME_OUT_OF_RANGE, TOO_LARGE, EMPTY, LATE, FUTURE)
"""Why an event, or one row of it, is not counted."""

_HUGE = (1 << 1024) - (1 << 970)  # the least integer that is beyond float64
_LATEST_MS = 253_402_300_799_000  # the end of the year 9999
_FEW_EDGES = 16  # so many comparisons of all values are quicker than a search for each
_Mask = NDArray[np.bool_]
_Scalar = str | int | float | bool | None
_TIME_TYPES: dict[str, Any] = {
    "iso8601": Annotated[datetime, Meta(tz=True)] | None,
    "epoch_ms": float | None,
    "epoch_s": float | None,
}


@dataclass(frozen=True)
class Rows:
    """Rows of one measurement, from a batch of records.

    Attributes:
        record: shape (n,), intp: index of the record within the batch; rows of one record stand together.
        time_ms: shape (n,), int64: event time, epoch milliseconds.
        members: shape (n,), dtype S of the measurement's member width.
        cells: shape (n,), uint16.
    """

    record: NDArray[np.intp]
    time_ms: NDArray[np.int64]
    members: NDArray[np.bytes_]
    cells: NDArray[np.uint16]


@dataclass(frozen=True)
class Decoded:
    """What came of a batch: the rows, and (record index, reason) for each row or record that is refused."""

    rows: Rows
    refused: list[tuple[int, str]]


class EventDecoder:
    """Decodes batches of one measurement's source topic."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement
        source, cells = measurement.source, measurement.cells
        self._types: dict[str, Any] = {}
        self._declare(source.time, _TIME_TYPES[source.time_format])
        self._declare(source.member, str | int | None)
        for condition in source.filter:
            self._declare(condition.field, _Scalar)
        for axis, path in cells.binding():
            self._declare(path, bool | int | None if axis in ("decision", "outcome") else float | None)
        self._explode = source.explode
        self._compiled = compile_fields(self._types, self._explode)
        # Where another kind of event shares the topic, its fields may have other types: whether it is filtered out
        # is asked before its types are held against it, and of the record itself before its list.
        filters: dict[str, Any] = {condition.field: _Scalar for condition in source.filter}
        of_record = {path: kind for path, kind in filters.items() if "[]" not in path}
        stages = ((of_record, None), (filters, self._explode))
        self._filters_only = [compile_fields(fields, explode) for fields, explode in stages if fields]

    def _declare(self, path: str, kind: Any) -> None:
        known = self._types.get(path)
        self._types[path] = kind if known in (None, kind) else _Scalar

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """Decode records, given as the bytes of their values."""
        objects = self._compiled.decode_all(values)
        if objects is None:
            return self._decode_singly(values)
        return self._columns(self._compiled.flatten(objects), np.arange(len(values), dtype=np.intp), [])

    def _decode_singly(self, values: Sequence[bytes]) -> Decoded:
        refused: list[tuple[int, str]] = []
        objects: list[Any] = []
        kept: list[int] = []
        items_of: dict[int, list[Any]] = {}
        for position, value in enumerate(values):
            try:
                objects.append(self._compiled.decode_one(value))
                kept.append(position)
            except msgspec.ValidationError:
                if self._filtered_out(value):
                    continue
                refused.append((position, WRONG_TYPE))
                # A candidate's own mistake must not cost the others of its list their rows.
                good = self._compiled.decode_good_items(value)
                if good is not None:
                    items_of[len(objects)] = good[1]
                    objects.append(good[0])
                    kept.append(position)
            except UNDECODABLE:
                refused.append((position, NOT_JSON))
        return self._columns(self._compiled.flatten(objects, items_of), np.array(kept, dtype=np.intp), refused)

    def _filtered_out(self, value: bytes) -> bool:
        for filters in self._filters_only:
            try:
                if not self._passing(filters.flatten([filters.decode_one(value)])).any():
                    return True
            except UNDECODABLE:  # a wrong type may stand before the place where the record stops being JSON
                return False
        return False

    def _passing(self, flat: FlatRecords) -> NDArray[np.bool_]:
        passing = np.ones(flat.count, dtype=bool)
        for condition in self._measurement.source.filter:
            if condition.field not in flat.columns:
                continue
            # bool is compared by type too: JSON's true is not 1.
            wanted = {(type(value), value) for value in condition.one_of}
            column = flat.column(condition.field)
            passing &= np.fromiter(((type(value), value) in wanted for value in column), bool, flat.count)
        return passing

    def _columns(self, flat: FlatRecords, index: NDArray[np.intp], refused: list[tuple[int, str]]) -> Decoded:
        record = index[flat.record]
        good = self._passing(flat) if self._measurement.source.filter else np.ones(flat.count, dtype=bool)

        def refuse(bad: NDArray[np.bool_], reason: str) -> None:
            nonlocal good
            if bad.any() and (bad := bad & good).any():
                refused.extend((int(position), reason) for position in np.unique(record[bad]))
                good = good & ~bad

        time_ms, wrong, missing, absurd = self._times(flat)
        refuse(wrong, WRONG_TYPE)
        refuse(missing, MISSING_FIELD)
        refuse(absurd, TIME_OUT_OF_RANGE)
        cells = self._cells(flat, refuse)
        members, missing, bad = self._members(flat)
        refuse(missing, MISSING_FIELD)
        refuse(bad, BAD_MEMBER_ID)
        if not good.all():
            record, time_ms, members, cells = record[good], time_ms[good], members[good], cells[good]
        return Decoded(Rows(record, time_ms, members, cells), refused)

    def _times(
        self, flat: FlatRecords
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        source = self._measurement.source
        column = flat.column(source.time)
        if source.time_format == "iso8601":
            # Where the path serves a second purpose it was not decoded as a time, and is refused as text is.
            column = [None if at is None else at.timestamp() if isinstance(at, datetime) else "" for at in column]
        milliseconds, wrong = _numbers(column, self._may_be_text(source.time))
        if source.time_format != "epoch_ms":
            milliseconds = milliseconds * 1000.0
        sound = (milliseconds >= 0) & (milliseconds <= _LATEST_MS)
        missing = absurd = wrong  # nothing is wrong where all are sound
        if not sound.all():
            missing = np.isnan(milliseconds) & ~wrong
            absurd = ~(wrong | missing | sound)
            milliseconds = np.where(sound, milliseconds, 0.0)
        # Half a microsecond absorbs the float's own rounding, so that an event on a boundary stays on its side.
        return np.floor(milliseconds + 5e-4).astype(np.int64), wrong, missing, absurd

    def _may_be_text(self, path: str) -> bool:
        """Whether text can stand at a path though numbers are wanted there: where it serves two purposes."""
        return bool(self._types[path] == _Scalar)

    def _members(self, flat: FlatRecords) -> tuple[NDArray[np.bytes_], NDArray[np.bool_], NDArray[np.bool_]]:
        width = self._measurement.source.member_max_bytes
        column = flat.column(self._measurement.source.member)
        alike = _of_one_length(column, width)
        if alike is not None:
            none = np.zeros(alike.size, dtype=bool)
            return alike, none, none
        try:
            encoded = [value.encode() for value in column]
        except (AttributeError, UnicodeEncodeError):  # an integer id, a missing one, or a lone surrogate
            encoded = [_member_bytes(value) for value in column]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        # dtype S pads with NUL, so an id that holds NUL could pass for another one.
        nul = np.zeros(lengths.size, dtype=bool)
        if b"\0" in b"".join(encoded):
            nul[:] = [b"\0" in value for value in encoded]
        return np.array(encoded, dtype=f"S{width}"), lengths == 0, (lengths > width) | nul

    def _cells(self, flat: FlatRecords, refuse: Callable[[NDArray[np.bool_], str], None]) -> NDArray[np.uint16]:
        spec = self._measurement.cells
        cell = np.zeros(flat.count, dtype=np.uint16)
        for axis, binned in (("score", spec.score), ("decision", None), ("outcome", None), ("rank", spec.rank)):
            if axis in ("decision", "outcome"):
                flag = spec.decision if axis == "decision" else spec.outcome
                if flag is None:
                    continue
                column = flat.column(flag.field)
                bits = _bits(column)
                if bits is None:
                    value, wrong = _numbers(column, self._may_be_text(flag.field))
                    refuse(np.isnan(value) & ~wrong, MISSING_FIELD)
                    refuse(wrong | ~np.isin(value, (0.0, 1.0)), WRONG_TYPE)
                    bits = value == 1.0
                cell *= 2
                cell += bits
            elif binned is not None:
                value, wrong = _numbers(flat.column(binned.field), self._may_be_text(binned.field))
                refuse(np.isnan(value) & ~wrong, MISSING_FIELD)
                refuse(wrong, WRONG_TYPE)
                cell *= len(binned.bins) + 1
                cell += _bin_of(value, binned.bins)
        return (
            cell  # what is not a number lies in the first or last bin of its axis: refused, and dropped by the caller
        )


def _of_one_length(column: list[Any], width: int) -> NDArray[np.bytes_] | None:
    """Ids that are all of one length in ASCII, as most companies' are: shape (n,), dtype S; None where they are not."""
    try:
        text = "\0".join([*column, ""])
    except TypeError:  # an integer id, or a missing one
        return None
    length = text.find("\0")
    # As many NUL as ids, the last one at the end, and one after each `length` letters: then none is within an id.
    if not 0 < length <= width or not text.isascii() or text.count("\0") != len(column):
        return None
    ids = np.frombuffer(text.encode(), dtype=np.uint8)
    if ids.size != len(column) * (length + 1) or ids[length :: length + 1].any():
        return None
    return ids.view(f"S{length + 1}").astype(f"S{width}")  # NUL at the end is padding


def _bits(column: list[Any]) -> NDArray[np.uint8] | None:
    """Truth values, and integers 0 and 1: shape (n,), uint8; None where there is anything else."""
    try:
        bits = np.frombuffer(bytes(column), dtype=np.uint8)
    except (TypeError, ValueError):  # missing, text, a fraction; or no byte
        return None
    return bits if not bits.size or bits.max() <= 1 else None


def _bin_of(value: NDArray[np.float64], edges: Sequence[float]) -> NDArray[np.uint16]:
    """How many edges, in rising order, are at or below each value: shape (n,), uint16."""
    if len(edges) > _FEW_EDGES:
        return np.searchsorted(np.array(edges), value, side="right").astype(np.uint16)
    found = np.zeros(value.size, dtype=np.uint16)
    for edge in edges:
        found += value >= edge
    return found


def _member_bytes(value: str | int | None) -> bytes:
    if value is None:
        return b""
    try:
        return str(value).encode()
    except UnicodeEncodeError:
        return b"\0"  # refused as a bad id


def _numbers(column: list[Any], may_be_text: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers as float64 (NaN where None), and which entries are of another type, or beyond float64.

    Args:
        may_be_text: whether text can be among them, which numpy would take for the numbers that it spells.
    """
    with contextlib.suppress(struct.error):  # text, None, an integer beyond float64
        # A column of numbers alone, as nearly all are: packed in a third of the time in which numpy reads it.
        packed = struct.pack(f"={len(column)}d", *column)
        return np.frombuffer(packed), np.zeros(len(column), dtype=bool)
    with contextlib.suppress(OverflowError):  # an integer of hundreds of digits
        if not may_be_text or str not in set(map(type, column)):
            return np.array(column, dtype=np.float64), np.zeros(len(column), dtype=bool)
    column = ["" if isinstance(value, int) and abs(value) >= _HUGE else value for value in column]
    wrong = np.fromiter((isinstance(value, str) for value in column), bool, len(column))
    return np.array([None if isinstance(value, str) else value for value in column], dtype=np.float64), wrong
