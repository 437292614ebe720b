"""The canary from first to last: canaries through a real Kafka and real roles, crashes of every kind, and the search.

Every role is ended while it works on canaries: by SIGKILL, SIGABRT and SIGSEGV, and by an exception that it does not
expect, with members' data in its message. Then everything that the roles and the broker could have written to is
searched, and so is the memory of the roles that must not hold what is looked for (DESIGN section 2).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from estimator import RaceModel
from privacy import parse_measurement
from streams.canary import hunt, places
from streams.canary.crashing import WORDS
from streams.canary.encodings import Trace, traces_of_integers, traces_of_text
from streams.canary.hunt import Eye, Place, PlantedTopic
from streams.canary.members import ROUND_MS, Canaries
from streams.canary.own_texts import texts_in_programs
from streams.canary.search import Searcher
from streams.canary.segments import read_segment
from streams.errors import EvenstreamError
from streams.feed import Feed
from streams.kafka.dev_broker import DevBroker
from streams.kafka.partitioner import partition_of
from streams.records.metric import FairnessMetric
from streams.roles.process import SUPERVISOR
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import COMMANDS, command_of
from streams.tracebacks import HIDDEN
from streams.trial import TopicFollower, Trial

START_MS = 1_700_000_040_000  # a whole minute; the log's own time, so that no clock is waited for
SIGNALS = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV)
_SLICES = 8
_READY_SECONDS = _CRASH_SECONDS = _WINDOW_SECONDS = 180.0  # a machine that does other things besides takes its time
_PAGES = ("/metrics", "/healthz", "/readyz")

_SETTINGS = ("logging.format=json",)
_DAY_MS = 86_400_000

SPEC = """
id: canary
purpose: members who must leave no trace
source: {{topic: {topic}, arrival: record_time, member: viewer, time: ts, time_format: epoch_ms}}
cells:
  score: {{field: score, bins: [0.25, 0.5, 0.75]}}
  decision: {{field: recommended}}
windows: {{base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}}
reference: white
privacy:
  contribution_cap: 24
  cap_rule: first
  rho_member_day: 0.1
  channel_shares: {{table: 0.5, moments: 0.1, rectifier: 0.4}}
review:
  owner: whoever runs the canary
  harm_considered: none; its members are nobody
  data_used: events, names, places and Self-ID of canaries
  retention: the run's own
"""
"""With real noise: a table of few members without it would tell of them, rightly found."""


@dataclass
class Outcome:
    """What a run found.

    Attributes:
        places: what was searched. eyes: what was planted. shortfalls: what did not happen that had to.
        crashes: how many of each kind. windows: published. traces: byte strings looked for.
    """

    traces: int = 0
    topics: int = 0
    windows: int = 0
    crashes: dict[str, int] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    eyes: list[Eye] = field(default_factory=list)
    shortfalls: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing was found, all eyes see, and all happened that had to."""
        return not self.shortfalls and all(eye.sees for eye in self.eyes) and not any(p.finds for p in self.places)


