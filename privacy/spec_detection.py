"""What a measurement's alarms promise, as reviewers sign it: which gaps are tolerated, how rare false alarms are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, field_validator

from privacy.spec_fields import Level, Part, Real, parse_duration

LEAST_WINDOWS = 20
"""Between two false alarms of a level, on average: with fewer, nobody would believe an alarm."""

_DAY_MS = 86_400_000
_MOST_FALSE_ALARM_MS = 3650 * _DAY_MS
_LEAST_REVIEW_MS, _MOST_REVIEW_MS = 60_000, 90 * _DAY_MS

Gap = Annotated[Real, Field(ge=0, lt=0.5)]


class Detection(Part):
    """What is tolerated, how rare a false alarm is, and how soon one is reviewed.

    Attributes:
        tolerated_gap: tau, a ratio: gaps within it, on either side, are not to raise an alarm. Of every metric but
            those of ``tolerated_gaps``.
        false_alarm_every: of each level: its first false alarm comes after so long or longer, on average.
        review_within: how long reviewers have, once an alarm has begun.
    """

    tolerated_gap: Gap = 0.02
    tolerated_gaps: dict[str, Gap] = Field(default_factory=dict)
    false_alarm_every: str = "30d"
    review_within: str = "7d"

    @field_validator("false_alarm_every", "review_within")
    @classmethod
    def _durations(cls, text: str) -> str:
        parse_duration(text)
        return text

    def tolerated(self, metric: str) -> float:
        """Of one metric."""
        return self.tolerated_gaps.get(metric, self.tolerated_gap)

    def false_alarm_windows(self, length_ms: int) -> int:
        """``false_alarm_every`` in windows of a length, rounded up."""
        return -(-parse_duration(self.false_alarm_every) // length_ms)

    @property
    def review_within_ms(self) -> int:
        """How long reviewers have, milliseconds."""
        return parse_duration(self.review_within)

    def problems(self, levels: Sequence[Level], metrics: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(field, what is wrong and how to mend it), given the measurement's levels and metrics."""
        for metric in self.tolerated_gaps:
            if metric not in metrics:
                text = f"is no metric of this measurement's cells; name one of {', '.join(metrics)}"
                yield f"detection.tolerated_gaps.{metric}", text
        every, longest = parse_duration(self.false_alarm_every), levels[-1]
        if every < LEAST_WINDOWS * longest.length_ms:
            text = (
                f"{self.false_alarm_every} is less than {LEAST_WINDOWS} windows of the longest level, {longest.name}; "
                "alarms so often false would not be believed: use a longer one"
            )
            yield "detection.false_alarm_every", text
        elif every > _MOST_FALSE_ALARM_MS:
            yield "detection.false_alarm_every", f"{self.false_alarm_every} is more than ten years; use at most 3650d"
        if not _LEAST_REVIEW_MS <= self.review_within_ms <= _MOST_REVIEW_MS:
            yield "detection.review_within", f"{self.review_within} is not within 1m and 90d; a week is usual: 7d"


DEFAULT = Detection()
"""Of a measurement that says nothing."""
