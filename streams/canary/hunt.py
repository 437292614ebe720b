"""Looks for traces in every place where a trial's roles, or its broker, could have left one; and proves that it sees.

What is planted goes the same ways as what is looked for: a file, a log, a compressed record on the same broker, the
memory of a process, a core dump where this machine makes any.
"""

from __future__ import annotations

import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streams.canary import places
from streams.canary.encodings import Trace
from streams.canary.search import Find, Searched, Searcher, missed
from streams.canary.segments import read_segment
from streams.feed import Feed
from streams.kafka.topics import TopicPlan, create
from streams.settings import Settings

_CHILD_SECONDS = 30.0


@dataclass
class Place:
    """One kind of place, and what was searched of it.

    Attributes:
        unit: what is counted: files, records, processes, answers.
        note: what a reader should know of it.
    """

    name: str
    unit: str
    count: int = 0
    bytes: int = 0
    finds: list[Find] = field(default_factory=list)
    note: str = ""

    def take(self, searched: Searched, count: int = 1) -> None:
        """Add what was searched."""
        self.count += count
        self.bytes += searched.bytes
        self.finds += searched.finds


@dataclass(frozen=True)
class Eye:
    """What was planted, and how much of it was found; ``skipped`` says why it could not be tried."""

    name: str
    planted: int
    found: int
    skipped: str = ""

    @property
    def sees(self) -> bool:
        """Whether all was found that was planted."""
        return bool(self.skipped) or (self.planted > 0 and self.found == self.planted)


# -- the broker's disk -------------------------------------------------------------------------------------------------


def topic_of(folder: str) -> str:
    """The topic whose partition lies in a folder of this name (TOPIC-3)."""
    return folder.rpartition("-")[0]


def search_broker(searcher: Searcher, data: Path, exempt: Iterable[str]) -> tuple[Place, Place]:
    """Search a broker's data folder: all files as they are, and their compressed batches opened.

    Args:
        exempt: topics that may hold members: the company's own.
    """
    raw, opened = Place("broker's data folder, as it is", "files"), Place("its compressed batches, opened", "batches")
    left_out = set(exempt)
    for path in places.files_below(data):
        relative = path.relative_to(data)
        if len(relative.parts) > 1 and topic_of(relative.parts[0]) in left_out:
            continue
        raw.take(searcher.search(places.written(path), str(relative)))
        if ".log" in path.suffixes:
            content = read_segment(path.read_bytes(), str(relative))
            for batch in content.decompressed:
                opened.take(searcher.search([batch], str(relative)))
    return raw, opened


def search_topics(searcher: Searcher, settings: Settings, exempt: Iterable[str]) -> tuple[Place, int]:
    """Search the records of every topic but the company's, as a subscriber that reads uncommitted gets them.

    Returns:
        The place, and how many topics there were.
    """
    place = Place("records, as read from Kafka", "records")
    topics = [name for name in places.all_topics(settings) if name not in set(exempt)]
    for topic in topics:
        for message in places.consumed(settings, topic):
            where = f"{topic}[{message.partition()}] at {message.offset()}"
            for part in places.record_bytes(message):
                place.take(searcher.search([part], where), 0)
            place.count += 1
    return place, len(topics)


# -- files and processes ----------------------------------------------------------------------------------------------


def search_files(searcher: Searcher, name: str, paths: Iterable[Path]) -> Place:
    """Search whole files, and their names."""
    place = Place(name, "files")
    for path in paths:
        place.take(searcher.search(places.written(path), str(path)))
        place.take(searcher.search([str(path).encode()], f"the name of {path}"), 0)
    return place


def search_memory(searcher: Searcher, name: str, pid: int, allowed: frozenset[bytes] = frozenset()) -> Place:
    """Search a process's memory.

    Args:
        allowed: traces that this role may hold.
    """
    place, memory = Place(f"memory of {name}", "processes"), places.Memory(pid)
    if not memory.readable():
        place.note = "closed to this user: run as root to search it"
        return place
    searched = searcher.search(memory.pieces(), name)
    searched.finds = [find for find in searched.finds if find.trace.data not in allowed]
    place.take(searched)
    return place


# -- eyes -------------------------------------------------------------------------------------------------------------


def eye_of_encodings(searcher: Searcher, folder: Path, vectors: dict[str, NDArray[np.float64]]) -> Eye:
    """Every trace, and every vector printed with 3 to 17 digits in three styles, in one file among random bytes."""
    path, printed = folder / "planted.bin", list(_printed(vectors))
    parts = [trace.data for trace in searcher.traces] + [text for _, text in printed]
    path.write_bytes(b"".join(secrets.token_bytes(5 + number % 8) + b"\0" + p for number, p in enumerate(parts)))
    finds = searcher.search(places.written(path), path.name).finds
    left = missed(searcher.traces, finds)
    seen = {(find.trace.who, find.trace.data) for find in finds if find.trace.encoding == "printed vector"}
    blind = [who for who, text in printed if not any(who == w and data in text for w, data in seen)]
    total = len(searcher.traces) + len(printed)
    return Eye("every encoding, in a file", total, total - len(left) - len(blind))


