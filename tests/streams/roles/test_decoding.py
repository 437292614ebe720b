"""From the company's JSON to rows: whatever comes, it is a row, refused with its reason, or filtered out by itself."""

from __future__ import annotations

import json
from bisect import bisect_right
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_records import brief

from privacy import parse_measurement
from streams.roles.decoding import Decoded, EventDecoder

SPEC = """
id: feed
purpose: tests of decoding
source: {{topic: t, member: {member}, time: {time}, time_format: {time_format}, member_max_bytes: 8{more}}}
cells: {{{cells}}}
windows: {{base: 10s, lateness: 1s}}
reference: white
privacy: {{contribution_cap: 24, rho_member_day: 0.1, cap_rule: first}}
"""
GOOD = b'{"m":{"id":"ann"},"at":5000,"s":0.5,"d":true}'
OTHER = b'{"m":{"id":"bob"},"at":6000,"s":0.1,"d":0}'
DEEP = b"[" * 100_000
DIGITS = b"1" * 400


def make(
    *,
    member: str = "m.id",
    time: str = "at",
    time_format: str = "epoch_ms",
    cells: str = "score: {field: s, bins: [0.25, 0.5]}, decision: {field: d}",
    more: str = "",
) -> EventDecoder:
    """A decoder of a measurement that differs from the usual one where the test needs it."""
    text = SPEC.format(member=f'"{member}"', time=f'"{time}"', time_format=time_format, cells=cells, more=more)
    return EventDecoder(parse_measurement(text, origin="test"))


def shown(decoded: Decoded) -> tuple[list[tuple[int, int, bytes, int]], list[tuple[int, str]]]:
    """(record, time, member, cell) of each row, and what was refused, in the order of the records."""
    rows = decoded.rows
    columns = rows.record.tolist(), rows.time_ms.tolist(), rows.members.tolist(), rows.cells.tolist()
    return list(zip(*columns, strict=True)), sorted(decoded.refused)


def only(decoder: EventDecoder, value: bytes) -> tuple[list[tuple[int, bytes, int]], list[str]]:
    """(time, member, cell) of the rows of one record, and the reasons for which it or rows of it were refused."""
    rows, refused = shown(decoder.decode([value]))
    return [row[1:] for row in rows], [reason for _, reason in refused]


def event(**changes: Any) -> bytes:
    """The good event as JSON; a field that is changed to ... is left out."""
    content = json.loads(GOOD) | changes
    return json.dumps({name: value for name, value in content.items() if value is not ...}).encode()


FLAT = make()
FILTERED = make(more=", filter: [{field: kind, one_of: [1]}]")
EXPLODED = make(
    member="c.list[].who.id",
    cells='score: {field: "c.list[].s", bins: [0.25, 0.5]}, decision: {field: "c.list[].d"}',
    more=', explode: c.list, filter: [{field: kind, one_of: [1]}, {field: "c.list[].slot", one_of: [top]}]',
)


def test_a_row_is_what_the_event_says() -> None:
    """Member, time and cell come from the paths of the measurement; the cell counts score bins, then the decision."""
    assert shown(FLAT.decode([GOOD, OTHER])) == ([(0, 5000, b"ann", 5), (1, 6000, b"bob", 0)], [])
    assert shown(FLAT.decode([])) == ([], [])