class CanaryRun:
    """One run in one folder.

    Args:
        folder: for the broker's data, keys and logs.
        say: shows a line.
        rounds: how often all five roles are ended by signals, each time by other ones.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], rounds: int = len(SIGNALS)) -> None:
        self._folder = folder
        self._say = say
        self._rounds = rounds
        self._eyes_folder = folder / "eyes"
        self._broker = DevBroker(folder / "broker")
        self._trial = Trial(folder / "trial", say, name="trial", overrides=_SETTINGS)
        self._outcome = Outcome()
        self._cores_before = set(places.core_dumps(places.core_folders()))
        self._round = 0
        self._model = RaceModel.load()
        self.canaries = Canaries.draw(self._model, texts_in_programs())
        self._process_files: dict[str, bytes] = {}
        self._answers: dict[str, bytes] = {}

    def run(self) -> Outcome:
        """Run it; whatever happens, what was started is stopped."""
        for made in (self._trial.folder, self._eyes_folder):
            made.mkdir(parents=True, exist_ok=True)
        try:
            self._set_up()
            self._live()
            self._search_the_stopped()
        finally:
            self._trial.stop()
            self._broker.stop()
        return self._outcome

    # -- the run ------------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        trial = self._trial
        trial.start_kafka(self._broker.start(progress=self._say).bootstrap)
        trial.broker = self._broker  # which it stops last, instead of deleting topics one by one
        self._source = trial.settings.topic("rec-events")
        self._members = trial.settings.topic("member-attributes")
        trial.prepare(live=(), logged=(self._source,))
        self._feed = Feed(trial.settings)
        self._feed.send_all(self._members, self.canaries.attributes())
        spec = parse_measurement(SPEC.format(topic=self._source), origin="canary")
        trial.approve(spec.with_effective_from(START_MS).with_expires(START_MS + _DAY_MS), START_MS)
        self._say("starting seal, attach, aggregate a, aggregate b, publish ...")
        trial.start_roles()
        self._note_processes("")

    def _live(self) -> None:
        self._write_round()
        self._opt_out()
        self._write_round()
        self._crash_by_signals()
        self._crash_by_exceptions()
        self._misplace()
        self._write_round()
        self._end_log()
        self._await_windows()
        self._note_processes("")
        self._ask_roles()
        self._searcher = Searcher([*self.canaries.traces(), *self._handed_over()], self.canaries.vectors)
        self._outcome.traces = len(self._searcher.traces)
        self._search_memory()

    def _write_round(self, within: Callable[[], None] = lambda: None) -> None:
        """Write one window's events in slices; ``within`` is called in the middle."""
        begin = START_MS + self._round * ROUND_MS
        stamp = begin + ROUND_MS - 1
        events = list(self.canaries.events(begin + ROUND_MS - 1_000))
        size = -(-len(events) // _SLICES)
        for number in range(_SLICES):
            for key, value in events[number * size : (number + 1) * size]:
                self._feed.send(self._source, key, value, timestamp_ms=stamp)
            self._feed.flush()
            time.sleep(0.1)
            if number == _SLICES // 2:
                within()
        self._tick(stamp)
        self._round += 1
        time.sleep(0.5)

    def _tick(self, stamp_ms: int) -> None:
        """Every source partition has reached this time."""
        for partition in range(self._trial.settings.topics.partitions):
            headers = [(END_OF_LOG, b"1")]
            self._feed.send(self._source, None, None, timestamp_ms=stamp_ms, partition=partition, headers=headers)
        self._feed.flush()

    def _end_log(self) -> None:
        self._tick(START_MS + self._round * ROUND_MS + 60_000)

    def _opt_out(self) -> None:
        """Records that come while attach runs: an opt-out, a tombstone, one that is no JSON."""
        canaries = self.canaries
        member = canaries.of("opts out at run time")
        opted_out = json.dumps(dict(member.attributes or {}) | {"opt_out": True}).encode()
        self._feed.send(self._members, member.member_id.encode(), opted_out)
        self._feed.send(self._members, canaries.of("removed at run time").member_id.encode(), None)
        unreadable = canaries.of("unreadable record")
        self._feed.send(self._members, unreadable.member_id.encode(), (unreadable.value or b"") + b"\xff")
        self._feed.flush()

    def _misplace(self) -> None:
        """A record in a wrong partition: attach goes on, but of so few members it is too large a share for a start, so
        it comes last."""
        stray = self.canaries.of("unknown names")
        key, partitions = stray.member_id.encode(), self._trial.settings.topics.partitions
        wrong = (int(partition_of(np.array([key]), partitions)[0]) + 1) % partitions
        self._feed.send(self._members, key, stray.value, partition=wrong)
        self._feed.flush()

    def _crash_by_signals(self) -> None:
        for turn in range(self._rounds):
            sent = {worker: SIGNALS[(number + turn) % len(SIGNALS)] for number, worker in enumerate(COMMANDS)}

            def end_all(sent: dict[str, signal.Signals] = sent) -> None:
                for worker, number in sent.items():
                    os.kill(self._trial.supervisor.pid(worker), number)

            self._say("ending all roles: " + ", ".join(f"{worker} by {number.name}" for worker, number in sent.items()))
            self._write_round(end_all)
            self._await_ready()
            for number in sent.values():
                self._outcome.crashes[number.name] = self._outcome.crashes.get(number.name, 0) + 1

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            self._trial.watch()
            waiting = [worker for worker in COMMANDS if not self._trial.is_ready(worker)]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise EvenstreamError(
                    f"these roles did not come back within {_READY_SECONDS:.0f} s: {', '.join(waiting)}; their logs "
                    f"are in {self._trial.folder / 'logs'}"
                )
            time.sleep(0.1)

    def _crash_by_exceptions(self) -> None:
        """Let records gather before each role from the last to the first, then run roles that fail on them."""
        self._say("failing seal, attach, aggregate a and b by exceptions with members' data in their messages ...")
        supervisor = self._trial.supervisor
        for workers in (("a", "b"), ("attach",), ("seal",)):
            for worker in workers:
                os.kill(supervisor.pid(worker), signal.SIGKILL)
            self._write_round()
            time.sleep(1.5)
        failing = [self._fail(worker) for worker in ("seal", "attach", "a", "b")]
        for worker, process in failing:
            self._await_crash(worker, process)
        # The other door: a model that panics. attach has not passed its batches on, so they are there still.
        self._await_crash(*self._fail("attach", "attach.model=streams.canary.crashing:PanickingModel"))
        self._await_ready()

    def _fail(self, worker: str, *overrides: str) -> tuple[str, subprocess.Popen[bytes]]:
        further = [part for override in ("http.port=0", *overrides) for part in ("--set", override)]
        patched = "none" if overrides else worker
        name = f"{worker}-model" if overrides else worker
        command = [sys.executable, "-m", "streams.canary.crashing", patched, str(self._handed(worker))]
        command += [*self._trial.arguments, *further, *command_of(worker)]
        with (self._trial.folder / "logs" / f"{name}-failed.log").open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | {SUPERVISOR: str(os.getpid())},
                start_new_session=True,
            )
        return name, process

    def _await_crash(self, name: str, process: subprocess.Popen[bytes]) -> None:
        try:
            status = process.wait(_CRASH_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self._outcome.shortfalls.append(
                f"{name} did not fail within {_CRASH_SECONDS:.0f} s: it had nothing to read"
            )
            return
        text = (self._trial.folder / "logs" / f"{name}-failed.log").read_text(errors="replace")
        if status == 0 or not (HIDDEN in text or "failed with Panic" in text or WORDS in text):
            self._outcome.shortfalls.append(f"{name} ended with status {status}, but not by the error it was given")
            return
        self._outcome.crashes["exception"] = self._outcome.crashes.get("exception", 0) + 1

    def _handed(self, worker: str) -> Path:
        return self._eyes_folder / f"{worker}.json"

    def _handed_over(self) -> Iterator[Trace]:
        """What the roles that failed had in their hands: shares of single rows; and the words of their messages."""
        yield from traces_of_text("error message", "a role that failed", WORDS)
        for party in ("a", "b"):
            with suppress(FileNotFoundError):
                for row in json.loads(self._handed(party).read_text())[:8]:
                    yield from traces_of_integers("shares", f"a row at {party}", row)

    def _await_windows(self) -> None:
        """The last base window and the roll-up after it tell that all that was written has come through."""
        follower = TopicFollower(self._trial.settings, self._trial.settings.topic("fairness-metrics"))
        wanted = {START_MS + number * ROUND_MS for number in range(self._round)}
        windows: list[FairnessMetric] = []
        deadline = time.monotonic() + _WINDOW_SECONDS
        while wanted - {window.window.start_ms for window in windows if window.level == "10s"}:
            self._trial.watch()
            if time.monotonic() > deadline:
                self._outcome.shortfalls.append(
                    f"not every window was published within {_WINDOW_SECONDS:.0f} s: canaries may not have come through"
                )
                break
            windows += follower.windows(0.5)
        follower.close()
        self._outcome.windows = sum(window.table is not None for window in windows)
        if not self._outcome.windows:
            self._outcome.shortfalls.append("no window was published with numbers in it")

    # -- what is there to see while it runs ---------------------------------------------------------------------------

    def _note_processes(self, note: str) -> None:
        for worker in COMMANDS:
            pid = self._trial.supervisor.pid(worker)
            for name, content in places.process_files(pid):
                self._process_files[f"/proc/PID/{name} of {worker} {pid}{note}"] = content
            limits = Path(f"/proc/{pid}/limits").read_text()
            if not re.search(r"Max core file size +0 +0 ", limits):
                self._outcome.shortfalls.append(f"{worker} may write core dumps")

    def _ask_roles(self) -> None:
        for worker in COMMANDS:
            port = self._port(worker)
            for page in (*_PAGES, "/"):
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5) as answer:
                    self._answers[f"{page} of {worker}"] = answer.read() + str(answer.headers).encode()
            if f"/metrics of {worker}" not in self._answers:
                self._outcome.shortfalls.append(f"{worker} did not answer /metrics")

    def _port(self, worker: str) -> int:
        return self._trial.ports[worker]

    def _search_memory(self) -> None:
        self._say("searching the memory of the roles ...")
        everything = frozenset(trace.data for trace in self._searcher.traces)
        theirs = {trace.data for trace in self._searcher.traces if trace.what == "feature"}
        in_events = {member.member_id for member in self.canaries.members if member.in_events}
        of_seal = {
            trace.data for trace in self._searcher.traces if trace.what in ("id", "feature") or trace.who in in_events
        }
        words = {trace.data for trace in self._searcher.traces if trace.what == "error message"}
        shares = {trace.data for trace in self._searcher.traces if trace.what == "shares"}
        allowed = {
            "seal": frozenset(of_seal),
            "attach": everything - theirs,
            "a": frozenset(shares),
            "b": frozenset(shares),
            "publish": frozenset(),
        }
        for worker, may in allowed.items():
            pid = self._trial.supervisor.pid(worker)
            self._outcome.places.append(hunt.search_memory(self._searcher, worker, pid, may | words))

    # -- the search ---------------------------------------------------------------------------------------------------

    def _search_the_stopped(self) -> None:
        outcome, searcher, trial = self._outcome, self._searcher, self._trial
        told = [trace for trace in searcher.traces if trace.encoding == "utf-8" and trace.what in ("id", "name")]
        numbers = [trace for trace in searcher.traces if trace.encoding == "float64 le"][:6]
        planted = PlantedTopic.make(trial.settings, [*told[:6], *numbers])
        company = (self._source, self._members, planted.name)
        trial.supervisor.stop()
        self._say("searching topics, the broker's disk, files, answers ...")
        records, outcome.topics = hunt.search_topics(searcher, trial.settings, company)
        outcome.eyes += planted.eyes(searcher, trial.settings, self._data)
        self._broker.stop()
        outcome.places += [records, *hunt.search_broker(searcher, self._data, company)]
        outcome.eyes += planted.eyes(searcher, None, self._data)
        outcome.eyes.append(self._eye_of_company())
        self._search_files()
        self._plant(told)

    @property
    def _data(self) -> Path:
        return self._broker.folder / "data"

    def _search_files(self) -> None:
        searcher, trial = self._searcher, self._trial
        logs = places.files_below(trial.folder / "logs")
        brokers = [path for path in places.files_below(self._broker.folder) if self._data not in path.parents]
        faust = trial.settings.faust_folder()
        kept = [path for path in places.files_below(trial.folder) if path not in logs]
        kept += places.files_below(trial.settings.keys.epoch_dir or trial.settings.keys.dir)
        kept += places.files_below(faust) if faust.exists() else []
        cores = [path for path in places.core_dumps(places.core_folders()) if path not in self._cores_before]
        for path in cores:
            self._outcome.shortfalls.append(f"a core dump was written: {path.name}")
        dumps = hunt.search_files(searcher, "core dumps", cores)
        dumps.note = f"looked for in {', '.join(sorted({str(folder) for folder in places.core_folders()}))}"
        answers, told = (
            Place("/metrics, health, live page", "answers"),
            Place("environment, command line", "files of /proc"),
        )
        for place, texts in ((answers, self._answers), (told, self._process_files)):
            for name, content in texts.items():
                place.take(searcher.search([content], name))
        self._outcome.places += [
            hunt.search_files(searcher, "logs and error output of roles", logs),
            hunt.search_files(searcher, "logs of the broker", brokers),
            answers,
            hunt.search_files(searcher, "keys, epochs, state and settings", kept),
            told,
            dumps,
        ]

    def _eye_of_company(self) -> Eye:
        """The company's own topics do hold the canaries, by the same way of searching."""
        wanted = {member.member_id for member in self.canaries.members}
        found: set[str] = set()
        for topic in (self._source, self._members):
            for folder in self._data.glob(f"{topic}-*"):
                for path in folder.glob("*.log"):
                    for batch in read_segment(path.read_bytes(), path.name).decompressed:
                        found |= {find.trace.who for find in self._searcher.search([batch], path.name).finds}
        return Eye("the company's own topics, in segment files", len(wanted), len(wanted & found))

    def _plant(self, told: list[Trace]) -> None:
        searcher, folder = self._searcher, self._eyes_folder
        log = self._trial.folder / "logs" / "seal.log"
        self._outcome.eyes += [
            hunt.eye_of_encodings(searcher, folder, self.canaries.vectors),
            hunt.eye_of_logs(searcher, folder, log, told[0]),
            hunt.eye_of_memory(searcher, told[:4]),
            hunt.eye_of_core_dumps(searcher, folder, told[:4]),
        ]


def run(root: Path, say: Callable[[str], None], *, short: bool) -> Outcome:
    """Run the canary in a new folder below ``root``; the logs stay, all else goes."""
    folder = (root / time.strftime("%Y%m%d-%H%M%S")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return CanaryRun(folder, say, rounds=1 if short else len(SIGNALS)).run()
    finally:
        for made in ("broker", "eyes"):
            shutil.rmtree(folder / made, ignore_errors=True)
