"""A company's members as a file, for planning and research: `member-attributes` records, one JSON object a line.

Read as `attach` reads the topic: the group model's attributes are text or null, ``opt_out`` and ``self_id`` mean the
same under every model, a later record of a member replaces an earlier one, and a record that cannot be read takes its
member out (fail closed). Attributes are kept as columns for as long as whoever asked keeps them; nothing of a member
leaves this process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from estimator import GroupModel
from streams.errors import InputError
from streams.replay import read_members
from streams.roles.attribute_records import AttributeReader, is_member_id

F = NDArray[np.float64]

_BATCH = 65_536  # members a call of the model: probabilities are made in pieces, so that memory does not double


@dataclass(frozen=True, eq=False)
class MembersFile:
    """The members of a file: one entry a member, whatever the number of its records.

    Attributes:
        ids: shape (n,), dtype S, rising.
        tags: shape (n,), uint64: a hash of each id, by which the contribution cap spreads hours.
        attributes: by the model's attribute, a column of n entries.
        opted_out: shape (n,), bool: those who opted out, and those whose record cannot be read.
        self_id: shape (n,), uint16: bit g set where the member ticked the model's group g; 0 where nothing was said.
        unreadable: members whose last record cannot be read. unreadable_self_ids: members whose Self-ID cannot; they
            count, without it.
    """

    ids: NDArray[np.bytes_]
    tags: NDArray[np.uint64]
    attributes: dict[str, list[str | None]]
    opted_out: NDArray[np.bool_]
    self_id: NDArray[np.uint16]
    unreadable: int
    unreadable_self_ids: int

    def __len__(self) -> int:
        return int(self.ids.size)

    @property
    def said(self) -> NDArray[np.bool_]:
        """Shape (n,): who said a group."""
        return np.asarray(self.self_id != 0)

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
    # Of several records of a member the last one counts. Keys that can be no member's id are left aside, as in attach.
    last = {key: value for key, value in read_members(path) if is_member_id(key)}
    if not last:
        raise InputError(f"{path} holds no members; expected one JSON object a line, with member_id")
    reader, keys = AttributeReader(model), sorted(last)
    read = [reader.read(last[key]) for key in keys]
    entries = [reader.out if entry is None else entry for entry in read]
    masks = [reader.mask(entry.self_id) for entry in entries]
    digests = b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in keys)
    return MembersFile(
        ids=np.array(keys, dtype=np.bytes_),
        tags=np.frombuffer(digests, "<u8").astype(np.uint64),
        attributes={name: [column(entry) for entry in entries] for name, column in reader.columns},
        opted_out=np.fromiter((entry.opt_out for entry in entries), np.bool_, len(entries)),
        self_id=np.array([mask or 0 for mask in masks], dtype=np.uint16),
        unreadable=sum(entry is None for entry in read),
        unreadable_self_ids=sum(mask is None for mask in masks),
    )