# fmt: off
MALFORMED: dict[str, list[bytes]] = {
    "not_json": [
        b"", b"   ", b"\x00\x01\xff", GOOD[:-1], GOOD + b"x", GOOD + b" " + GOOD, GOOD + GOOD, b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"5000", b"NaN"), GOOD.replace(b"5000", b"-Infinity"), GOOD.replace(b"ann", b"\xff\xfe"),
        GOOD.replace(b"ann", b"\\ud800"), GOOD.replace(b"ann", b"a\nn"), GOOD[:-1] + b',"x":' + DEEP,
        GOOD[:-1] + b',"x":' + DEEP + b"]" * len(DEEP) + b"}",
    ],
    "wrong_type": [  # JSON, but not what the paths expect
        b"null", b"[]", b"5000", event(m="ann"), event(m=None), event(m={"id": True}), event(m={"id": 1.5}),
        event(m={"id": ["ann"]}), event(at="5000"), event(at=True), event(at={}), event(s="0.5"), event(s=True),
        event(d="yes"), event(d=2), event(d=-1), event(d=1.0), GOOD.replace(b"true", DIGITS),
        GOOD.replace(b"true", b"-" + DIGITS), GOOD.replace(b"true", b"1" * 5000), GOOD.replace(b"0.5", DIGITS),
        GOOD.replace(b"5000", DIGITS), GOOD.replace(b"5000", b"1e400"), GOOD.replace(b'"ann"', b"1" * 5000),
    ],
    "missing_field": [
        b"{}", event(m=...), event(m={}), event(m={"id": None}), event(m={"id": ""}), event(at=...), event(at=None),
        event(s=None), event(d=...),
    ],
    "time_out_of_range": [  # 1969, the year 10000, and times that no calendar has
        event(at=-1), event(at=253_402_300_800_000), event(at=1e30), event(at=-1e300), event(at=1 << 63),
    ],
    "bad_member_id": [  # too long, or holding NUL, which pads ids in arrays
        event(m={"id": "x" * 9}), event(m={"id": "é" * 5}), event(m={"id": "ann\0"}), event(m={"id": "\0"}),
        event(m={"id": 123_456_789}), GOOD.replace(b'"ann"', DIGITS),
    ],
}
# fmt: on


@pytest.mark.parametrize(
    ("value", "reason"), [(value, reason) for reason in MALFORMED for value in MALFORMED[reason]], ids=brief
)
def test_what_cannot_be_read_is_refused_alone(value: bytes, reason: str) -> None:
    """A malformed event is refused with its reason, alone or in a batch, and its neighbours give their rows."""
    assert only(FLAT, value) == ([], [reason])
    assert shown(FLAT.decode([GOOD, value, OTHER])) == ([(0, 5000, b"ann", 5), (2, 6000, b"bob", 0)], [(1, reason)])


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (b' {"m":\n{"id":"ann"},\r\n"at":5000,"s":0.5,"d":true}\n', (5000, b"ann", 5)),
        (event(x={"anything": [1, {"y": None}]}), (5000, b"ann", 5)),
        (GOOD[:-1] + b',"x":"\xff\xfe","x":1e999}', (5000, b"ann", 5)),
        (event(d=1), (5000, b"ann", 5)),
        (event(d=False), (5000, b"ann", 4)),
        (event(m={"id": 7}), (5000, b"7", 5)),
        (event(m={"id": "x" * 8}), (5000, b"x" * 8, 5)),
        (event(m={"id": "Núñez"}), (5000, "Núñez".encode(), 5)),
        (event(at=0), (0, b"ann", 5)),
        (event(at=-0.0), (0, b"ann", 5)),
        (event(at=4999.9), (4999, b"ann", 5)),
        (event(at=253_402_300_799_000), (253_402_300_799_000, b"ann", 5)),
        (event(s=-1e308), (5000, b"ann", 1)),
        (b'{"m":{"id":"eve"},"m":{"id":"ann"},"at":1,"at":5000,"s":0.5,"d":0,"d":true}', (5000, b"ann", 5)),
    ],
)
def test_what_can_be_read_is_a_row(value: bytes, row: tuple[int, bytes, int]) -> None:
    """Newlines, unknown fields, whole numbers as ids and as flags are welcome; of a repeated key the last counts."""
    assert only(FLAT, value) == ([row], [])
    assert shown(FLAT.decode([OTHER, value]))[0][1:] == [(1, *row)]


@pytest.mark.parametrize("less", [[b""], [b"  "], [b'{"m":{"id":"eve"},', b'"at":1,"s":0,"d":true}']])
def test_halves_and_doubles_shift_nothing(less: list[bytes]) -> None:
    """Two events in one record give no row, even where an empty record, or one cut in two, makes counts equal again."""
    for values in ([GOOD, *less, OTHER + OTHER, OTHER], [OTHER + OTHER, *less, GOOD], [*less, OTHER + OTHER]):
        rows, refused = shown(FLAT.decode(values))
        good = [place for place, value in enumerate(values) if value in (GOOD, OTHER)]
        assert [row[0] for row in rows] == good
        assert [place for place, _ in refused] == [place for place in range(len(values)) if place not in good]


