"""What a folder lies on: memory, a disk, or a container's own layer; and whether this process can write there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_MEMORY = frozenset(("tmpfs", "ramfs"))
_LAYERS = frozenset(("overlay", "aufs"))


@dataclass(frozen=True)
class Storage:
    """What a folder lies on.

    Attributes:
        there: the folder itself, or the nearest one above it that exists.
        kind: type of the file system; "" where nothing tells.
        writable: whether this process may make files there.
        free_bytes: what it may still write.
    """

    there: Path
    kind: str
    writable: bool
    free_bytes: int

    @property
    def in_memory(self) -> bool:
        """Whether it is gone with the machine, and with the pod."""
        return self.kind in _MEMORY

    @property
    def in_container(self) -> bool:
        """Whether it is a container's own layer, and gone with the container."""
        return self.kind in _LAYERS


def storage_of(folder: Path, mounts: str | None = None) -> Storage:
    """What a folder lies on, or would if it were made.

    Args:
        mounts: the contents of /proc/self/mounts.
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    found = os.statvfs(there)
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)  # false as well where it is mounted read-only
    return Storage(
        there,
        _kind(there.resolve(), _mounts() if mounts is None else mounts),
        writable,
        found.f_bavail * found.f_frsize,
    )


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text()
    except OSError:  # not Linux
        return ""


def _kind(path: Path, mounts: str) -> str:
    """The type of the file system whose mount point is the longest beginning of a path; of two, the later one."""
    longest, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(parts[1].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), parts[2]
    return kind
