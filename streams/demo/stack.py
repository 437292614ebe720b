"""The demo's deployment: its settings, its topics and the two measurements of the examples."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from privacy import Measurement, parse_measurement
from streams.errors import InputError
from streams.governance import starting
from streams.records.refused import decode_refused
from streams.trial import Trial

_NOTICE_MS = 5_000


class DemoStack(Trial):
    """One run's deployment, in one folder.

    Args:
        folder: for Kafka's data, keys, logs and the truth.
        say: shows a line.
        secure: on a secured broker, with one principal a role.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], *, secure: bool = False) -> None:
        # Both measurements on two UTC days, in case the run passes midnight.
        super().__init__(folder, say, name="demo", overrides=("privacy.rho_30_days_limit=1.2",), secure=secure)

    def make_topics(self) -> None:
        """Make topics and keys."""
        self.prepare(self._sources().values())

    def _sources(self) -> dict[str, str]:
        """Source topic of each example."""
        names = {"simulated-feed": "rec-events", "primaries-2022": "primaries"}
        return {example: self.settings.topic(topic) for example, topic in names.items()}

    def approve_examples(self, examples: Path) -> dict[str, Measurement]:
        """Have two of three reviewers approve the two measurements, from a minute on that leaves every role time."""
        now_ms = time.time_ns() // 1_000_000
        approved = {}
        for example, topic in self._sources().items():
            path = examples / example / "measurement.yaml"
            try:
                text = path.read_text()
            except OSError:
                raise InputError(f"{path} is missing: run the demo from a checkout of evenstream") from None
            spec = parse_measurement(text, origin=str(path))
            spec = spec.model_copy(update={"source": spec.source.model_copy(update={"topic": topic})})
            approved[spec.id] = self.approve(starting(spec, now_ms, days=1, notice_ms=_NOTICE_MS), now_ms)
        return approved

    def refused(self) -> dict[str, int]:
        """Rows refused so far, by reason."""
        counts: dict[str, int] = {}
        for value in self.all_values("refused"):
            reason = decode_refused(value).reason
            counts[reason] = counts.get(reason, 0) + 1
        return counts