# fmt: off
PIECES = st.sampled_from([
    GOOD, OTHER, b"", b"\n", b"{}", b"{", b"}", GOOD[:20], GOOD[20:], GOOD.replace(b"true", DIGITS), event(at=1e30),
    event(s="x"), event(kind=1), event(kind=True), event(kind=2, d="no"), b'{"d":"no","kind":2',
    b'{"at":5,"kind":1,"c":{"list":[{"who":{"id":"z"},"s":1,"d":1,"slot":"top"},{"slot":"top"}]}}',
    b'{"at":5,"kind":1,"c":{"list":null}}', b'{"at":5,"kind":1,"c":{"list":[{"d":"no"}',
])
# fmt: on
VALUES = st.lists(PIECES | st.tuples(PIECES, PIECES).map(b"".join) | st.binary(max_size=12), max_size=8)


@given(values=VALUES, decoder=st.sampled_from([FLAT, FILTERED, EXPLODED]))
@settings(deadline=None)
def test_a_batch_is_its_records_one_by_one(values: list[bytes], decoder: EventDecoder) -> None:
    """Decoding a batch gives just what its records give alone: no event changes another's rows."""
    rows, refused = [], []
    for position, value in enumerate(values):
        alone, reasons = only(decoder, value)
        rows += [(position, *row) for row in alone]
        refused += [(position, reason) for reason in reasons]
    assert shown(decoder.decode(values)) == (rows, sorted(refused))


@given(
    good=st.lists(st.sampled_from([GOOD, OTHER]), max_size=6), bad=st.binary(max_size=40) | PIECES, at=st.integers(0)
)
@settings(deadline=None)
def test_one_record_more_changes_only_its_own_rows(good: list[bytes], bad: bytes, at: int) -> None:
    """With and without a hostile record, all other records have the same rows."""
    place = at % (len(good) + 1)
    with_it, _ = shown(FLAT.decode([*good[:place], bad, *good[place:]]))
    others = [(record - (record > place), *row) for record, *row in with_it if record != place]
    assert others == shown(FLAT.decode(good))[0]


# -- time ---------------------------------------------------------------------------------------------------------


