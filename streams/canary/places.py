"""Where a trace could be: files of every kind, records as a subscriber reads them, and processes.

Nothing here knows what is looked for: each place is a name and its bytes, in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Message

from streams.kafka.clients import admin, read_to_end
from streams.settings import Settings

_PIECE_BYTES = 1 << 24
_PRESENT_OR_SWAPPED = np.uint64(3 << 62)
_PROCESS_FILES = ("environ", "cmdline", "comm")


def written(path: Path) -> Iterator[bytes]:
    """A file's bytes, without its holes: Kafka reserves ten megabytes for each index, nearly all of them a hole.

    Between two pieces that a hole parts there are zeros, so that nothing is found that is not there.
    """
    with path.open("rb") as file:
        size, place = os.fstat(file.fileno()).st_size, 0
        while place < size:
            try:
                begin = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left, or this file system does not tell
                begin = size if place else 0
            if begin >= size:
                return
            try:
                end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            except OSError:
                end = size
            if begin > place:
                yield bytes(8)
            while begin < end:
                piece = os.pread(file.fileno(), min(_PIECE_BYTES, end - begin), begin)
                if not piece:
                    return
                yield piece
                begin += len(piece)
            place = end


def files_below(folder: Path) -> list[Path]:
    """Every regular file below a folder, whatever its name."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def all_topics(settings: Settings) -> list[str]:
    """Every topic of the cluster, Kafka's own as well."""
    return sorted(admin(settings).list_topics(timeout=settings.kafka.request_timeout_seconds).topics)


def record_bytes(message: Message) -> Iterator[bytes]:
    """Key, value and headers of a record."""
    for part in (message.key(), message.value()):
        if part is not None:
            yield part if isinstance(part, bytes) else str(part).encode()
    headers: Any = message.headers() or ()
    for name, value in headers:
        yield name.encode()
        if value is not None:
            yield value if isinstance(value, bytes) else str(value).encode()


def consumed(settings: Settings, topic: str) -> Iterator[Message]:
    """Every record of a topic, aborted ones too, as a subscriber gets them."""
    return read_to_end(settings, topic, isolation="read_uncommitted")


@dataclass(frozen=True)
class Memory:
    """What of a process was read.

    Attributes:
        pieces: the bytes of its writable mappings.
        refused: whether the kernel did not let us.
    """

    pid: int

    def readable(self) -> bool:
        """Whether this process may read that one's memory."""
        try:
            with Path(f"/proc/{self.pid}/mem").open("rb"):
                return True
        except OSError:
            return False

    def pieces(self) -> Iterator[bytes]:
        """The bytes of all writable mappings; a program's and its libraries' own files hold no member."""
        maps = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        descriptor = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY)
        try:
            for line in maps:
                span, rights = line.split()[:2]
                if "w" not in rights:
                    continue
                first, _, last = span.partition("-")
                for begin, end in self._resident(int(first, 16), int(last, 16)):
                    yield bytes(8)
                    yield from self._mapping(descriptor, begin, end)
        finally:
            os.close(descriptor)

    def _resident(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Spans of a mapping that have pages: most of what is mapped has never been touched, and is zeros."""
        size = os.sysconf("SC_PAGE_SIZE")
        try:
            with Path(f"/proc/{self.pid}/pagemap").open("rb") as file:
                file.seek(begin // size * 8)
                entries = np.frombuffer(file.read((end - begin) // size * 8), dtype="<u8")
        except OSError:
            yield begin, end
            return
        there = np.concatenate(([False], (entries & _PRESENT_OR_SWAPPED) != 0, [False]))
        edges = begin + size * np.flatnonzero(there[1:] != there[:-1])
        yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)

    @staticmethod
    def _mapping(descriptor: int, begin: int, end: int) -> Iterator[bytes]:
        while begin < end:
            piece = b""
            with suppress(OSError):  # freed meanwhile, or a guard page
                piece = os.pread(descriptor, min(_PIECE_BYTES, end - begin), begin)
            if not piece:
                return
            yield piece
            begin += len(piece)


def process_files(pid: int) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of what /proc tells of a process: environment and command line."""
    for name in _PROCESS_FILES:
        with suppress(OSError):
            yield name, Path(f"/proc/{pid}/{name}").read_bytes()


def core_dumps(folders: list[Path]) -> list[Path]:
    """Files that a kernel would call a core dump in these folders."""
    return sorted(path for folder in folders for path in folder.glob("*core*") if path.is_file() and _is_core(path))


def _is_core(path: Path) -> bool:
    """An ELF file of type CORE."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(18)
        return head[:4] == b"\x7fELF" and head[16:18] in (b"\x04\x00", b"\x00\x04")
    return False


def core_folders() -> list[Path]:
    """Where this kernel puts core dumps: the working folder, or the folder of its pattern (a pipe takes none here)."""
    try:
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    except OSError:
        pattern = "core"
    folders = [Path.cwd()]
    if pattern.startswith("/"):
        folders.append(Path(pattern).parent)
    return [folder for folder in folders if folder.is_dir()]
