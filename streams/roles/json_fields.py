"""Fields of JSON records by dotted paths, as columns.

The paths are compiled once into a msgspec Struct that holds just them, and each record is decoded and validated by
itself. ``list[].field`` is a field of an exploded list's elements: one entry an element.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

_Column: TypeAlias = Callable[[Sequence[Any]], list[Any]]
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class FlatRecords:
    """Records with their candidates laid out: one entry a row."""

    objects: list[Any]
    items: list[Any] | None
    record: NDArray[np.intp]
    columns: dict[str, tuple[_Column, bool]]

    @property
    def count(self) -> int:
        return self.record.size

    def column(self, path: str) -> list[Any]:
        """The values at a path, one a row."""
        column, of_item = self.columns[path]
        if of_item:
            assert self.items is not None  # paths of items exist only where the measurement explodes
            return column(self.items)
        values = column(self.objects)
        return values if self.items is None else list(map(values.__getitem__, self.record.tolist()))


class CompiledFields:
    """Paths compiled into one msgspec type."""

    def __init__(
        self,
        kind: type[msgspec.Struct],
        columns: dict[str, tuple[_Column, bool]],
        lists: _Column | None,
        lenient: tuple[type[msgspec.Struct], type[msgspec.Struct]] | None,
    ) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._lenient = (
            None if lenient is None else (msgspec.json.Decoder(lenient[0]), msgspec.json.Decoder(lenient[1]))
        )
        self._columns = columns
        self._lists = lists

    def decode_one(self, value: bytes) -> Any:
        return self._decoder.decode(value)

    def decode_all(self, values: Sequence[bytes]) -> list[Any] | None:
        """All records, or None where some do not decode: they must be looked at one by one."""
        try:
            return list(map(self._decoder.decode, values))
        except UNDECODABLE:
            return None

    def decode_good_items(self, value: bytes) -> tuple[Any, list[Any]] | None:
        """A record that does not decode as a whole, and those elements of its exploded list that do by themselves.

        None where there is no list, what is wrong is in the record itself, or some of it is no JSON.
        """
        if self._lenient is None or self._lists is None:
            return None
        record_decoder, item_decoder = self._lenient
        good = []
        try:
            record = record_decoder.decode(value)
            for raw in self._lists([record])[0]:
                with contextlib.suppress(msgspec.ValidationError):
                    good.append(item_decoder.decode(raw))
        except UNDECODABLE:  # a wrong type may stand before the place where the record stops being JSON
            return None
        return record, good

    def flatten(self, objects: list[Any], items_of: Mapping[int, list[Any]] | None = None) -> FlatRecords:
        """Lay records out.

        Args:
            items_of: by position, the elements to take instead of a record's own list.
        """
        if self._lists is None:
            return FlatRecords(objects, None, np.arange(len(objects), dtype=np.intp), self._columns)
        lists = self._lists(objects)
        for position, good in (items_of or {}).items():
            lists[position] = good
        counts = np.fromiter(map(len, lists), np.intp, len(lists))
        items = list(itertools.chain.from_iterable(lists))
        return FlatRecords(objects, items, np.repeat(np.arange(len(objects), dtype=np.intp), counts), self._columns)


def compile_fields(types: dict[str, Any], explode: str | None) -> CompiledFields:
    """Compile dotted paths, some of them inside ``explode``'s elements (written ``list[].field``)."""
    prefix = f"{explode}[]." if explode else None
    inner = {path: kind for path, kind in types.items() if prefix and path.startswith(prefix)}
    outer = {path: kind for path, kind in types.items() if path not in inner}
    columns: dict[str, tuple[_Column, bool]] = {}
    lists = lenient = None
    leaves: dict[str, Any] = {path: (kind, None) for path, kind in outer.items()}
    if explode and prefix:
        item_type, item_columns = _struct({path.removeprefix(prefix): (kind, None) for path, kind in inner.items()})
        columns |= {prefix + path: (column, True) for path, column in item_columns.items()}
        lenient = _struct(leaves | {explode: (list[msgspec.Raw], ())})[0], item_type
        leaves[explode] = (list[item_type], ())  # type: ignore[valid-type]  # built at run time
    record_type, record_columns = _struct(leaves)
    if explode:
        lists = record_columns.pop(explode)
    columns |= {path: (column, False) for path, column in record_columns.items()}
    return CompiledFields(record_type, columns, lists, lenient)


def _struct(leaves: dict[str, Any]) -> tuple[type[msgspec.Struct], dict[str, _Column]]:
    """A Struct for dotted paths: its type, and what takes each path out of a list of them."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = tree
        *parents, last = path.split(".")
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    names: dict[str, str] = {}
    kind = _node_type(tree, "", names)
    return kind, {path: _column(names[path]) for path in leaves}


def _column(attribute: str) -> _Column:
    """Takes one attribute, a dotted path of names that this module has made, out of a list of objects.

    It is compiled: an attribute that stands in the code is found in less than half the time that ``attrgetter`` takes,
    since the interpreter remembers where it lies.
    """
    column: _Column = eval(f"lambda objects: [item.{attribute} for item in objects]")  # noqa: S307  # names are ours
    return column


def _node_type(tree: dict[str, Any], prefix: str, names: dict[str, str], attribute: str = "") -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    rename = {}
    for number, (name, node) in enumerate(tree.items()):
        path = f"{prefix}.{name}" if prefix else name
        python_name = f"f{number}"
        rename[python_name] = name
        dotted = f"{attribute}.{python_name}" if attribute else python_name
        if isinstance(node, dict):
            nested = _node_type(node, path, names, dotted)
            fields.append((python_name, nested, msgspec.field(default_factory=nested)))
        else:
            leaf_type, default = node
            names[path] = dotted
            fields.append((python_name, leaf_type, msgspec.field(default=default)))
    return msgspec.defstruct("Fields", fields, rename=rename, gc=False, frozen=True)
