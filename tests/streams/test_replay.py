"""Replays: a log is read and checked whole, and written with its own times or moved to the present, nothing else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import Measurement, parse_measurement
from streams import replay
from streams.errors import InputError
from streams.replay import LoggedEvent, _stamped, read_events, read_members, replay_as_logged, replay_now
from streams.roles.decoding import EventDecoder
from streams.roles.seal import END_OF_LOG

SPEC = """
id: log
purpose: replay
source: {{topic: events, arrival: {arrival}, member: "{member}", time: at.ts, time_format: {time_format}{more}}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [1m], lateness: 2s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: 0.1, cap_rule: first}}
"""
FORMATS = ["epoch_ms", "epoch_s", "iso8601"]


def unwatched(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def spec(
    time_format: str = "epoch_ms", *, arrival: str = "record_time", member: str = "who.id", more: str = ""
) -> Measurement:
    """A measurement whose time and member lie inside objects."""
    text = SPEC.format(arrival=arrival, member=member, time_format=time_format, more=more)
    return parse_measurement(text, origin="test")


class FakeFeed:
    """Takes what a feed would write, and when it was waited for."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.flushes: list[int] = []

    def send(self, topic: str, key: bytes | None, value: bytes | None, **options: Any) -> None:
        """Remember a record."""
        self.sent.append({"topic": topic, "key": key, "value": value} | options)

    def flush(self) -> None:
        """Remember how much had been written."""
        self.flushes.append(len(self.sent))


class FakeTime:
    """A clock that goes on only where someone sleeps or writes."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.slept: list[float] = []

    def time(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.slept.append(seconds)
        self.now += seconds


def written(path: Path, *lines: str) -> Path:
    """A file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def event(time: Any, member: Any = "ann") -> str:
    """An event's line."""
    return json.dumps({"at": {"ts": time, "zone": "x"}, "who": {"id": member}, "r": True})


# -- reading ------------------------------------------------------------------------------------------------------


def test_events_are_read_in_time_order(tmp_path: Path) -> None:
    """Time and member come from the measurement's paths, blank lines do not count, equal times keep their order."""
    path = written(tmp_path / "log.jsonl", event(3000, 7), "", event(1000), "  ", event(3000, "bob"), event(2000, None))
    events = read_events(path, spec())
    assert [(entry.time_ms, entry.key) for entry in events] == [
        (1000, b"ann"),
        (2000, b""),
        (3000, b"7"),
        (3000, b"bob"),
    ]
    assert events[0].content == json.loads(event(1000))


@pytest.mark.parametrize(
    ("time_format", "value", "time_ms"),
    [
        ("epoch_ms", 1_700_000_000_123, 1_700_000_000_123),
        ("epoch_ms", 0, 0),
        ("epoch_ms", 1.6, 2),
        ("epoch_s", 1_700_000_000.123, 1_700_000_000_123),
        ("epoch_s", 1_700_000_000, 1_700_000_000_000),
        ("iso8601", "2023-11-14T22:13:20.123Z", 1_700_000_000_123),
        ("iso8601", "2023-11-15T00:13:20+02:00", 1_700_000_000_000),
        ("iso8601", "9999-12-31T23:59:59Z", 253_402_300_799_000),
    ],
)
def test_times_are_read_in_their_format(tmp_path: Path, time_format: str, value: Any, time_ms: int) -> None:
    """Each format gives epoch milliseconds."""
    path = written(tmp_path / "log.jsonl", event(value))
    assert read_events(path, spec(time_format))[0].time_ms == time_ms


@pytest.mark.parametrize(
    ("time_format", "value", "came"),
    [
        ("epoch_ms", "1700000000123", "str"),
        ("epoch_ms", True, "bool"),
        ("epoch_ms", None, "NoneType"),
        ("epoch_ms", [5], "list"),
        ("epoch_ms", -1, "int"),
        ("epoch_ms", 1e30, "float"),
        ("epoch_ms", 10**400, "int"),
        ("epoch_ms", float("nan"), "float"),
        ("epoch_s", float("inf"), "float"),
        ("epoch_s", 1e308, "float"),
        ("epoch_s", 253_402_300_800, "int"),
        ("iso8601", "2023-11-14T22:13:20", "str"),
        ("iso8601", "1969-12-31T23:59:59Z", "str"),
        ("iso8601", "10000-01-01T00:00:00Z", "str"),
        ("iso8601", "yesterday", "str"),
        ("iso8601", 1_700_000_000, "int"),
    ],
)
def test_a_wrong_time_names_file_and_line(tmp_path: Path, time_format: str, value: Any, came: str) -> None:
    """What is no time, or none that Kafka can carry, is an error of the user's file: its line, the path, what came."""
    good = {"epoch_ms": 5, "epoch_s": 5, "iso8601": "2023-11-14T22:13:20Z"}[time_format]
    path = written(tmp_path / "log.jsonl", event(good), "", event(value))
    with pytest.raises(InputError) as caught:
        read_events(path, spec(time_format))
    zone = ", with a zone, as in 2026-01-01T00:00:00Z" if time_format == "iso8601" else ""
    got = "nothing" if value is None else f"a {came} that is none"
    assert str(caught.value) == f"{path}:3: expected a time ({time_format}{zone}) at 'at.ts', got {got}"


