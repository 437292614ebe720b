"""What names an alarm: the detector, and the window with which it began."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class AlarmName:
    """A detector's alarm, by the window with which it began.

    Attributes:
        measurement, level, metric, score_bin, group: the detector.
        since_ms: the end of that window, epoch milliseconds.
    """

    measurement: str
    level: str
    metric: str
    score_bin: str
    group: str
    since_ms: int

    @property
    def id(self) -> str:
        """measurement/level/metric/score bin/group/since_ms, as dispositions and pages have it."""
        return f"{self.measurement}/{self.level}/{self.metric}/{self.score_bin}/{self.group}/{self.since_ms}"
