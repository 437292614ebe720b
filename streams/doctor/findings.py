"""What a check has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "wrong", "unseen"]
"""Healthy; something is to be done; this could not be looked at."""


@dataclass(frozen=True)
class WindowName:
    """One window of one level of one measurement."""

    measurement: str
    level: str
    end_ms: int

    def __str__(self) -> str:
        return f"{self.measurement}/{self.level}/{self.end_ms}"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: which check says it.
        verdict: see :data:`Verdict`.
        says: what was found. do: what to do about it; empty where there is nothing to do.
        role: which role it is about, or its worker ("attach.1").
        topic, partitions: where it stands; a topic's full name.
        window: the first window that it holds back.
        since_ms: since when, epoch milliseconds; None where that is not known.
    """

    check: str
    verdict: Verdict
    says: str
    do: str = ""
    role: str | None = None
    topic: str | None = None
    partitions: tuple[int, ...] = ()
    window: WindowName | None = None
    since_ms: int | None = None


def exit_status(findings: list[Finding]) -> int:
    """0 where all is well, 1 where something is wrong, 2 where nothing is known to be, but not all could be seen."""
    verdicts = {finding.verdict for finding in findings}
    return 1 if "wrong" in verdicts else 2 if "unseen" in verdicts else 0
