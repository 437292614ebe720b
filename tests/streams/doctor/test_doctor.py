"""What the checks of `evenstream doctor` say of two looks; on a real Kafka: `tests/faults/test_doctor.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from privacy import Limits, parse_measurement
from secure_agg.keyring import create, load_trusted
from streams.cli import main
from streams.control import Approved, ControlPlane
from streams.doctor import deployment, logs, partitions, roles, windows
from streams.doctor.findings import Finding, WindowName, exit_status
from streams.doctor.look import Ends, KafkaSeen, Look, Passed, Worker, WorkerSeen
from streams.doctor.plight import of_worker
from streams.doctor.report import as_json, line, show
from streams.doctor.workers import addresses, series_of
from streams.errors import InputError
from streams.records.header import source_digest
from streams.records.layout import Layout
from streams.settings import Settings, load_settings

NOW_MS = 1_764_000_100_000
FROM_MS = NOW_MS - 100_000
SOURCE = "events"
DIGEST = source_digest(SOURCE)
TOPICS = {name: f"e.{name}" for name in ("sealed", "shares", "releases-a", "releases-b", "fairness-metrics")}
SPEC = """
id: feed
purpose: looks
source: {topic: events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
"""


class Registry(ControlPlane):
    """A registry with one measurement in force, which nobody had to sign, and attach divided as a test says."""

    attach_workers = 1

    def layout(self, role: str) -> Layout:
        return Layout(shards=self.attach_workers if role == "attach" else 1)

    def approved(self) -> Iterable[Approved]:  # type: ignore[override]
        spec = parse_measurement(SPEC, origin="test")
        yield Approved(spec, b"s" * 32, DIGEST, FROM_MS, 1 << 53, 0)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    """What is approved."""
    folder = tmp_path_factory.mktemp("keys")
    create(folder, "e")
    return Registry(load_trusted(folder / "governance"), test_cluster=False, limits=Limits.of_day(1.0))


def worker(role: str, **said: object) -> WorkerSeen:
    """A worker that is at work, unless it says otherwise."""
    ready: dict[str, object] = {"healthy": True, "health": "ok", "ready": True, "readiness": "ok"}
    return WorkerSeen(Worker(role, "127.0.0.1", 9100), **(ready | said))  # type: ignore[arg-type]


def look(
    control: ControlPlane,
    *,
    at_ms: int = NOW_MS,
    sealed_ms: tuple[int, int] | None = None,
    shares_ms: tuple[int, int] | None = None,
    ends: dict[str, int] | None = None,
    released: tuple[int, int] | None = None,
    published_ms: int | None = None,
    workers: tuple[WorkerSeen, ...] | None = None,
    **kafka: object,
) -> Look:
    """A look at a deployment of two partitions and two source partitions; by default all is done that is due.

    Args:
        sealed_ms, shares_ms: arrival that the last punctuation says, by partition j.
        released: the newest window of a and of b. published_ms: the newest on `fairness-metrics`.
    """
    newest = at_ms // 10_000 * 10_000
    minute = at_ms // 60_000 * 60_000

    def log(times: tuple[int, int] | None) -> dict[int, dict[tuple[bytes, int], Passed]]:
        told = times or (at_ms - 500, at_ms - 500)
        return {j: {(DIGEST, i): Passed(told[j], told[j]) for i in range(2)} for j in range(2)}

    def levels(base_ms: int) -> dict[tuple[str, str], int]:
        return {("feed", "10s"): base_ms, ("feed", "1m"): min(minute, base_ms)}

    a, b = released or (newest, newest)
    seen = KafkaSeen(
        sources={SOURCE: 2},
        ends={(f"e.{topic}", j): Ends(100, 100) for topic in ("sealed", "shares") for j in range(2)},
        committed={},
        passed={"sealed": log(sealed_ms), "shares": log(shares_ms)},
        windows={"a": levels(a), "b": levels(b), "published": levels(published_ms or newest)},
    )
    for name, value in kafka.items():
        setattr(seen, name, value)
    own = workers or tuple(map(worker, ("seal", "attach", "a", "b", "publish")))
    return Look(at_ms, TOPICS, own, seen, control)


def wrong(check: object, before: Look, now: Look) -> list[Finding]:
    """What a check finds wrong."""
    return [finding for finding in check(before, now) if finding.verdict != "ok"]  # type: ignore[operator]


def test_all_is_well(control: ControlPlane) -> None:
    """Each check has one good word, and the status is 0."""
    before, now = look(control, at_ms=NOW_MS - 6_000), look(control)
    checks = (roles.check, logs.check, partitions.check, windows.check, deployment.check)
    found = [finding for check in checks for finding in check(before, now)]
    assert [finding.verdict for finding in found] == ["ok"] * 5
    assert exit_status(found) == 0


STUCK = NOW_MS - 45_500
"""Since then nothing has moved: the window that ends at NOW - 40 s waits for it, and two more have come since."""
OLDEST = WindowName("feed", "10s", NOW_MS - 40_000)


@pytest.mark.parametrize(
    ("stuck", "role", "topic", "places"),
    [
        ({"sealed_ms": (STUCK, STUCK), "shares_ms": (STUCK, STUCK)}, "seal", SOURCE, (0, 1)),
        ({"shares_ms": (NOW_MS - 500, STUCK)}, "attach", "e.sealed", (1,)),
        ({"released": (NOW_MS, NOW_MS - 50_000)}, "b", "e.shares", (0, 1)),
        ({}, "publish", "e.releases-a, e.releases-b", (0,)),
    ],
)
def test_who_holds_a_window_back(
    control: ControlPlane, stuck: dict[str, object], role: str, topic: str, places: tuple[int, ...]
) -> None:
    """The first role, in the direction of the data, that has not passed the window's end; by topic and partition."""
    silent = tuple(worker(r) if r != role else WorkerSeen(Worker(r, "h", 1), "closed") for r in ROLES)
    told = {**stuck, "published_ms": NOW_MS - 50_000, "workers": silent}
    before, now = look(control, at_ms=NOW_MS - 6_000, **told), look(control, **told)  # type: ignore[arg-type]
    found = wrong(windows.check, before, now)
    assert {(f.role, f.topic, f.partitions) for f in found} == {(role, topic, places)}
    assert found[0].window == OLDEST
    assert found[0].since_ms == OLDEST.end_ms + 1_000
    assert "4 windows are due" in found[0].says
    assert "nobody listens at h:1" in found[0].says
    assert "start " + role in found[0].do
    if role in ("seal", "attach"):
        (still,) = wrong(partitions.check, before, now)
        assert (still.role, still.topic, still.partitions, still.since_ms) == (role, topic, places, STUCK)
        assert still.window == OLDEST


ROLES = ("seal", "attach", "a", "b", "publish")


def test_a_window_that_is_due_just_now_is_no_finding(control: ControlPlane) -> None:
    """Within five seconds of its end and lateness it may still come; and what comes, late as it is, is no stall."""
    newest = NOW_MS // 10_000 * 10_000
    for at_ms, published_ms, expected in ((newest + 5_900, newest - 10_000, 0), (newest + 6_100, newest - 10_000, 1)):
        before = look(control, at_ms=at_ms - 6_000, published_ms=published_ms)
        found = wrong(windows.check, before, look(control, at_ms=at_ms, published_ms=published_ms))
        assert len([f for f in found if f.window is not None and f.window.level == "10s"]) == expected
    before = look(control, at_ms=NOW_MS - 6_000, published_ms=NOW_MS - 70_000)
    catching_up = wrong(windows.check, before, look(control, published_ms=NOW_MS - 60_000))
    assert ["they come, one after another" in f.says for f in catching_up] == [True]


def test_a_silent_source_is_told_of_at_each_windows_end(control: ControlPlane) -> None:
    """Seal punctuates a source without events every base window; 9.5 s are no stall, 15.5 s are."""
    for age_ms, expected in ((9_500, 0), (15_500, 1)):
        told = (NOW_MS - age_ms, NOW_MS - age_ms)
        before = look(control, at_ms=NOW_MS - 6_000, sealed_ms=told, shares_ms=told)
        found = wrong(partitions.check, before, look(control, sealed_ms=told, shares_ms=told))
        assert [finding.role for finding in found] == ["seal"] * expected


def test_a_window_before_what_was_read_is_not_called_missing(control: ControlPlane) -> None:
    """Of a topic whose end alone was read, nothing is said of windows that may lie before it."""
    told: dict[str, object] = {"windows": {"published": {}}, "windows_since_ms": {"published": NOW_MS - 12_000}}
    before, now = look(control, at_ms=NOW_MS - 6_000, **told), look(control, **told)  # type: ignore[arg-type]
    assert {f.window for f in windows_of(now)} <= {WindowName("feed", "10s", NOW_MS - 10_000)}
    assert before.kafka is not None


def windows_of(now: Look) -> list[Finding]:
    """Windows that are missing in a look, as findings."""
    return [Finding("windows", "wrong", "", window=m.first) for m in windows.missing(now, "published")]


def told_by_b(lag: tuple[int, int]) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """What /metrics of party b says, whose partition 1 has passed nothing since long."""
    told = (
        ("partition_lag_records", lag),
        ("partition_progress_timestamp_seconds", (NOW_MS / 1000, 7)),
        ("watermark_timestamp_seconds", (NOW_MS / 1000, STUCK / 1000)),
    )
    return series_of(
        "\n".join(
            f'evenstream_{name}{{role="b",topic="e.shares",partition="{j}"}} {value}'
            for name, values in told
            for j, value in enumerate(values)
        )
    )


def test_a_source_that_ended_holds_no_party_back(control: ControlPlane) -> None:
    """A party's watermark is also that of a source which nothing comes of any more; it has read everything."""
    own = (*map(worker, ROLES[:3]), worker("b", series=told_by_b((0, 0))), worker("publish"))
    before, now = look(control, at_ms=NOW_MS - 6_000, workers=own), look(control, workers=own)
    assert wrong(partitions.check, before, now) == []


def test_a_party_that_has_stopped_on_a_partition(control: ControlPlane) -> None:
    """Its own word counts: unread records and no progress there, and what /readyz says of it."""
    series = told_by_b((0, 40))
    stopped = worker(
        "b", ready=False, readiness="e.shares [1] is stopped: at offset 12: a batch is gone", series=series
    )
    own = (*map(worker, ("seal", "attach", "a")), stopped, worker("publish"))
    told = {"released": (NOW_MS, NOW_MS - 50_000), "published_ms": NOW_MS - 50_000, "workers": own}
    before, now = look(control, at_ms=NOW_MS - 6_000, **told), look(control, **told)  # type: ignore[arg-type]
    for check in (roles.check, partitions.check, windows.check):
        found = wrong(check, before, now)
        assert {(f.role, f.topic, f.partitions) for f in found} == {("b", "e.shares", (1,))}
        assert "evenstream skip --role b --partition 1 --offset 12" in found[0].do


def test_a_transaction_that_is_at_work_is_no_finding(control: ControlPlane) -> None:
    """Only one that still hides the same record at the second look."""
    place = "e.sealed", 0
    before = look(control, at_ms=NOW_MS - 6_000, ends={place: Ends(90, 80)})  # type: ignore[dict-item]
    before.kafka.ends[place] = Ends(90, 80)  # type: ignore[union-attr]
    for committed_end, count in ((95, 0), (80, 1)):
        now = look(control)
        now.kafka.ends[place] = Ends(99, committed_end)  # type: ignore[union-attr]
        found = wrong(logs.check, before, now)
        assert [(f.topic, f.partitions) for f in found] == [(place[0], (0,))] * count


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ({"silence": "mute"}, "kill -CONT"),
        ({"silence": "closed"}, "start attach"),
        ({"silence": "refused"}, "--token-file"),
        ({"silence": "refused", "ready": False, "readiness": "starting"}, "wait"),
        ({"silence": "unlike", "healthy": False, "health": ""}, "--role attach=https://HOST:PORT"),
        ({"healthy": False, "health": "the main loop has not turned"}, "kill attach"),
        ({"ready": False, "readiness": "waiting for a valid epoch key of a, b on the keys topic"}, "start a, b"),
        ({"ready": False, "readiness": "e.measurements is held back behind"}, "EvenstreamControlHeldBack"),
        ({"ready": False, "readiness": "starting"}, "wait"),
        ({"ready": False, "readiness": "something new"}, "log"),
    ],
)
def test_each_plight_has_advice(said: dict[str, object], advice: str) -> None:
    """What to do, for each way in which a worker is not at work."""
    plight = of_worker(worker("attach", **said))
    assert plight is not None
    assert advice in plight.do


