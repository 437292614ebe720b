"""A company's members as a file, for planning and research: `member-attributes` records, one JSON object a line.

Read as `attach` reads the topic: the group model's attributes are text or null, ``opt_out`` and ``self_id`` mean the
same under every model, a later record of a member replaces an earlier one, and a record that cannot be read takes its
member out (fail closed). Attributes are kept as columns for as long as whoever asked keeps them; nothing of a member
leaves this process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from estimator import GroupModel
from streams.errors import InputError
from streams.replay import read_members

F = NDArray[np.float64]

_MAX_ID_BYTES = 128
_BATCH = 65_536  # members a call of the model: probabilities are made in pieces, so that memory does not double


@dataclass(frozen=True, eq=False)
class MembersFile:
    """The members of a file: one entry a member, whatever the number of its records.

    Attributes:
        ids: shape (n,), dtype S, rising.
        tags: shape (n,), uint64: a hash of each id, by which the contribution cap spreads hours.
        attributes: by the model's attribute, a column of n entries.
        opted_out: shape (n,), bool: those who opted out, and those whose record cannot be read.
        self_id: shape (n, k), float64: the unit mass in equal parts over the groups that the member ticked; zeros where
            nothing was said.
        unreadable: members whose last record cannot be read. unreadable_self_ids: members whose Self-ID cannot; they
            count, without it.
    """

    ids: NDArray[np.bytes_]
    tags: NDArray[np.uint64]
    attributes: dict[str, list[str | None]]
    opted_out: NDArray[np.bool_]
    self_id: F
    unreadable: int
    unreadable_self_ids: int

    def __len__(self) -> int:
        return int(self.ids.size)

    @property
    def said(self) -> NDArray[np.bool_]:
        """Shape (n,): who said a group."""
        return np.asarray(self.self_id.sum(axis=1) > 0)

    def find(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Place of each id: shape (m,), int64; -1 where unknown."""
        place = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
        return np.where(self.ids[place] == ids, place, -1)

    def probabilities(self, model: GroupModel) -> F:
        """Group probabilities: shape (n, k), float64."""
        parts = []
        for start in range(0, len(self), _BATCH):
            columns = {name: column[start : start + _BATCH] for name, column in self.attributes.items()}
            parts.append(model.posterior_of_codes(model.encode(columns)))
        return np.concatenate(parts)


def load_members_file(path: Path, model: GroupModel) -> MembersFile:
    """Read and check a members file.

    Args:
        path: JSONL with ``member_id`` and the model's attributes.

    Raises:
        InputError: it cannot be read, a line is no JSON object or has no member_id, or there are no members.
    """
    # Of several records of a member the last one counts. Ids that no measurement lets in are left aside, as in attach.
    last = {key: value for key, value in read_members(path) if len(key) <= _MAX_ID_BYTES and b"\0" not in key}
    if not last:
        raise InputError(f"{path} holds no members; expected one JSON object a line, with member_id")
    keys = sorted(last)
    reader = _RecordReader(model)
    entries = [reader.read(last[key]) for key in keys]
    digests = b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in keys)
    return MembersFile(
        ids=np.array(keys, dtype=np.bytes_),
        tags=np.frombuffer(digests, "<u8").astype(np.uint64),
        attributes={name: [column(entry) for entry in entries] for name, column in reader.columns},
        opted_out=np.fromiter((entry.opt_out for entry in entries), np.bool_, len(entries)),
        self_id=np.array([reader.mass(entry.self_id) for entry in entries]),
        unreadable=reader.unreadable,
        unreadable_self_ids=reader.unreadable_self_ids,
    )


class _RecordReader:
    """Reads attribute records of one model, and counts what it could not read."""

    def __init__(self, model: GroupModel) -> None:
        text = str | None
        fields: list[tuple[str, Any, Any]] = [(f"a{place}", text, None) for place in range(len(model.attributes))]
        fields += [("self_id", Any, None), ("opt_out", bool, False)]
        names = {f"a{place}": name for place, name in enumerate(model.attributes)}
        kind = msgspec.defstruct("Attributes", fields, rename=names, gc=False)
        self.columns = [(name, attrgetter(f"a{place}")) for place, name in enumerate(model.attributes)]
        self.unreadable = 0
        self.unreadable_self_ids = 0
        self._decoder = msgspec.json.Decoder(kind)
        self._out = kind(opt_out=True)
        self._groups = {name: place for place, name in enumerate(model.groups)}

    def read(self, value: bytes) -> Any:
        """One record; an opted-out member of whom nothing is known where it cannot be read."""
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.unreadable += 1
            return self._out

    def mass(self, said: Any) -> list[float]:
        """What a member said, as k numbers that sum to 1; zeros where that is nothing, or cannot be read."""
        names: Any = [said] if isinstance(said, str) and said else said or []
        mass = [0.0] * len(self._groups)
        if not isinstance(names, list) or not all(isinstance(name, str) and name in self._groups for name in names):
            self.unreadable_self_ids += 1
            return mass
        ticked = set(names)
        for name in ticked:
            mass[self._groups[name]] = 1 / len(ticked)
        return mass
