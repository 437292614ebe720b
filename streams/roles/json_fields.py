"""Fields of JSON records by dotted paths, as columns.

The paths are compiled once into a msgspec Struct that holds just them, and each record is decoded and validated by
itself. ``list[].field`` is a field of an exploded list's elements: one entry an element.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class FlatRecords:
    """Records with their candidates laid out: one entry a row."""

    objects: list[Any]
    items: list[Any] | None
    record: NDArray[np.intp]
    getters: dict[str, tuple[Callable[[Any], Any], bool]]

    @property
    def count(self) -> int:
        return self.record.size

    def column(self, path: str) -> list[Any]:
        """The values at a path, one a row."""
        getter, of_item = self.getters[path]
        if of_item:
            assert self.items is not None  # paths of items exist only where the measurement explodes
            return list(map(getter, self.items))
        values = list(map(getter, self.objects))
        return values if self.items is None else list(map(values.__getitem__, self.record.tolist()))


class CompiledFields:
    """Paths compiled into one msgspec type."""

    def __init__(
        self,
        kind: type[msgspec.Struct],
        getters: dict[str, tuple[Callable[[Any], Any], bool]],
        list_getter: Callable[[Any], Any] | None,
        lenient: tuple[type[msgspec.Struct], type[msgspec.Struct]] | None,
    ) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._lenient = (
            None if lenient is None else (msgspec.json.Decoder(lenient[0]), msgspec.json.Decoder(lenient[1]))
        )
        self._getters = getters
        self._list_getter = list_getter

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
        if self._lenient is None or self._list_getter is None:
            return None
        record_decoder, item_decoder = self._lenient
        good = []
        try:
            record = record_decoder.decode(value)
            for raw in self._list_getter(record):
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
        if self._list_getter is None:
            return FlatRecords(objects, None, np.arange(len(objects), dtype=np.intp), self._getters)
        lists = [self._list_getter(item) for item in objects]
        for position, good in (items_of or {}).items():
            lists[position] = good
        counts = np.fromiter(map(len, lists), np.intp, len(lists))
        items = list(itertools.chain.from_iterable(lists))
        return FlatRecords(objects, items, np.repeat(np.arange(len(objects), dtype=np.intp), counts), self._getters)


def compile_fields(types: dict[str, Any], explode: str | None) -> CompiledFields:
    """Compile dotted paths, some of them inside ``explode``'s elements (written ``list[].field``)."""
    prefix = f"{explode}[]." if explode else None
    inner = {path: kind for path, kind in types.items() if prefix and path.startswith(prefix)}
    outer = {path: kind for path, kind in types.items() if path not in inner}
    getters: dict[str, tuple[Callable[[Any], Any], bool]] = {}
    list_getter = lenient = None
    leaves: dict[str, Any] = {path: (kind, None) for path, kind in outer.items()}
    if explode and prefix:
        item_type, item_getters = _struct({path.removeprefix(prefix): (kind, None) for path, kind in inner.items()})
        getters |= {prefix + path: (getter, True) for path, getter in item_getters.items()}
        lenient = _struct(leaves | {explode: (list[msgspec.Raw], ())})[0], item_type
        leaves[explode] = (list[item_type], ())  # type: ignore[valid-type]  # built at run time
    record_type, record_getters = _struct(leaves)
    if explode:
        list_getter = record_getters.pop(explode)
    getters |= {path: (getter, False) for path, getter in record_getters.items()}
    return CompiledFields(record_type, getters, list_getter, lenient)


def _struct(leaves: dict[str, Any]) -> tuple[type[msgspec.Struct], dict[str, Callable[[Any], Any]]]:
    """A Struct for dotted paths: its type, and an accessor for each path."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = tree
        *parents, last = path.split(".")
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = leaf
    names: dict[str, str] = {}
    kind = _node_type(tree, "", names)
    return kind, {path: operator.attrgetter(names[path]) for path in leaves}


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