@given(time_ms=st.integers(0, 4_102_444_800_000))
def test_every_format_keeps_the_millisecond(time_ms: int) -> None:
    """Until 2100 a millisecond is the same in all formats, so that an event on a window's edge stays on its side."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).replace(microsecond=time_ms % 1000 * 1000)
    for time_format, value in (
        ("epoch_ms", time_ms),
        ("epoch_s", time_ms / 1000),
        ("iso8601", moment.isoformat(timespec="milliseconds")),
    ):
        assert only(TIMED[time_format], event(at=value)) == ([(time_ms, b"ann", 5)], [])


TIMED = {name: make(time_format=name) for name in ("epoch_ms", "epoch_s", "iso8601")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29T12:00:00+02:00", 1_709_200_800_000),
        ("2024-02-29 10:00:00.1239Z", 1_709_200_800_123),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ("9999-12-31T23:59:59.5Z", "time_out_of_range"),
        ("9999-12-31T23:59:59-23:59", "time_out_of_range"),
        ("0001-01-01T00:00:00+23:59", "time_out_of_range"),
        ("1969-12-31T23:59:59Z", "time_out_of_range"),
        ("10000-01-01T00:00:00Z", "wrong_type"),
        ("2024-02-29T12:00:00", "wrong_type"),
        ("2024-02-30T12:00:00Z", "wrong_type"),
        ("2024-02-29T12:00Z", "wrong_type"),
        ("20240229T120000Z", "wrong_type"),
        ("", "wrong_type"),
        (1_709_200_800, "wrong_type"),
        (None, "missing_field"),
    ],
)
def test_iso8601(text: Any, expected: int | str) -> None:
    """A date and time with a zone (RFC 3339) is a time; without one, out of the calendar or as a number it is none."""
    rows, reasons = only(TIMED["iso8601"], event(at=text))
    assert [row[0] for row in rows] + reasons == [expected]


# -- filters and lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found", "passes"),
    [
        ("[1]", 1, True),
        ("[1]", 1.0, False),
        ("[1]", True, False),
        ("[1]", "1", False),
        ("[true]", True, True),
        ("[true]", 1, False),
        ("[0.5, search]", 0.5, True),
        ("[0.5, search]", "search", True),
        ("[0.5, search]", "Search", False),
        ("['']", None, False),
        ("['']", ..., False),
        ("['']", "", True),
        ("[1]", 10**30, False),
    ],
)
def test_filters_compare_type_and_value(wanted: str, found: Any, passes: bool) -> None:
    """JSON's true is not 1 and 1.0 is not 1: a filter compares with the type, and what it drops is not refused."""
    decoder = make(more=f", filter: [{{field: kind, one_of: {wanted}}}]")
    assert only(decoder, event(kind=found)) == ([(5000, b"ann", 5)] if passes else [], [])


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (event(kind=2, d="no", at="never", m=7), []),
        (event(kind=None, d="no"), []),
        (event(kind=1, d="no"), ["wrong_type"]),
        (b'{"d":"no","kind":2', ["wrong_type"]),
        (b'{"d":"no","kind":2,"x":' + DEEP, ["wrong_type"]),
        (b'{"d":"no","kind":"\xff"}', ["wrong_type"]),
        (event(kind={}), ["wrong_type"]),
    ],
    ids=brief,
)
def test_other_kinds_of_events_are_left_alone(value: bytes, reasons: list[str]) -> None:
    """An event that the filter drops may be of any shape; one that it does not, or that is broken, is refused."""
    assert only(FILTERED, value) == ([], reasons)


ITEM = '{"who":{"id":"%s"},"s":%s,"d":1,"slot":"top"}'


@pytest.mark.parametrize(
    ("items", "rows", "reasons"),
    [
        ("[]", [], []),
        (f"[{ITEM % ('ann', 0)},{ITEM % ('bob', 0.5)}]", [(9, b"ann", 1), (9, b"bob", 5)], []),
        (f'[{ITEM % ("ann", 0)},{{"slot":"top"}}]', [(9, b"ann", 1)], ["missing_field"]),
        (f"[{ITEM % ('x' * 9, 0)},{ITEM % ('ann', 0)}]", [(9, b"ann", 1)], ["bad_member_id"]),
        (f'[{ITEM % ("ann", 0)},{{"slot":"side"}},{{}}]', [(9, b"ann", 1)], []),
        (f"[{ITEM % ('ann', 0)},null]", [(9, b"ann", 1)], ["wrong_type"]),
        (f"[{ITEM % ('bob', 'true')},{ITEM % ('ann', 0)}]", [(9, b"ann", 1)], ["wrong_type"]),
        (f'[{{"d":"no"}},{ITEM % ("ann", 0)}', [], ["wrong_type"]),
        (f'[{{"d":"no"}},{ITEM % ("ann", 0)},{ITEM % (chr(92) + "ud800", 0)}]', [], ["wrong_type"]),
        (f'[{{"d":"no"}},{ITEM % ("ann", 0)},{"[" * 100_000}', [], ["wrong_type"]),
        ("null", [], ["wrong_type"]),
        ("{}", [], ["wrong_type"]),
        ('[{"who":null,"slot":"top"}]', [], ["wrong_type"]),
    ],
    ids=brief,
)
def test_a_list_gives_a_row_an_element(items: str, rows: list[tuple[int, bytes, int]], reasons: list[str]) -> None:
    """Each candidate is a row with the record's time; one that misses something is refused by itself, once a record."""
    assert only(EXPLODED, f'{{"kind":1,"at":9,"c":{{"list":{items}}}}}'.encode()) == (rows, reasons)


