"""What processes use: CPU seconds and resident memory of a process and its children, read from /proc (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU so far.

    Attributes:
        user, system: seconds. Children that have ended and were waited for count.
    """

    user: float
    system: float

    @property
    def seconds(self) -> float:
        """Both."""
        return self.user + self.system

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.user - other.user, self.system - other.system)

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.user + other.user, self.system + other.system)


NOTHING = Usage(0.0, 0.0)


def usage(pid: int) -> Usage:
    """Of a process, those of its children that have ended, and those that live; nothing once it is gone."""
    used = NOTHING
    for process in tree(pid):
        try:
            text = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            continue
        fields = text.rsplit(")", 1)[1].split()
        user, system, ended_user, ended_system = map(int, fields[11:15])
        used += Usage((user + ended_user) / _TICKS, (system + ended_system) / _TICKS)
    return used


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return found


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """Resident memory of a process, now or at its highest; 0 once it is gone."""
    word = "VmHWM:" if peak else "VmRSS:"
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(word)), 0)
