"""The windows that pages show: what publish made, what lay on the topic, and nothing that was not confirmed."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from alarmed import as_signed
from metric_records import void, withdrawn
from shown_windows import LENGTH_MS, START_MS, Level, hour, shown

from streams.watch import window_history
from streams.watch.shown_record import read
from streams.watch.window_history import ShownWindow, ShownWindows, WindowHistory

SPEC = shown().approved.measurement
RECORDS = hour()
SHORT = [record for record in RECORDS if record.level == "10s"]


def ends(found: ShownWindows, level: str = "10s") -> list[int]:
    return [(window.end_ms - START_MS) // LENGTH_MS for window in found.of("feed", level)]


def test_the_last_windows_of_each_level_are_shown() -> None:
    """So many of each, in the order of their ends, whatever order they came in."""
    history = WindowHistory(10)
    history.open()
    for record in [*RECORDS[20:], *RECORDS[:20]]:
        history.add(record)
    found = history.shown()
    assert ends(found) == list(range(51, 61))
    assert len(found.of("feed", "1m")) == 10
    newest = found.of("feed", "10s")[-1]
    assert newest.value() == SHORT[-1].encode()
    assert newest.record().results[0].metric == SHORT[-1].results[0].metric
    assert found.find("feed", "10s", newest.end_ms) is newest
    for absent in (("feed", "10s", 1), ("feed", "1h", newest.end_ms), ("other", "10s", newest.end_ms)):
        assert found.find(*absent) is None


def test_nothing_is_shown_before_replay_is_complete() -> None:
    """And what is told then is all of it, once."""
    told: list[tuple[ShownWindows, str]] = []
    history = WindowHistory(10, lambda found, subject: told.append((found, subject)))
    history.add(SHORT[0])
    assert history.shown() == ShownWindows()
    assert told == []
    history.open()
    history.add(SHORT[1])
    assert [(ends(found), subject) for found, subject in told] == [([1], ""), ([1, 2], "feed/10s")]


def test_a_record_of_the_topic_is_shown_once_its_releases_were_verified() -> None:
    """Unconfirmed ones are not, nor a record that lies under another's key; a later record takes its place."""
    history = WindowHistory(10)
    for record in SHORT[:4]:
        history.read(as_signed(record.topic_key(), record.encode()))
    history.read(as_signed(b"feed/10s/" + str(SHORT[5].window.end_ms).encode(), SHORT[4].encode()))
    for record in [*SHORT[:3], SHORT[5]]:
        history.confirm("feed", "10s", record.window.end_ms)
    history.confirm("feed", "10s", 77)
    history.confirm("none", "10s", SHORT[0].window.end_ms)
    history.add(Level(SPEC).withdrawn(2))
    history.open()
    assert ends(history.shown()) == [1, 2, 3]
    assert [window.status for window in history.shown().of("feed", "10s")] == ["published", "published", "withdrawn"]


def test_what_was_worked_out_anew_is_told_from_what_lies_on_the_topic() -> None:
    """As after an upgrade: another build's record stays where it is. The same bytes, and withdrawals, do lie there."""
    history = WindowHistory(10)
    for record in SHORT[:4]:
        lies = json.loads(record.encode())
        if record is not SHORT[1]:
            lies.pop("detection")
        value = record.encode() if record is SHORT[1] else json.dumps(lies).encode()
        history.read(as_signed(record.topic_key(), value))
    for record in (*SHORT[:3], Level(SPEC).withdrawn(3), SHORT[4]):
        history.add(record)
    history.open()
    windows = history.shown().of("feed", "10s")
    assert [window.anew for window in windows] == [True, False, True, False, False]
    withdrawn = Level(SPEC).withdrawn(0)
    history.read(as_signed(withdrawn.topic_key(), withdrawn.encode() + b" "))
    history.add(withdrawn)
    assert history.shown().of("feed", "10s")[0].anew


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"feed/10s", b"{}"), (b"feed/10s/x", b"{}"), (b"\xff/10s/1", b"{}"), (b"a/b/c/1", b"{}"), (b"", b""),
     (b"feed/10s/1", b""), (b"feed/10s/1", b"\xff"), (b"feed/10s/1", b"[]"), (b"feed/10s/1", b'{"measurement": 1}')],
)  # fmt: skip
def test_what_no_build_has_written_is_passed_over(key: bytes, value: bytes) -> None:
    """A damaged record or key is no error, and nothing of it is shown."""
    history = WindowHistory(10)
    history.read(as_signed(key, value))
    history.confirm("feed", "10s", 1)
    history.open()
    assert history.shown().levels == {}


