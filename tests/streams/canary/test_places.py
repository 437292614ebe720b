"""What the canary reads: files with holes, segments of every compression, processes; and when its table fails."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import cramjam
import pytest
from rich.console import Console

from streams.canary import hunt, places
from streams.canary.encodings import Trace
from streams.canary.hunt import Eye, Place
from streams.canary.report import show
from streams.canary.run import Outcome
from streams.canary.search import Find, Searcher
from streams.canary.segments import read_segment
from streams.errors import InputError

TRACE = Trace("id", "canary-1", "utf-8", b"canary-0123456789abcdef")
SEARCHER = Searcher([TRACE])


def batch(payload: bytes, codec: int, count: int = 1) -> bytes:
    """A record batch as a segment holds it; its checksum is nobody's concern here."""
    body = struct.pack(">ibIhiqqqhii", 0, 2, 0, codec, count - 1, 0, 0, -1, -1, -1, count) + payload
    return struct.pack(">qi", 0, len(body)) + body


def java_snappy(data: bytes) -> bytes:
    """Two blocks, as Java's stream writes them."""
    out = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
    for half in (data[: len(data) // 2], data[len(data) // 2 :]):
        block = bytes(cramjam.snappy.compress_raw(half))
        out += struct.pack(">i", len(block)) + block
    return out


COMPRESS = {
    1: lambda data: bytes(cramjam.gzip.compress(data)),
    2: java_snappy,
    3: lambda data: bytes(cramjam.lz4.compress(data)),
    4: lambda data: bytes(cramjam.zstd.compress(data)),
}


@pytest.mark.parametrize("codec", sorted(COMPRESS))
def test_compressed_batches_are_opened(codec: int) -> None:
    """Each of Kafka's compressions, between batches that are not compressed."""
    hidden = TRACE.data[:11] + b"|" + TRACE.data[11:] + b"|" + TRACE.data + bytes(50)
    data = batch(b"plain", 0) + batch(COMPRESS[codec](hidden), codec, 3) + batch(b"plain", 0)
    content = read_segment(data + bytes(4096), "a.log")
    assert (content.batches, content.records) == (3, 5)
    assert content.decompressed == [hidden]


def test_what_cannot_be_read_is_said_and_not_passed_over() -> None:
    """Bytes that are no batch, an unknown compression, a broken one: whoever is blind must not say that all is well."""
    for data in (b"\1" * 100, batch(b"x", 6), batch(b"no lz4", 3)):
        with pytest.raises(InputError, match=r"a\.log"):
            read_segment(data, "a.log")
    assert read_segment(batch(b"plain", 0) + batch(b"cut", 0)[:-2], "a.log").batches == 1


def test_a_files_holes_are_left_out_and_nothing_else(tmp_path: Path) -> None:
    """Ten megabytes of hole cost nothing, and what stands behind them is found."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(10_000_000)
        file.write(TRACE.data)
    read = b"".join(places.written(path))
    assert TRACE.data in read
    assert read.startswith(b"begin")
    assert len(read) < 100_000
    (tmp_path / "empty").touch()
    assert list(places.written(tmp_path / "empty")) == []


def test_the_companys_topics_and_no_others_are_left_out(tmp_path: Path) -> None:
    """A trace in the company's topic is its own; in any other file of the data folder it is a find, deleted or not."""
    for folder in ("t.rec-events-0", "t.rec-events.copy-0", "t.sealed-1"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "00000000000000000000.log").write_bytes(batch(COMPRESS[3](2 * TRACE.data), 3))
    (tmp_path / "t.sealed-1" / "00000000000000000000.log.deleted").write_bytes(batch(TRACE.data, 0))
    raw, opened = hunt.search_broker(SEARCHER, tmp_path, ["t.rec-events"])
    assert {find.place for find in opened.finds} == {
        "t.rec-events.copy-0/00000000000000000000.log",
        "t.sealed-1/00000000000000000000.log",
    }
    assert "t.sealed-1/00000000000000000000.log.deleted" in {find.place for find in raw.finds}
    assert raw.count == 3


def test_names_of_files_are_searched_as_well(tmp_path: Path) -> None:
    """A file may hold nothing and be called what it must not be."""
    path = tmp_path / TRACE.data.decode()
    path.touch()
    assert len(hunt.search_files(SEARCHER, "files", [path]).finds) == 1


_HOLDS = "import sys; held = sys.argv[1].encode(); print(flush=True); sys.stdin.read()"


@pytest.mark.slow
def test_a_process_that_holds_a_trace_is_found() -> None:
    """The eye of memory sees, where this user may look, and so does a search of a process that holds the trace.

    A process of its own: the one that runs the tests has a hundred times its memory, all of which would be read.
    """
    eye = hunt.eye_of_memory(SEARCHER, [TRACE])
    assert eye.sees
    if os.geteuid() == 0:
        assert eye.found == 1
        command = [sys.executable, "-S", "-c", _HOLDS, TRACE.data.decode()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            holder.stdout.readline()
            assert hunt.search_memory(SEARCHER, "a process", holder.pid).finds
            allowed = frozenset([TRACE.data])
            assert hunt.search_memory(SEARCHER, "a process", holder.pid, allowed).finds == []
            holder.stdin.close()


def test_a_core_dump_is_found_or_cannot_be_made_here(tmp_path: Path) -> None:
    """A process that is not hardened leaves one with what it held; text that is called core is none."""
    assert hunt.eye_of_core_dumps(SEARCHER, tmp_path, [TRACE]).sees
    (tmp_path / "core").write_text("not one")
    assert places.core_dumps([tmp_path]) == []


def _shown(outcome: Outcome) -> str:
    console = Console(file=io.StringIO(), width=130)
    show(console, outcome)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_find_a_blind_eye_or_a_shortfall_fails() -> None:
    """Each alone makes the run fail, and is printed."""
    good = Eye("a log", 1, 1)
    clean = Outcome(places=[Place("logs", "files", 2, 10)], eyes=[good])
    assert clean.clean
    assert "0 finds" in _shown(clean)
    assert "holds: no trace of a canary" in _shown(clean)
    found = Outcome(places=[Place("logs", "files", 2, 10, [Find(TRACE, "seal.log", 7)])], eyes=[good])
    assert "FOUND id of canary-1 (utf-8) in seal.log at byte 7" in _shown(found)
    blind = Outcome(eyes=[Eye("a log", 2, 1)])
    assert "BLIND a log: 1 of 2" in _shown(blind)
    short = Outcome(eyes=[good], shortfalls=["b did not fail"])
    assert "SHORT b did not fail" in _shown(short)
    assert not any(outcome.clean for outcome in (found, blind, short))
    assert all("FAILS" in _shown(outcome) for outcome in (found, blind, short))