def test_an_audit_counts_events_without_a_time_as_seal_does(tmp_path: Path) -> None:
    """They are left out by their reason; where there is no other event the file is not the one that was meant."""
    untimed: Counter[str] = Counter()
    path = written(tmp_path / "log.jsonl", event(5), event(None), "{}", event("yesterday"))
    assert len(read_events(path, spec("epoch_ms"), untimed)) == 1
    assert untimed == {"missing_field": 2, "wrong_type": 1}
    with pytest.raises(InputError, match=r"none of its 2 lines has a time \(epoch_ms\) at 'at.ts'"):
        read_events(written(tmp_path / "other.jsonl", "{}", "{}"), spec("epoch_ms"), Counter())


@pytest.mark.parametrize("line", ['{"at": 5}', '{"at": null}', "{}", '{"ts": 5}'])
def test_a_missing_time_names_file_and_line(tmp_path: Path, line: str) -> None:
    """Where the path leads nowhere the same is said, and nothing else is raised."""
    with pytest.raises(InputError, match=r"log\.jsonl:1: expected a time .* got nothing"):
        read_events(written(tmp_path / "log.jsonl", line), spec())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        (event(5) + event(6), "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 5000, "not JSON"),
        ("[1, 2]", "expected a JSON object, got list"),
        ("null", "expected a JSON object, got NoneType"),
        ('{"member_id": "\\ud800", "at": {"ts": 5}, "who": {"id": "\\ud800"}}', "no text"),
    ],
    ids=["cut", "two", "deep", "digits", "list", "null", "surrogate"],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    """Events and members are read alike: what is not one JSON object a line is named by file and line."""
    path = written(tmp_path / "file.jsonl", '{"member_id": 1, "at": {"ts": 5}}', line)
    for read in (lambda: read_events(path, spec()), lambda: read_members(path)):
        with pytest.raises(InputError, match=rf"file\.jsonl:2: .*{words}"):
            read()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a folder, one that is not UTF-8 and one without events are the user's errors."""
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"member_id": "Núñez"}\n'.encode("latin-1"))
    for path in (tmp_path / "none.jsonl", tmp_path, latin):
        for read in (lambda path=path: read_events(path, spec()), lambda path=path: read_members(path)):
            with pytest.raises(InputError, match=r"cannot be read: |is no UTF-8 text"):
                read()
    with pytest.raises(InputError, match="holds no events"):
        read_events(written(tmp_path / "empty.jsonl", "", " "), spec())


def test_members_become_keys_and_attributes(tmp_path: Path) -> None:
    """The id becomes the key, a number as its decimal text, and is not repeated in the value; all else is kept."""
    path = written(
        tmp_path / "m.jsonl", '{"member_id": "Núñez", "family_name": "Núñez", "zip": "02139"}', '{"member_id": 7}'
    )
    (first, value), second = read_members(path)
    assert first == "Núñez".encode()
    assert json.loads(value) == {"family_name": "Núñez", "zip": "02139"}
    assert second == (b"7", b"{}")
    assert read_members(written(tmp_path / "none.jsonl", "")) == []


@pytest.mark.parametrize("member", ["", None, True, 1.5, ["ann"], {}])
def test_a_member_without_an_id_is_named(tmp_path: Path, member: Any) -> None:
    """An id is text or a whole number; a file with anything else is refused before a member of it is written."""
    path = written(tmp_path / "m.jsonl", '{"member_id": "ann"}', json.dumps({"member_id": member}))
    with pytest.raises(InputError, match=r"m\.jsonl:2: expected a member_id \(text or number\)"):
        read_members(path)


def test_candidates_have_no_key(tmp_path: Path) -> None:
    """Where the member is an element of a list, the record is about several, and goes to any partition."""
    measurement = spec(member="list[].id", more=", explode: list")
    path = written(tmp_path / "log.jsonl", '{"at": {"ts": 5}, "list": [{"id": "ann"}]}')
    assert read_events(path, measurement)[0].key == b""


# -- writing ------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=4)