@pytest.mark.parametrize("rest", ["", ',"c":{}', ',"c":{"list":[]}', ',"c":null', ',"c":"none"', ',"c":{"list":null}'])
def test_a_record_without_a_list_may_be_another_kind(rest: str) -> None:
    """Of an event that the filter drops not even the list is looked at; of one that it keeps a missing one is empty."""
    assert only(EXPLODED, f'{{"kind":2,"at":9{rest}}}'.encode()) == ([], [])
    expected = ["wrong_type"] if "null" in rest or "none" in rest else []
    assert only(EXPLODED, f'{{"kind":1,"at":9{rest}}}'.encode()) == ([], expected)


# -- cells and paths ----------------------------------------------------------------------------------------------


@given(
    score=st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-1, 0, 0.1, 0.3, 0.1 + 0.2, 1, 5e-324])
)
def test_bins_hold_their_lower_edge(score: float) -> None:
    """A score's bin is the number of edges at or below it, to the last bit; decision, outcome and rank follow."""
    cells = "score: {field: s, bins: [0, 0.1, 0.3]}, decision: {field: d}, outcome: {field: o}"
    decoder = make(cells=cells + ", rank: {field: r, bins: [2, 4]}")
    expected = ((bisect_right([0, 0.1, 0.3], score) * 2 + 1) * 2 + 0) * 3 + 2
    assert only(decoder, event(s=score, o=0, r=4)) == ([(5000, b"ann", expected)], [])


@pytest.mark.parametrize("time_format", ["epoch_ms", "epoch_s", "iso8601"])
def test_a_time_that_is_filtered_on_raises_nothing(time_format: str) -> None:
    """Where one path serves two purposes and so may hold anything, what is no time is refused and not read as one."""
    decoder = make(time_format=time_format, more=', filter: [{field: at, one_of: [5, "5", now, true]}]')
    assert [only(decoder, event(at=value))[1] for value in ("now", "5")] == [["wrong_type"]] * 2
    expected = {"epoch_ms": [5], "epoch_s": [5000], "iso8601": []}[time_format]
    assert [row[0] for row in only(decoder, event(at=5))[0]] == expected


def test_a_flag_that_is_filtered_on_raises_nothing() -> None:
    """Text and huge numbers at a flag's path are refused, also where a filter lets the decoder take any type there."""
    decoder = make(more=f", filter: [{{field: d, one_of: [true, 'yes', {'1' * 400}]}}]")
    assert only(decoder, GOOD) == ([(5000, b"ann", 5)], [])
    assert only(decoder, event(d="yes")) == ([], ["wrong_type"])
    assert only(decoder, event(d=int("1" * 400))) == ([], ["wrong_type"])


@pytest.mark.parametrize(
    "ids",
    [["ab", "abc", "a"], ["ab", "a", "abc"], ["ann", "bob", "eve"], ["a", "é"], ["ab", "c"]],
    ids=["longer then shorter", "shorter then longer", "one length", "not ASCII", "shorter last"],
)
def test_ids_of_a_batch_are_those_of_its_records(ids: list[str]) -> None:
    """Ids of one length are read together, and lengths that only add up to the same do not pass for that."""
    found = FLAT.decode([event(m={"id": name}) for name in ids]).rows.members.tolist()
    assert found == [name.encode() for name in ids]


def test_nul_within_an_id_does_not_pass_for_the_end_of_one() -> None:
    """Of ids that stand in line with their neighbours' ends, the one that holds NUL is refused, and no other."""
    rows, refused = shown(FLAT.decode([event(m={"id": name}) for name in ("ab", "c\0d", "ef")]))
    assert [row[2] for row in rows] == [b"ab", b"ef"]
    assert refused == [(1, "bad_member_id")]


def test_dtypes() -> None:
    """Rows are arrays of fixed types, also where there are none."""
    for rows in (FLAT.decode([]).rows, FLAT.decode([b"x"]).rows, FLAT.decode([GOOD]).rows):
        found = rows.record.dtype, rows.time_ms.dtype, rows.members.dtype, rows.cells.dtype
        assert found == (np.dtype(np.intp), np.dtype(np.int64), np.dtype("S8"), np.dtype(np.uint16))
