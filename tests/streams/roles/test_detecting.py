"""Evidence over windows at `publish`: the same bytes after any restart, whatever is left of `fairness-metrics`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from estimated import published, run
from prometheus_client import CollectorRegistry
from signed_windows import Headers, headers_of, headers_over, publish, read

from privacy import Measurement
from streams.pulse import Pulse
from streams.records.metric import FairnessMetric
from streams.records.release import SignedRelease
from streams.roles import publish_app
from streams.roles.detecting import HistoryNeeded, LevelDetectors
from streams.roles.emitted import EmittedWindows
from streams.roles.publish import PublishCore
from streams.roles.publish_app import Publisher
from streams.settings import Settings
from streams.watch.access import OperatorAccess
from streams.watch.health import RoleHealth

pytestmark = pytest.mark.slow

WINDOWS = 14
"""Of the measurement with a rectifier: twelve windows of 10 s and two minutes."""
VOID = (2, 10, 11)
"""Windows of 10 s whose releases are made to disagree in some tests: the last two of them, and one further back."""


@cache
def feed() -> list[FairnessMetric]:
    """The measurement's records in the order of time."""
    return [w for w in sorted(published(), key=lambda each: each.window.end_ms) if w.measurement == "feed"]


@cache
def releases(*, voids: bool) -> list[tuple[str, bytes]]:
    """(party, release) of the measurement, one party after the other."""
    found = []
    for party in "ab":
        for value in run().log.values(f"releases-{party}"):
            signed = SignedRelease.decode(value)
            release = signed.release
            if release.measurement != "feed":
                continue
            place = (release.end_ms - feed()[0].window.end_ms) // 10_000
            if voids and party == "a" and release.level == "10s" and place in VOID:
                release = msgspec.structs.replace(release, coverage=bytes(32))
                shares = {channel.name: signed.channel(channel.name) for channel in release.channels}
                known = {str(name): share for name, share in shares.items() if share is not None}
                value = SignedRelease.signed(run()._keys["a"].identity, release, known).encode()
            found.append((party, value))
    return found


def spec() -> Measurement:
    """The measurement."""
    found: Measurement = next(
        entry.measurement for entry in run().controls["publish"].approved() if entry.measurement.id == "feed"
    )
    return found


def restarted(held: list[FairnessMetric], *, lost: int = 0) -> list[FairnessMetric]:
    """What a `publish` says that starts with these records on the topic, of all windows that it estimates.

    Args:
        lost: of how many levels evidence has to be worked out anew.
    """
    emitted = EmittedWindows()
    for record in held:
        emitted.read(read(record))
    core = PublishCore(run().controls["publish"], confidence=0.95, rho_limit=10.0, emitted=emitted)
    found = [core.apply(party, value) for party, value in releases(voids=False)]
    assert len(core.lost) == lost
    return [record for record in found if record is not None]


def test_detectors_watch_what_can_be_relied_on() -> None:
    """Rectified gaps where the level has a rectifier, weighted ones elsewhere; they share the promise by level."""
    for window in published():
        assert window.detection is not None
        rectified = (window.measurement, window.level) == ("feed", "1m")
        assert window.detection.estimator == ("rectified" if rectified else "weighted")
        assert window.detection.false_alarm_windows == 30 * 86_400 // (10 if window.level == "10s" else 60)
        watched = {(r.metric, r.score_bin, r.group) for r in window.results if r.log_evidence is not None}
        assert watched == {(state.metric, state.score_bin, state.group) for state in window.detection.state}
        names = {(r.metric, r.score_bin, r.group) for r in window.results if "+" not in r.group and r.group != "white"}
        assert window.detection.detectors == len(names)
        assert watched
        gaps = {(r.metric, r.score_bin, r.group) for r in window.results if r.gap and r.alarm is not None}
        assert gaps <= watched


@pytest.mark.parametrize("held", range(WINDOWS + 1))
def test_a_restart_at_any_position_goes_on_with_the_same_bytes(held: int) -> None:
    """All windows that the topic lacks are, to the last byte, what they would have been without the restart."""
    wanted = {window.topic_key(): window.encode() for window in feed()}
    found = {window.topic_key(): window.encode() for window in restarted(feed()[:held])}
    assert found.keys() >= {window.topic_key() for window in feed()[held:]}
    assert all(wanted[key] == value for key, value in found.items())


def test_a_restart_does_not_estimate_again_for_the_evidence() -> None:
    """Of a topic that holds all, the newest window of each level is estimated, and the evidence before it is read."""
    assert {window.topic_key() for window in restarted(feed())} == {feed()[-1].topic_key(), feed()[-2].topic_key()}