@given(outer=OBJECTS, inner=OBJECTS, time_ms=st.integers(0, 4_102_444_800_000), time_format=st.sampled_from(FORMATS))
def test_stamping_changes_the_time_and_nothing_else(outer: Any, inner: Any, time_ms: int, time_format: str) -> None:
    """An event with another time is the same event, in its own format, and the one it was made from is untouched."""
    content = outer | {"at": inner | {"ts": "before"}}
    copy = json.dumps(content)
    stamped = json.loads(_stamped(LoggedEvent(0, b"", content), spec(time_format), time_ms))
    assert json.dumps(content) == copy
    time = stamped["at"].pop("ts")
    del content["at"]["ts"]
    assert stamped == content
    probe = json.dumps({"at": {"ts": time}, "who": {"id": "ann"}, "r": True}).encode()
    assert EventDecoder(spec(time_format)).decode([probe]).rows.time_ms.tolist() == [time_ms]


def test_as_logged_keeps_the_logs_times() -> None:
    """Every record carries its event's time, bytes and key; then, after a flush, every partition is ended for good."""
    feed, told = FakeFeed(), []
    events = [LoggedEvent(time, key, {"n": time}) for time, key in ((61_000, b"ann"), (65_000, b""), (119_999, b"bob"))]
    replay_as_logged(feed, spec(), events, 3, lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    assert feed.sent[:3] == [
        {"topic": "events", "key": key, "value": b'{"n": %d}' % time, "timestamp_ms": time}
        for time, key in ((61_000, b"ann"), (65_000, None), (119_999, b"bob"))
    ]
    # The last event lies in the minute that ends at 120 s; rows may be 2 s late.
    assert feed.sent[3:] == [
        {"topic": "events", "key": None, "value": None, "timestamp_ms": 122_000, "partition": partition,
         "headers": [(END_OF_LOG, b"1")]}
        for partition in range(3)
    ]  # fmt: skip
    assert feed.flushes == [3, 6]
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("last", "end"), [(0, 62_000), (59_999, 62_000), (60_000, 122_000)])
def test_the_end_closes_the_last_window(last: int, end: int) -> None:
    """The end of the log lies past the last event's longest window and its lateness, also for an event on its edge."""
    feed = FakeFeed()
    replay_as_logged(feed, spec(), [LoggedEvent(last, b"", {})], 1, unwatched)  # type: ignore[arg-type]
    assert feed.sent[-1]["timestamp_ms"] == end


def test_as_logged_needs_a_measurement_that_takes_records_times() -> None:
    """By the clock an old log would all be late: that is said before anything is written."""
    feed = FakeFeed()
    with pytest.raises(InputError, match="record_time"):
        replay_as_logged(feed, spec(arrival="live"), [LoggedEvent(0, b"", {})], 1, unwatched)  # type: ignore[arg-type]
    assert feed.sent == []


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_now_moves_the_log_to_the_present(monkeypatch: pytest.MonkeyPatch, speed: float) -> None:
    """Events keep their distances, divided by the speed, from the moment of the start; nothing waits unwritten."""
    clock, feed = FakeTime(1_700_000_000.0), FakeFeed()
    monkeypatch.setattr(replay, "time", SimpleNamespace(time=clock.time, sleep=clock.sleep))
    events = [LoggedEvent(time, b"ann", {"at": {"ts": time}}) for time in (5_000, 5_000, 7_000, 15_000)]
    replay_now(feed, spec(arrival="live"), events, speed, unwatched)  # type: ignore[arg-type]
    times = [json.loads(record["value"])["at"]["ts"] for record in feed.sent]
    assert times == [1_700_000_000_000 + round(after / speed) for after in (0, 0, 2_000, 10_000)]
    assert all(set(record) == {"topic", "key", "value"} for record in feed.sent)  # the record's own time is now
    assert clock.slept == pytest.approx([2 / speed, 8 / speed])
    assert feed.flushes == [2, 3, 4]


def test_a_replay_that_lags_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing takes longer than the log's own pauses, events follow at once, with the times they were due."""
    clock, feed = FakeTime(1_700_000_000.0), FakeFeed()
    monkeypatch.setattr(replay, "time", SimpleNamespace(time=clock.time, sleep=clock.sleep))

    def slow(done: int, total: int) -> None:
        clock.now += 5

    events = [LoggedEvent(time, b"", {"at": {"ts": time}}) for time in (0, 1_000, 2_000)]
    replay_now(feed, spec(), events, 1.0, slow)  # type: ignore[arg-type]
    assert clock.slept == []
    assert [json.loads(record["value"])["at"]["ts"] - 1_700_000_000_000 for record in feed.sent] == [0, 1_000, 2_000]