def test_a_year_of_records_needs_no_more_memory_than_the_last_ones() -> None:
    """Reading keeps the newest alone, and each is packed to a fraction of itself once it is confirmed."""
    history = WindowHistory(50)
    value = SHORT[0].encode()
    tracemalloc.start()
    for number in range(20_000):
        history.read(as_signed(f"feed/10s/{number}".encode(), bytes(value)))
    assert tracemalloc.get_traced_memory()[1] < 50 * len(value) + 2_000_000
    tracemalloc.stop()
    assert len(history._levels["feed", "10s"].windows) == 50
    window = ShownWindow.of(value)
    assert window is not None
    assert len(window.packed) < len(value) / 3


def test_alarms_are_read_from_the_record() -> None:
    """Those that stand after a window; None where it says nothing of alarms."""
    windows = {record.window.end_ms: ShownWindow.of(record.encode()) for record in SHORT}
    said = [None if window is None else window.alarms for window in windows.values()]
    assert said[10] == ()
    assert said[20] is None
    assert said[-1]
    assert said[-1][0].id.startswith("feed/10s/")
    assert {alarm.group for alarm in said[-1]} == {"black"}
    for silent in (void(), withdrawn()):
        found = ShownWindow.of(silent.encode())
        assert found is not None
        assert found.alarms is None


def test_old_and_new_records_are_read() -> None:
    """One that lacks what came later, and one with fields that nobody knows yet."""
    plain = json.loads(SHORT[0].encode())
    for result in plain["results"]:
        for name in ("log_evidence", "alarm", "alarm_since_ms"):
            result.pop(name, None)
    plain.pop("detection")
    old = read(json.dumps(plain).encode())
    new = read(json.dumps(plain | {"colour": "blue", "window": plain["window"] | {"x": 1}}).encode())
    assert old is not None
    assert new == old
    assert old.detection is None
    assert read(b"{") is None


def test_a_window_changes_its_own_level_only() -> None:
    """The others are what they were, not made again: publish's event loop waits for this with each window."""
    history = WindowHistory(10)
    history.open()
    for record in RECORDS[:30]:
        history.add(record)
    before = history.shown()
    history.add(SHORT[-1])
    after = history.shown()
    assert after.levels["feed", "1m"] is before.levels["feed", "1m"]
    assert ends(after)[-1] == 60
    assert ends(before)[-1] < 60


def test_what_was_read_and_waits_is_packed_where_it_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then memory holds some kilobytes a window, not its whole record; what is confirmed is the same."""
    records = [record.encode() for record in SHORT]

    def waiting(unpacked: int) -> tuple[int, list[bytes]]:
        monkeypatch.setattr(window_history, "_UNPACKED_BYTES", unpacked)
        tracemalloc.start()
        history = WindowHistory(len(records))
        for record, value in zip(SHORT, records, strict=True):
            own = bytes(bytearray(value))  # as Kafka's client has them
            history.read(as_signed(record.topic_key(), own))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for record in SHORT:
            history.confirm("feed", "10s", record.window.end_ms)
        history.open()
        return held, [window.value() for window in history.shown().of("feed", "10s")]

    whole, shown_whole = waiting(1 << 30)
    packed, shown_packed = waiting(2 * len(records[0]))
    assert shown_whole == shown_packed == records
    assert packed < whole / 3
