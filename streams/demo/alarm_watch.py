"""What an SRE would have seen: /metrics is asked every second, as Prometheus asks it, and the alert's condition judged.

That is the condition of EvenstreamUnequalTreatment: a detector's alarm stands. Prometheus itself adds the time until
its next scrape and its next evaluation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

ALERT = "EvenstreamUnequalTreatment"

_ALARM = "evenstream_edetector_alarm"
_EVIDENCE = "evenstream_edetector_log_evidence"
_THRESHOLD = "evenstream_edetector_log_threshold"
_ASK_SECONDS = 1.0

Labels = tuple[tuple[str, str], ...]


@dataclass
class Firing:
    """One detector in alarm, as it was seen on /metrics.

    Attributes:
        labels: of the series, in the order of their names.
        since, until: Unix time at which it was seen first, and seen no more; None while it lasts.
        log_evidence, log_threshold: when it was seen first.
    """

    labels: dict[str, str]
    since: float
    log_evidence: float
    log_threshold: float
    until: float | None = None

    @property
    def what(self) -> str:
        """``simulated-feed 10s: recommendation_rate of black against white``."""
        at = self.labels
        score_bin = "" if at["score_bin"] == "all" else f", score bin {at['score_bin']}"
        return (
            f"{at['measurement']} {at['level']}: {at['metric']} of {at['group']} against {at['reference']}{score_bin}"
        )


def in_alarm(text: str) -> Iterator[tuple[dict[str, str], float, float]]:
    """(labels, log evidence, log threshold) of each detector in alarm, from the text of /metrics."""
    lines = (line for line in text.splitlines() if line.startswith((_ALARM, _EVIDENCE, _THRESHOLD)))
    samples = [s for family in text_string_to_metric_families("\n".join(lines) + "\n") for s in family.samples]
    thresholds = {(s.labels["measurement"], s.labels["level"]): s.value for s in samples if s.name == _THRESHOLD}
    evidence = {tuple(sorted(s.labels.items())): s.value for s in samples if s.name == _EVIDENCE}
    for sample in samples:
        if sample.name == _ALARM and sample.value == 1:
            threshold = thresholds[sample.labels["measurement"], sample.labels["level"]]
            yield dict(sample.labels), evidence[tuple(sorted(sample.labels.items()))], threshold


class AlarmWatch:
    """Keeps account of what fires and what has ceased to.

    Args:
        scrape: the text of /metrics; empty where nobody answers, which ends nothing.
        firings: what was seen so far is put here, in the order in which it began.
    """

    def __init__(self, scrape: Callable[[], str], firings: list[Firing]) -> None:
        self._scrape = scrape
        self._firings = firings
        self._standing: dict[Labels, Firing] = {}

    def look(self, now: float) -> None:
        """Ask once. ``now``: Unix time."""
        text = self._scrape()
        if not text:
            return
        seen = {tuple(sorted(labels.items())): rest for labels, *rest in in_alarm(text)}
        for key, (evidence, threshold) in seen.items():
            if key not in self._standing:
                self._standing[key] = Firing(dict(key), now, evidence, threshold)
                self._firings.append(self._standing[key])
        for key in self._standing.keys() - seen.keys():
            self._standing.pop(key).until = now

    def run(self, until: threading.Event) -> None:
        """Ask every second until told to stop, and once after that."""
        over = False
        while not over:
            over = until.wait(_ASK_SECONDS)
            self.look(time.time())