def test_a_role_that_moves_on_but_is_not_found(control: ControlPlane) -> None:
    """Nobody answers where it was looked for, and Kafka shows it at work: it is somewhere else, and not wrong."""
    own = (WorkerSeen(Worker("seal", "127.0.0.1", 9101), "closed"), *map(worker, ROLES[1:]))
    found = wrong(roles.check, look(control, at_ms=NOW_MS - 6_000, workers=own), look(control, workers=own))
    assert [finding.verdict for finding in found] == ["unseen"]
    assert exit_status(found) == 2


def test_what_a_caller_is_not_shown_is_not_wrong(control: ControlPlane) -> None:
    """A role that wants a token, or answers over TLS only; but one that says itself that it hangs is."""
    unlike = WorkerSeen(Worker("attach", "127.0.0.1", 9102), "unlike")
    shut = WorkerSeen(Worker("a", "127.0.0.1", 9103), "refused")  # by something in front of it
    own = (worker("seal", silence="refused"), unlike, shut, *map(worker, ROLES[3:]))
    found = wrong(roles.check, look(control, at_ms=NOW_MS - 6_000, workers=own), look(control, workers=own))
    assert [(finding.verdict, finding.role) for finding in found] == [
        ("unseen", "seal"), ("unseen", "attach"), ("unseen", "a"),
    ]  # fmt: skip
    assert exit_status(found) == 2
    hung = (worker("seal", silence="refused", healthy=False, health="no turn"), *map(worker, ROLES[1:]))
    (finding,) = wrong(roles.check, look(control, at_ms=NOW_MS - 6_000, workers=hung), look(control, workers=hung))
    assert (finding.verdict, finding.says) == ("wrong", "it says that it hangs: no turn")