def _printed(vectors: dict[str, NDArray[np.float64]]) -> Iterator[tuple[str, bytes]]:
    for who, vector in vectors.items():
        for digits in range(3, 18):
            yield who, (" [" + ", ".join(f"{value:.{digits}f}" for value in vector) + "] ").encode()
            yield who, (" " + ",".join(f"{value:.{digits}e}" for value in vector) + "\n").encode()
            yield (
                who,
                (" {" + " ".join(f'"g{k}": {value:.{digits}f}' for k, value in enumerate(vector)) + "} ").encode(),
            )


def eye_of_logs(searcher: Searcher, folder: Path, log: Path, trace: Trace) -> Eye:
    """A line that names a canary, amid the lines of a real log."""
    path = folder / "planted.log"
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    middle = len(lines) // 2
    path.write_bytes(b"".join([*lines[:middle], b"INFO seal: " + trace.data + b" was read\n", *lines[middle:]]))
    return _eye("a log", [trace], searcher.search(places.written(path), path.name))


@dataclass(frozen=True)
class PlantedTopic:
    """A topic with traces in lz4 batches, each trace only as two references to earlier bytes."""

    name: str
    traces: tuple[Trace, ...]

    @classmethod
    def make(cls, settings: Settings, traces: Iterable[Trace]) -> PlantedTopic:
        """Make it on the trial's broker, with evenstream's own producer for what is no transaction."""
        planted = cls(settings.topic("planted"), tuple(traces))
        create(settings, (TopicPlan(planted.name, 1, settings.topics.replication_factor, {}),))
        Feed(settings).send_all(planted.name, [(b"planted", _in_two(trace.data)) for trace in planted.traces])
        return planted

    def eyes(self, searcher: Searcher, settings: Settings | None, data: Path) -> Iterator[Eye]:
        """What is seen of it over the wire (where there are settings), and in the data folder."""
        if settings is not None:
            found = Searched()
            for message in places.consumed(settings, self.name):
                for part in places.record_bytes(message):
                    found.finds += searcher.search([part], self.name).finds
            yield _eye("an lz4 record, read from Kafka", self.traces, found)
            return
        segments = [path for folder in data.glob(f"{self.name}-*") for path in folder.glob("*.log")]
        opened = Searched()
        for path in segments:
            for batch in read_segment(path.read_bytes(), path.name).decompressed:
                opened.finds += searcher.search([batch], path.name).finds
        yield _eye("an lz4 record, in a segment file", self.traces, opened)


def _in_two(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + b"|" + data[half:] + b"|" + data


def eye_of_memory(searcher: Searcher, traces: list[Trace]) -> Eye:
    """A process that holds traces in its memory."""
    with _child("import sys; kept = sys.stdin.buffer.read(); print(len(kept), flush=True); sys.stdin = None; "
                "import time; time.sleep(60)", traces) as child:  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        memory = places.Memory(child.pid)
        if not memory.readable():
            child.kill()
            return Eye("a process's memory", len(traces), 0, "closed to this user: run as root to search memory")
        searched = searcher.search(memory.pieces(), "child")
        child.kill()
    return _eye("a process's memory", traces, searched)


def eye_of_core_dumps(searcher: Searcher, folder: Path, traces: list[Trace]) -> Eye:
    """A process that is not hardened, and aborts with traces in its memory."""
    name = "a core dump of a process that is not hardened"
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    except OSError:
        pattern = "|"
    if hard == 0 or pattern.startswith(("|", "/")):
        return Eye(name, len(traces), 0, "this machine writes none into the working folder")
    scratch = folder / "scratch"
    scratch.mkdir()
    code = (
        "import resource, sys, os; kept = sys.stdin.buffer.read(); "
        f"resource.setrlimit(resource.RLIMIT_CORE, ({hard}, {hard})); os.abort()"
    )
    with _child(code, traces, scratch) as child:
        child.wait(_CHILD_SECONDS)
    searched = Searched()
    for path in places.core_dumps([scratch]):
        searched.finds += searcher.search(places.written(path), path.name).finds
    return _eye(name, traces, searched)


def _child(code: str, traces: list[Trace], folder: Path | None = None) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    assert child.stdin is not None
    child.stdin.write(b"\n".join(trace.data for trace in traces))
    child.stdin.close()
    child.stdin = None
    time.sleep(0)
    return child


def _eye(name: str, planted: Iterable[Trace], searched: Searched) -> Eye:
    all_planted = list(planted)
    return Eye(name, len(all_planted), len(all_planted) - len(missed(all_planted, searched.finds)))