def test_a_void_window_leaves_what_was_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window after it goes on from the window before it."""
    windows = [w for w in publisher(monkeypatch, []).replay() if w.level == "10s"]
    detectors = LevelDetectors.of(spec(), "10s")
    before, void, after = windows[1:4]
    assert (void.status, void.detection) == ("void", None)
    assert before.detection is not None
    known = detectors.read(before.detection.model_dump_json().encode())
    assert known is not None
    gaps = detectors.gaps(after.results, after.confidence)
    assert detectors.said(detectors.detectors.after(known, gaps, after.window.end_ms)) == after.detection


def test_a_hole_further_back_says_that_history_is_needed() -> None:
    """The evidence before it is in no record that is kept, and is not made up: its windows say nothing of it."""
    holes = {feed()[3].topic_key(), next(w.topic_key() for w in feed()[8:] if w.level == feed()[3].level)}
    estimated = restarted([window for window in feed() if window.topic_key() not in holes], lost=1)
    said = [window.detection for window in estimated if window.topic_key() in holes]
    assert said == [None] * len(holes)


# -- the whole of it --------------------------------------------------------------------------------------------------


Raw = tuple[bytes, bytes | None, Headers | None]
"""(key, value, headers) of a record that anybody may have written."""


def publisher(
    monkeypatch: pytest.MonkeyPatch, topic: list[FairnessMetric], raw: Sequence[Raw] = (), *, voids: bool = True
) -> Publisher:
    """`publish` at its start, with what it would read of Kafka.

    Args:
        topic: what publish has written; read anew at each reading. raw: what lies behind that.
    """
    registry = CollectorRegistry()
    process: Any = SimpleNamespace(
        settings=Settings(),
        control=run().controls["publish"],
        registry=registry,
        health=RoleHealth("publish", registry),
        pulse=Pulse(60.0),
        access=OperatorAccess(),
        reader=SimpleNamespace(catch_up=lambda: None),
        read=[],
    )
    process.control.version += 1

    def record(key: bytes | None, value: bytes | None, headers: Any) -> Any:
        told = {"key": key, "value": value, "headers": headers, "timestamp": (1, 1 << 50), "partition": 0, "offset": 7}
        return SimpleNamespace(**{name: (lambda found=found: found) for name, found in told.items()})

    def read_to_end(settings: Settings, name: str, **_: Any) -> Iterator[Any]:
        process.read.append(name.rpartition(".")[2])
        if name == settings.topic("fairness-metrics"):
            own = [(each.topic_key(), each.encode(), headers_of(each)) for each in topic]
            return iter([record(*each) for each in [*own, *raw]])
        return iter([record(None, value, None) for party, value in releases(voids=voids) if name.endswith(party)])

    monkeypatch.setattr(publish_app, "read_to_end", read_to_end)
    return Publisher(process)


def shown(found: Publisher) -> dict[tuple[str, ...], float]:
    """Every sample of the measurement at /metrics that does not depend on the time."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in found.process.registry.collect()
        for sample in family.samples
        if sample.labels.get("measurement") == "feed" and "age" not in sample.name
    }


def old(window: FairnessMetric) -> FairnessMetric:
    """As a version without detectors wrote it."""
    content = json.loads(window.encode()) | {"detection": None}
    for result in content["results"]:
        result |= {"log_evidence": None, "alarm": None, "alarm_since_ms": None}
    return FairnessMetric.decode(json.dumps(content).encode())


def holes(topic: list[FairnessMetric]) -> list[FairnessMetric]:
    """Two of them far back, at both levels."""
    return [window for place, window in enumerate(topic) if place not in (3, 6)]


def upgraded(topic: list[FairnessMetric]) -> list[FairnessMetric]:
    """Records of an earlier version, of which the last two are missing."""
    return [old(window) for window in topic[:-2]]


def by_another_grid(topic: list[FairnessMetric]) -> list[FairnessMetric]:
    """All but the last two by detectors that this version does not have."""
    found = []
    for window in topic[:-2]:
        bets = {"bets": (0.1, 0.5, 1.0, 2.0, 4.0)}
        other = None if window.detection is None else window.detection.model_copy(update=bets)
        found.append(window.model_copy(update={"detection": other}))
    return found


