"""The rows of an event log that count, from a file: decoded as `seal` does, capped as `attach` does, without Kafka.

What a file cannot show is lateness: it has no arrival times, so every row is taken to have come in time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from privacy import ContributionCap, Measurement
from streams.errors import InputError
from streams.feed import Progress
from streams.members_file import MembersFile
from streams.replay import LoggedEvent
from streams.roles.decoding import EventDecoder

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_BATCH = 4096


@dataclass(frozen=True)
class Tally:
    """What became of a log, in exact numbers: for whoever holds the log, and not to be published beside noised ones.

    Attributes:
        events: records of the file. rows: rows that the measurement takes from them.
        refused: refused rows or records, by reason. unknown: rows of members who are not in the members file.
        opted_out: rows of members who opted out. over_cap: rows beyond the contribution cap.
        counted: rows that count. members: members who have such rows. self_id_rows: such rows whose member said a
            group.
        rows_per_member: rows of a counted row's member, in the mean over rows: sum m^2 / sum m.
    """

    events: int
    rows: int
    refused: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    opted_out: int = 0
    over_cap: int = 0
    counted: int = 0
    members: int = 0
    self_id_rows: int = 0
    rows_per_member: float = 1.0


@dataclass(frozen=True, eq=False)
class FileRows:
    """Rows that count, in time order: arrays of shape (n,).

    Attributes:
        member: int64, place in the members file. cell: int64. time_ms: int64, event time.
        tally: how they came about.
    """

    member: NDArray[np.int64]
    cell: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    tally: Tally


def counted_rows(
    events: Sequence[LoggedEvent],
    measurement: Measurement,
    members: MembersFile,
    progress: Progress,
    untimed: Mapping[str, int] = MappingProxyType({}),
) -> FileRows:
    """Decode a log and keep the rows that count.

    Args:
        events: in time order (``streams.replay.read_events``). untimed: those that it left out, by reason.

    Raises:
        InputError: no event has the measurement's fields, or no row's member may count; the message says where the
            rows went.
    """
    refused, ids, cell, time_ms = _decoded(events, measurement, progress)
    for reason, count in untimed.items():
        refused[reason] = refused.get(reason, 0) + count
    if not ids.size:
        raise InputError(
            f"no event gives a row of measurement {measurement.id!r}: of {len(events):,} events "
            f"{_listed(refused) or 'all are filtered out'}; check source.filter and the paths of source and cells"
        )
    index = members.find(ids)
    known = index >= 0
    out = known & members.opted_out[index]
    index = np.where(out, -1, index)
    counts = _within_caps(measurement, members, index, time_ms)
    if not counts.any():
        raise InputError(
            f"no row counts: of {ids.size:,} rows {int((~known).sum()):,} are of members who are not in the members "
            f"file and {int(out.sum()):,} of members who opted out; check that {measurement.source.member!r} of events "
            "holds the same ids as member_id of members"
        )
    member = index[counts]
    each = np.unique(member, return_counts=True)[1]
    tally = Tally(
        events=len(events) + sum(untimed.values()),
        rows=int(ids.size),
        refused=dict(sorted(refused.items())),
        unknown=int((~known).sum()),
        opted_out=int(out.sum()),
        over_cap=int((index >= 0).sum() - counts.sum()),
        counted=int(member.size),
        members=int(each.size),
        self_id_rows=int(members.said[member].sum()),
        rows_per_member=float((each.astype(np.float64) ** 2).sum() / each.sum()),
    )
    return FileRows(member, cell[counts], time_ms[counts], tally)


def _decoded(
    events: Sequence[LoggedEvent], measurement: Measurement, progress: Progress
) -> tuple[Counter[str], NDArray[np.bytes_], NDArray[np.int64], NDArray[np.int64]]:
    """Refusals by reason; and of all rows the member ids, cells and times, in time order."""
    decoder = EventDecoder(measurement)
    refused: Counter[str] = Counter()
    batches = []
    for start in range(0, len(events), _BATCH):
        batch = events[start : start + _BATCH]
        decoded = decoder.decode([json.dumps(event.content).encode() for event in batch])
        refused.update(reason for _, reason in decoded.refused)
        batches.append(decoded.rows)
        progress(start + len(batch), len(events))
    ids = np.concatenate([rows.members for rows in batches])
    cell = np.concatenate([rows.cells for rows in batches]).astype(np.int64)
    time_ms = np.concatenate([rows.time_ms for rows in batches])
    order = np.argsort(time_ms, kind="stable")  # a list's elements may have times of their own
    return refused, ids[order], cell[order], time_ms[order]


def _within_caps(
    measurement: Measurement, members: MembersFile, index: NDArray[np.int64], time_ms: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which rows count: shape (n,), bool. A cap a UTC day, as in ``streams.roles.counted_rows``."""
    terms = measurement.privacy
    start_ms = time_ms // measurement.base_ms * measurement.base_ms
    day = start_ms // _DAY_MS
    hour = (start_ms % _DAY_MS // _HOUR_MS).astype(np.uint8)
    tags = np.where(index >= 0, members.tags[index], np.uint64(0))
    counts = np.zeros(index.size, dtype=bool)
    begins = np.flatnonzero(np.concatenate(([True], day[1:] != day[:-1])))
    for first, end in zip(begins, [*begins[1:], index.size], strict=True):
        # The same hours for the same spec and day: an audit that is repeated looks at the same rows.
        key = measurement.digest() + int(day[first]).to_bytes(8, "little")
        cap = ContributionCap(terms.cap_rule, terms.contribution_cap, key)
        rows = slice(first, end)
        counts[rows] = cap.select(index[rows], tags[rows], hour[rows])
    return counts


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} are refused as {reason}" for reason, count in sorted(counts.items()))
