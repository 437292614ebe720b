"""What contends: version, delivery guarantee, settings and command of each, as the report names them."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench.performance.contenders import counts
from bench.performance.contenders.counts import Counted, Update
from streams.kafka.dev_jars import KAFKA_VERSION

ROOT = Path(__file__).parents[3]
"""Of this checkout. Contenders are started there: their modules are found by it."""

VENV = ROOT / "build" / "bench-venv"
JAVA_FOLDER = Path(__file__).parent / "kafka_streams"
LOCK = Path(__file__).parent / "requirements.lock"

_AT_LEAST_ONCE = "at least once"
_EXACTLY_ONCE = "exactly once (transactions)"
_BACKOFF = "fetch.queue.backoff.ms 5 (1,000 by default: a full queue would not be filled again for a second)"


@dataclass(frozen=True)
class Contender:
    """One program, as it is run.

    One that has to warm up marks its half (``program``): what a deployment pays is the price of the second half.

    Attributes:
        name: of this entry; a framework has one for each guarantee. version: of the framework. language: it runs on.
        guarantee: of delivery. store: where its state is. settings: what was set and why, in words.
        follows: the page of its documentation that says to do it so.
        command: its words up to the task's own arguments (``program.read_task``); run it in ``ROOT``.
        most_events: of one run, since it is slow; None for as many as there are.
        decode: its records of counts; None where it writes none.
        by_record_time: its windows go by the records' own times, which it need not decode; else by the events'.
        last_window_open: it closes a window when a later event comes, so it never tells of the last one.
    """

    name: str
    version: str
    language: str
    guarantee: str
    store: str
    settings: str
    follows: str
    command: tuple[str, ...]
    decode: Callable[[bytes, bytes, tuple[int, int]], Iterator[Update]] | None = None
    most_events: int | None = None
    by_record_time: bool = True
    last_window_open: bool = False

    def missing(self) -> str | None:
        """What stands between this contender and a run here, in words; None where it can run."""
        if shutil.which(self.command[0]) is None:
            return f"{self.command[0]} is not there: python -m bench.performance.contenders.preparing"
        if self.language == "Java" and not (JAVA_FOLDER / "build" / "complete").exists():
            return f"{JAVA_FOLDER.name} is not compiled: python -m bench.performance.contenders.preparing"
        return None


def read_counts(contender: Contender, bootstrap: str, output_topic: str) -> Counter[Counted]:
    """What a contender has counted: (group, recommended, start of the window in epoch milliseconds) -> events.

    Partial counts of partitions are added up, and of updates the last one counts. Empty where it writes nothing.
    """
    return Counter() if contender.decode is None else counts.read(contender.decode, bootstrap, output_topic)


def mistakes(contender: Contender, found: Counter[Counted], truth: Counter[Counted]) -> list[str]:
    """What a contender has counted wrongly, in words; nothing where all is right."""
    if contender.decode is None:
        return []
    return counts.mistakes(found, truth, last_window_open=contender.last_window_open)


def _locked(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert found, f"{LOCK} does not pin {package}"
    return found[1]


def _module(name: str, python: Path | str = sys.executable, *more: str) -> tuple[str, ...]:
    return (str(python), "-m", f"bench.performance.contenders.{name}", *more)


def _quix(name: str, guarantee: str, word: str) -> Contender:
    return Contender(
        name=name,
        version=_locked("quixstreams"),
        language="Python",
        guarantee=guarantee,
        store="RocksDB, with a changelog topic",
        settings="tumbling_window(1 s).reduce(two counts).final(closing_strategy='partition'), JSON by orjson, one "
        f"process; {_BACKOFF}",
        follows="https://quix.io/docs/quix-streams/windowing.html",
        command=_module("quix_count", VENV / "bin" / "python", "--guarantee", word),
        decode=counts.quix,
        most_events=200_000,
        last_window_open=True,
    )


def _kafka_streams(name: str, guarantee: str, word: str) -> Contender:
    return Contender(
        name=name,
        version=KAFKA_VERSION,
        language="Java",
        guarantee=guarantee,
        store="RocksDB window store behind its record cache (10 MB), with a changelog topic",
        settings="groupByKey, TimeWindows of 1 s with 1 s of grace, aggregate(two counts), JSON by Jackson's data "
        "binding, one stream thread (two are quicker and take a tenth more CPU an event), the JVM's own defaults",
        follows="https://kafka.apache.org/41/documentation/streams/developer-guide/dsl-api.html",
        command=(
            "java",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            f"{JAVA_FOLDER / 'build' / 'classes'}:{JAVA_FOLDER / 'build' / 'libs' / '*'}",
            "dev.evenstream.bench.GroupCount",
            "--guarantee",
            word,
        ),
        decode=counts.kafka_streams,
    )


FLOOR = Contender(
    name="floor",
    version=metadata.version("confluent-kafka"),
    language="Python",
    guarantee="none",
    store="none",
    settings=f"consume(500), msgspec's typed decoder, one record at a time; {_BACKOFF}; queued.min.messages 20,000",
    follows="https://docs.confluent.io/platform/current/clients/confluent-kafka-python/html/index.html",
    command=_module("floor"),
)

FAUST = Contender(
    name="Faust",
    version=metadata.version("faust-streaming"),
    language="Python",
    guarantee=_AT_LEAST_ONCE,
    store="memory, with a changelog topic, which is the output",
    settings="a windowed table, every change of which goes to its changelog; defaults",
    follows="https://faust-streaming.github.io/faust/userguide/tables.html",
    command=_module("faust_count"),
    decode=counts.faust,
    most_events=20_000,
)

BYTEWAX = Contender(
    name="Bytewax",
    version=_locked("bytewax"),
    language="Python",
    guarantee=f"{_AT_LEAST_ONCE} (recovery on)",
    store="memory, snapshot into SQLite every 10 s",
    settings="count_window by an event clock that waits 60 s for what is out of order, msgspec's typed decoder, one "
    f"worker, batches of 1,000 (5,000 and 20,000 were slower); {_BACKOFF}",
    follows="https://docs.bytewax.io/stable/guide/concepts/windowing.html",
    command=_module("bytewax_count", VENV / "bin" / "python"),
    decode=counts.bytewax,
    by_record_time=False,
    most_events=1_000_000,
)

QUIX = _quix("Quix Streams", _AT_LEAST_ONCE, "at-least-once")
QUIX_EXACTLY_ONCE = _quix("Quix Streams, exactly once", _EXACTLY_ONCE, "exactly-once")
KAFKA_STREAMS = _kafka_streams("Kafka Streams", _AT_LEAST_ONCE, "at_least_once")
KAFKA_STREAMS_EXACTLY_ONCE = _kafka_streams("Kafka Streams, exactly once", _EXACTLY_ONCE, "exactly_once_v2")

EXACTLY_ONCE = (QUIX_EXACTLY_ONCE, KAFKA_STREAMS_EXACTLY_ONCE)
CONTENDERS = (FLOOR, FAUST, QUIX, QUIX_EXACTLY_ONCE, BYTEWAX, KAFKA_STREAMS, KAFKA_STREAMS_EXACTLY_ONCE)
"""All of them, the floor first."""