@pytest.mark.parametrize(
    "left", [list, holes, upgraded, by_another_grid, lambda topic: []], ids=lambda left: left.__name__
)
def test_whatever_is_left_of_the_topic_the_same_is_written_and_shown(
    monkeypatch: pytest.MonkeyPatch, left: Callable[[list[FairnessMetric]], list[FairnessMetric]]
) -> None:
    """What is missing is written, to the last byte, and nothing else; and /metrics is that of one who never stopped."""
    whole = publisher(monkeypatch, [])
    every = whole.replay()
    topic = left(every)
    found = publisher(monkeypatch, topic)
    fresh = found.take_new(found.replay())
    there = {window.topic_key() for window in topic}
    assert [w.encode() for w in fresh] == [w.encode() for w in every if w.topic_key() not in there]
    assert [w.status for w in every if w.level == "10s"].count("void") == len(VOID)
    assert shown(found) == shown(whole)
    evidence = {key for key in shown(found) if key[0] == "evenstream_edetector_log_evidence"}
    assert {key[2] for key in evidence} == {"10s", "1m"}


def test_all_levels_without_evidence_are_worked_out_in_one_more_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each topic is read twice, however many levels an earlier version has left."""
    every = publisher(monkeypatch, []).replay()
    found = publisher(monkeypatch, [old(window) for window in every])
    assert found.take_new(found.replay()) == []
    assert topics_read(found) == 2 * ["fairness-metrics", "releases-a", "releases-b"]


def test_a_measurement_that_ended_before_the_upgrade_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its windows are all there, without evidence, and none is to come: nothing is worked out, at no start.

    Should one come all the same, the process ends, and the next one works the evidence out for it.
    """
    every = publisher(monkeypatch, []).replay()
    topic = [old(window) for window in every]
    approved = run().controls["publish"]._approved
    ended = replace(approved[bytes.fromhex(every[0].spec_sha256)], until_ms=max(w.window.end_ms for w in every))
    monkeypatch.setitem(approved, ended.spec, ended)
    found = publisher(monkeypatch, topic)
    assert found.take_new(found.replay()) == []
    assert topics_read(found) == ["fairness-metrics", "releases-a", "releases-b"]
    names = {key[0] for key in shown(found)}
    assert "evenstream_gap_ratio" in names
    assert "evenstream_edetector_log_evidence" not in names

    last = [window for window in topic if window.level == "10s" and window.status == "published"][-1]
    held = [window for window in topic if window is not last]
    late = publisher(monkeypatch, held)
    both = [value for value in releases(voids=True) if SignedRelease.decode(value[1]).release.key == key_of(last)]
    rest = [value for value in releases(voids=True) if value not in both]
    assert len(both) == 2
    monkeypatch.setattr(sys.modules[__name__], "releases", lambda *, voids: rest)
    late.replay()
    assert late.take(*both[0], live=True) is None
    with pytest.raises(HistoryNeeded, match="feed/10s"):
        late.take(*both[1], live=True)


# -- what somebody else has written --------------------------------------------------------------------------------


def forged() -> tuple[FairnessMetric, FairnessMetric]:
    """A genuine window before the newest, and what would be believed of it by its form: it names both releases.

    Its detectors have forgotten what they gathered, and it names an alarm.
    """
    ten = [window for window in feed() if window.level == "10s"]
    genuine, first = ten[-2], ten[0]
    assert first.detection is not None
    assert LevelDetectors.of(spec(), "10s").read(first.detection.model_dump_json().encode()) is not None
    alarm = {"alarm": True, "alarm_since_ms": genuine.window.end_ms}
    results = [each.model_copy(update=alarm) if each.alarm is not None else each for each in genuine.results]
    return genuine, genuine.model_copy(update={"detection": first.detection, "results": tuple(results)})


def unsigned(record: FairnessMetric) -> Raw:
    """As the version before publish signed wrote it."""
    return record.topic_key(), record.encode(), headers_of(record)[:-1]


def forgeries() -> list[Raw]:
    """All that one can write who has publish's password, and not its key."""
    genuine, other = forged()
    key, value, _ = unsigned(other)
    assert value is not None
    withdrawing = [
        (name, each.replace(b"/1", b"/2") if name == "ce_id" else each) for name, each in headers_of(genuine)
    ]
    ahead = b"253402300000000"
    return [
        unsigned(other),
        (key, value, headers_of(genuine)),
        (key, value, headers_of(other, run()._keys["a"].identity)),
        (key, b"{}", withdrawing),
        (key, None, None),
        (
            b"feed/10s/" + ahead,
            value.replace(b"%d" % genuine.window.end_ms, ahead),
            [("ce_id", b"feed/10s/%b/1" % ahead)],
        ),
    ]