def test_one_worker_of_several_that_is_gone(control: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not hide behind the other one, which works on in its own partitions."""
    monkeypatch.setattr(Registry, "attach_workers", 2)
    gone = WorkerSeen(Worker("attach.1", "h", 1), "closed")
    own = (worker("seal"), worker("attach"), gone, *map(worker, ROLES[2:]))
    before = look(control, at_ms=NOW_MS - 6_000, shares_ms=(NOW_MS - 6_500, STUCK), workers=own)
    now = look(control, shares_ms=(NOW_MS - 500, STUCK), workers=own)
    (finding,) = wrong(roles.check, before, now)
    assert (finding.verdict, finding.role, finding.since_ms) == ("wrong", "attach.1", STUCK)
    (still,) = wrong(partitions.check, before, now)
    assert still.partitions == (1,)
    assert "attach.1: nobody listens at h:1" in still.says


def test_clocks_and_topics_are_looked_at(control: ControlPlane) -> None:
    """A clock that is off, and a topic that is not what it must be, with the command that mends it."""
    ahead = worker("seal", series=series_of('evenstream_clock_ahead_seconds{role="seal"} 3600'))
    now = replace(look(control, workers=(ahead,)), differences=("e.sealed: retention.ms is 1, expected 2; run it",))
    found = wrong(deployment.check, now, now)
    assert [(f.says, f.do) for f in found] == [
        ("e.sealed: retention.ms is 1, expected 2", "run it"),
        ("its clock is 3600 s ahead of the broker's", "set the clock (NTP)"),
    ]


def test_a_line_holds_everything(control: ControlPlane) -> None:
    """Role, topic, partition, window and since when, on one line; what a worker says cannot drive the terminal."""
    finding = Finding("windows", "wrong", "it stands", "start it", "b", "e.shares", (0, 1), OLDEST, STUCK)
    assert line(finding) == (
        "WRONG windows: b, e.shares [0, 1], window feed/10s that ends 2025-11-24T16:01:00Z, since "
        "2025-11-24T16:00:54Z: it stands. Do: start it"
    )
    assert '"worker": "seal"' in as_json(look(control), look(control), [finding])


def settings() -> Settings:
    """Defaults."""
    return load_settings(None, ["deployment=e"], environment={})


def test_addresses() -> None:
    """Default ports on the host that the roles listen on; named ones over them, further workers too."""
    named = addresses(settings(), ("a=https://h:4/", "b=http://[::1]:5"), None)
    assert {(w.name, w.address, w.scheme) for w in named if w.scheme} == {
        ("a", "h:4", "https"), ("b", "[::1]:5", "http"),
    }  # fmt: skip
    found = {w.name: w.address for w in addresses(settings(), ("b=10.0.0.7:1", "attach.1=[::1]:2", "seal.0=h:3"), None)}
    assert found == {
        "seal": "h:3",
        "attach": "127.0.0.1:9102",
        "attach.1": "[::1]:2",
        "a": "127.0.0.1:9103",
        "b": "10.0.0.7:1",
        "publish": "127.0.0.1:9100",
    }


@pytest.mark.parametrize(
    "text", ["b", "b=:1", "c=h:1", "a.1=h:1", "seal.x=h:1", "b=h:0", "b=h:99999", "=h:1", "b=ftp://h:1"]
)
def test_an_address_that_is_none(text: str) -> None:
    """A clear word, with an example."""
    with pytest.raises(InputError, match=r"expected ROLE=HOST:PORT"):
        addresses(settings(), (text,), None)


def called(folder: Path, *arguments: str, pause: Callable[[float], None]) -> Result:
    """The command, where no Kafka and no role answers, and there are no keys.

    Args:
        pause: waits, in the place of time.sleep.
    """
    options = ["--set", "kafka.bootstrap=127.0.0.1:1", "--set", f"keys.dir={folder}", "--set", "http.host=127.0.0.1"]
    named = [part for k, role in enumerate(ROLES) for part in ("--role", f"{role}=127.0.0.1:{k + 2}")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("streams.doctor.examination._KAFKA_SECONDS", 0.2)
        patched.setattr("streams.cli.doctor.time", SimpleNamespace(sleep=pause))
        return CliRunner().invoke(main, [*options, "doctor", *named, *arguments])


def test_it_looks_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """With --watch: once more after each pause, until Ctrl-C."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    result = called(tmp_path, "--watch", "30", "--json", pause=pause)
    assert result.exit_code == 130
    assert pauses == [6.0, 30.0, 30.0]
    assert result.output.count('"status": 1') == 2


def test_no_kafka_and_no_keys(tmp_path: Path) -> None:
    """The command says what it could not look at, and which roles do not answer; no traceback."""
    result = called(tmp_path, pause=lambda seconds: None)
    assert result.exit_code == 1, result.output
    assert "no Kafka broker answers at 127.0.0.1:1" in result.output
    assert "trusted.json" in result.output
    assert "WRONG roles: publish: nobody listens at 127.0.0.1:6" in result.output


def test_advice_is_given_once(control: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines about the same role say once what to do."""
    finding = Finding("windows", "wrong", "it stands", "start it", "b")
    show(look(control), look(control), [finding, finding], Console())
    assert capsys.readouterr().out.count("Do: start it") == 1
