"""Layouts that go back: what the workers of a role have begun outlives the topic, and nothing that is older holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import TRUSTED, identity

from streams.errors import EvenstreamError, RecordMalformed
from streams.layouts import BegunLayout, Layouts
from streams.records.layout import Layout, LayoutRecord, decode_layout, sign_layout

SHARDS = st.integers(1, 8)


def chain(shards: Sequence[int]) -> list[tuple[LayoutRecord, bytes]]:
    """Layouts of attach that follow each other, with their signed records."""
    found, layout = [], Layout()
    for count in shards:
        record = layout.next("attach", count, 0)
        found.append((record, sign_layout(identity("attach"), record).value))
        layout = Layout.of(record)
    return found


def take(layouts: Layouts, records: Sequence[tuple[LayoutRecord, bytes]]) -> int:
    """Take records in; how many were refused."""
    refused = 0
    for record in records:
        try:
            layouts.take_in(*record)
        except RecordMalformed:
            refused += 1
    return refused


@given(st.lists(SHARDS, min_size=2, max_size=40), st.data())
def test_nothing_before_what_was_begun_holds(shards: list[int], data: st.DataObject) -> None:
    """Whatever of the past the topic holds, and whenever it is read: the generation that was begun stays in force."""
    records = chain(shards)
    begun = data.draw(st.integers(0, len(records) - 1))
    topic = data.draw(st.lists(st.sampled_from(records[: begun + 1]), max_size=6))
    cut = data.draw(st.integers(0, len(topic)))
    layouts = Layouts()
    take(layouts, topic[:cut])
    layouts.begin(*records[begun])
    take(layouts, topic[cut:])
    held = Layout.of(records[begun][0])
    assert layouts.of("attach") == held
    assert layouts.value("attach") == records[begun][1]
    last = Layout.of(topic[-1][0]) if topic else Layout()
    assert layouts.out_of_place("attach") == (None if last == held else last)
    assert take(layouts, records[begun + 1 :]) == 0
    assert layouts.of("attach") == Layout.of(records[-1][0])
    assert layouts.out_of_place("attach") is None or begun == len(records) - 1


def test_a_topic_that_was_not_compacted_yet_is_no_attack() -> None:
    """All layouts there ever were, in their order: nothing is refused, and nothing is out of place at the end."""
    records = chain([3, 1, 2, 3])
    layouts = Layouts()
    layouts.begin(*records[2])
    assert take(layouts, records) == 0
    assert layouts.out_of_place("attach") is None
    assert take(layouts, [records[1]]) == 1  # put back behind them
    assert layouts.out_of_place("attach") == Layout.of(records[1][0])
    assert take(layouts, [records[3]]) == 0
    assert layouts.out_of_place("attach") is None


def test_another_past_is_refused() -> None:
    """Layouts that go on from one that was put back do not hold, even with higher generations than was begun."""
    records, other = chain([3, 1, 2]), chain([3, 1, 4, 5])
    layouts = Layouts()
    layouts.begin(*records[2])
    assert take(layouts, other) == 2  # the third and the fourth
    assert layouts.of("attach").shards == 2
    assert take(layouts, chain([3, 1, 2, 5])[3:]) == 0
    assert layouts.of("attach").shards == 5
    late = Layouts()
    take(late, other)
    late.begin(*records[2])  # what was begun stands, whichever came first
    assert late.of("attach") == Layout.of(records[2][0])


def test_what_was_begun_is_kept_in_a_file(tmp_path: Path) -> None:
    """The highest generation stays; the file is the record itself, and readable by its owner alone."""
    first, second = chain([3, 1])
    begun = BegunLayout(tmp_path / "attach" / "state" / "layout", "attach", TRUSTED)
    assert begun.read() is None
    for record, value in (first, second, first):
        begun.keep(Layout.of(record), value)
    assert begun.read() == second
    assert begun.path.read_bytes() == second[1]
    assert begun.path.stat().st_mode & 0o777 == 0o600
    assert decode_layout(begun.path.read_bytes(), TRUSTED) == second[0]


def test_a_file_that_is_no_layout_ends_the_role(tmp_path: Path) -> None:
    """Cut, signed by another, or another role's: an error that says which file and what to do, not an old layout."""
    path = tmp_path / "layout"
    begun = BegunLayout(path, "attach", TRUSTED)
    ((record, value),) = chain([3])
    of_seal = sign_layout(identity("seal"), msgspec.structs.replace(record, role="seal"))
    for bad in (value[:-1], b"", sign_layout(identity("seal"), record).value, of_seal.value):
        path.write_bytes(bad)
        with pytest.raises(EvenstreamError, match=r"layout should hold the layout .* Restore it"):
            begun.read()
    path.unlink()
    path.mkdir()
    with pytest.raises(EvenstreamError, match="should hold"):
        begun.read()


def test_a_layout_that_cannot_be_kept_does_not_begin(tmp_path: Path) -> None:
    """Where there is no room, or no folder, the error says so."""
    (tmp_path / "state").write_bytes(b"in the way")
    ((record, value),) = chain([3])
    with pytest.raises(EvenstreamError, match=r"cannot be written to .* an older one could be put back"):
        BegunLayout(tmp_path / "state" / "layout", "attach", TRUSTED).keep(Layout.of(record), value)