def test_what_publish_has_not_signed_is_as_though_it_were_not_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No evidence, window, review or end of a level comes from it; it is counted, and told without its contents."""
    found = publisher(monkeypatch, feed(), forgeries(), voids=False)
    assert found.take_new(found.replay()) == []
    whole = publisher(monkeypatch, [], voids=False)
    whole.take_new(whole.replay())
    assert shown(found) == shown(whole)
    assert found.held.newest_end_ms("feed", "10s") == max(w.window.end_ms for w in feed())
    books = [each.concerns.governance._reviews._book for each in (found, whole)]
    assert [{alarm.id for alarm in book.alarms()} for book in books] == [alarms(feed())] * 2
    for reason in ("unsigned", "signature"):
        labels = {"role": "publish", "reason": reason}
        assert found.process.registry.get_sample_value("evenstream_records_refused_total", labels) == 3
    (line,) = [record.getMessage() for record in caplog.records if "has not signed" in record.getMessage()]
    assert "(3 signature, 3 unsigned; the first: partition 0 offset 7)" in line
    assert "feed" not in line


def alarms(records: list[FairnessMetric]) -> set[str]:
    """Ids of the alarms that they name."""
    return {
        f"feed/{w.level}/{r.metric}/{r.score_bin}/{r.group}/{r.alarm_since_ms}"
        for w in records
        for r in w.results
        if r.alarm
    }


def test_a_forged_record_keeps_no_genuine_one_off_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its window is written."""
    genuine, other = forged()
    topic = [window for window in feed() if window is not genuine]
    found = publisher(monkeypatch, topic, [unsigned(other)], voids=False)
    (written,) = found.take_new(found.replay())
    assert written.topic_key() == genuine.topic_key()
    assert (written.results, written.detection) == (genuine.results, genuine.detection)


def test_after_an_upgrade_all_is_written_anew_and_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, since years of windows would not fit into memory; what lies there is nobody's word."""
    monkeypatch.setattr(publish_app, "_MOST_FRESH", 3)
    every = publisher(monkeypatch, [], voids=False).replay()
    before = [unsigned(old(window)) for window in every]
    topic: list[FairnessMetric] = []
    found = publisher(monkeypatch, topic, before, voids=False)
    parts: list[int] = []

    def write(windows: list[FairnessMetric]) -> None:
        topic.extend(windows)
        parts.append(len(windows))

    write(found.take_new(found.replay(write)))
    assert max(parts) == 3
    assert [window.encode() for window in topic] == [window.encode() for window in every]
    again = publisher(monkeypatch, topic, before, voids=False)
    assert again.take_new(again.replay()) == []


def test_windows_without_evidence_are_not_written_before_they_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level whose evidence is lost is read again; nothing of it that was found by then is on the topic."""
    monkeypatch.setattr(publish_app, "_MOST_FRESH", 1)
    every = publisher(monkeypatch, []).replay()
    topic = holes(every)
    lacking = [window for window in every if window not in topic]
    found = publisher(monkeypatch, topic)
    found.take_new(found.replay(topic.extend))
    assert len(topics_read(found)) == 6
    assert sorted(topic, key=FairnessMetric.topic_key) == sorted(every, key=FairnessMetric.topic_key)
    assert all(window in topic for window in lacking)


def test_a_record_of_a_window_that_nobody_released_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish's own, of releases that are gone: it stays, and opens the reviews that it did."""
    genuine, other = forged()
    start_ms, end_ms = genuine.window.start_ms - 10**9, genuine.window.end_ms - 10**9
    window = genuine.window.model_copy(update={"start_ms": start_ms, "end_ms": end_ms})
    since = [each.model_copy(update={"alarm_since_ms": end_ms}) if each.alarm else each for each in other.results]
    own = other.model_copy(update={"window": window, "results": tuple(since)})
    raw = (own.topic_key(), own.encode(), headers_over(publish(), own.topic_key(), own.encode()))
    found = publisher(monkeypatch, feed(), [raw], voids=False)
    assert found.take_new(found.replay()) == []
    assert {a.id for a in found.concerns.governance._reviews._book.alarms()} == alarms([*feed(), own]) > alarms(feed())


def topics_read(found: Publisher) -> list[str]:
    """In their order, as often as each was read."""
    process: Any = found.process
    read: list[str] = process.read
    return read


def key_of(window: FairnessMetric) -> tuple[str, str, int]:
    """Of its releases."""
    return window.measurement, window.level, window.window.end_ms
