"""`member-attributes` records as the company writes them: what is read of one, whatever the group model.

The group model's ``attributes``, each text or null, and under every model ``opt_out`` and ``self_id``: what the member
said, as a list of the model's group names (several: a multi-select), or one name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from estimator.model import GroupModel
from estimator.self_id import mask_of

MAX_ID_BYTES = 128
"""No measurement lets longer ids in (``Source.member_max_bytes``), so no row can ask for them."""


OPT_OUT = b'{"opt_out": true}'
"""The value that ``evenstream members opt-out`` writes: the wish, and nothing else of the member."""

_BARE = frozenset((None, OPT_OUT, b'{"opt_out":true}'))


is_bare_opt_out: Callable[[bytes | None], bool] = _BARE.__contains__
"""Whether a record takes its member out and says nothing else: it need not be decoded, and no model be asked."""


def is_member_id(key: bytes | None) -> bool:
    """Whether a key can be a member's id."""
    # `seal` refuses ids that hold NUL: in an array, whose padding it is, they would pass for other ones.
    return key is not None and 0 < len(key) <= MAX_ID_BYTES and b"\0" not in key


def are_member_ids(keys: Sequence[bytes | None]) -> bool:
    """Whether all keys can be members' ids: the same as asking of each, without a step for each."""
    if None in keys:
        return False
    lengths = list(map(len, keys))  # type: ignore[arg-type]  # none is None
    if not lengths or not 0 < min(lengths) <= max(lengths) <= MAX_ID_BYTES:
        return False
    return b"\0" not in b"".join(keys)  # type: ignore[arg-type]


class AttributeReader:
    """Reads records for one model.

    Attributes:
        columns: (attribute, its accessor on an entry) of each of the model's attributes.
        out: the entry of a member who must not count, and of whom nothing is known.
    """

    def __init__(self, model: GroupModel) -> None:
        text = str | None
        fields: list[tuple[str, Any, Any]] = [(f"a{place}", text, None) for place in range(len(model.attributes))]
        fields += [("self_id", Any, None), ("opt_out", bool, False)]
        names = {f"a{place}": name for place, name in enumerate(model.attributes)}
        kind = msgspec.defstruct("Attributes", fields, rename=names, gc=False)
        self.columns: list[tuple[str, Callable[[Any], str | None]]] = [
            (name, attrgetter(f"a{place}")) for place, name in enumerate(model.attributes)
        ]
        self.out: Any = kind(opt_out=True)
        self._groups = model.groups
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, value: bytes) -> Any | None:
        """The entry of one record: the attributes, ``self_id`` and ``opt_out``; None where it cannot be read."""
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def read_all(self, values: Sequence[bytes]) -> list[Any] | None:
        """The entries of many records in one call; None where they must be read one by one.

        Each value has to be one line of its own, from brace to brace, as in ``json_fields``: one that holds a newline,
        nothing, half an object or two could otherwise shift the records after it, and give a member another's.
        """
        joined = b"\n".join(values)
        if {joined.count(b"\n"), joined.count(b"}\n{")} != {len(values) - 1} or joined[:1] + joined[-1:] != b"{}":
            return None
        try:
            entries = self._decoder.decode_lines(joined)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return entries if len(entries) == len(values) else None

    def mask(self, said: Any) -> int | None:
        """Bits of the groups that a member said; 0 where nothing was said, None where it cannot be read."""
        if said is None or said == "" or said == []:
            return 0
        names = [said] if isinstance(said, str) else said
        readable = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return mask_of(names, self._groups) if readable else None
