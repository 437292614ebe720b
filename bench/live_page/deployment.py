"""A deployment on a real Kafka whose pages have something to show: windows, one void and one suppressed, and alarms."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.live_page.traffic import Traffic
from privacy import Measurement, parse_measurement
from streams.errors import EvenstreamError
from streams.simulate import DEFAULT_GAP
from streams.trial import Trial

CLICKS = """
id: clicks
purpose: Do members of every group click equally often on what they are shown?
source: {topic: rec-events, member: member_id, time: shown_at, time_format: epoch_ms}
cells: {outcome: {field: clicked}}
windows: {base: 10s, lateness: 1s, max_future: 1s}
reference: white
privacy: {contribution_cap: 2, cap_rule: first, rho_member_day: 0.05}
detection: {false_alarm_every: 1d, review_within: 1d}
review: {owner: "evenstream's maintainers", harm_considered: none, data_used: made up, retention: until the run ends}
"""
_OVERRIDES = ("privacy.rho_30_days_limit=1.2",)  # two UTC days, in case a run passes midnight
_DAY_MS = 86_400_000
_TICK_SECONDS = 0.1  # of the traffic, and a little
_TOO_LATE_SECONDS = 0.2


class PageDeployment:
    """Roles at work, traffic flowing, and the address of the live page, which shows two measurements.

    Args:
        folder: for logs and keys. say: shows a line.
        spec: the one that is looked at, as YAML; its source topic is put in here. It is approved some moments too
            late, so that its first windows are void.
        members, rate, gap: of the traffic.
        overrides: further settings, ``name=value``.
        bootstrap: a Kafka that is there; by default one is started.
    """

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        spec: str,
        members: int,
        rate: int,
        gap: float = DEFAULT_GAP,
        overrides: Sequence[str] = (),
        bootstrap: str | None = None,
    ) -> None:
        self.trial = Trial(folder, say, name="page", overrides=(*_OVERRIDES, *overrides))
        try:
            self.trial.start_kafka(bootstrap)
            self._start(spec, members, rate, gap)
        except BaseException:
            self.trial.stop()
            raise

    def _start(self, text: str, members: int, rate: int, gap: float) -> None:
        source = self.trial.settings.topic("rec-events")
        self.trial.prepare([source])
        self.traffic = Traffic(self.trial, source, members=members, rate=rate, gap=gap)
        first, self.spec = (self._about(source, found) for found in (CLICKS, text))
        self._approve(first, _next_ms(first))
        self.trial.start_roles()
        self.traffic.start()
        begin_ms = _next_ms(self.spec)
        # By then seal reads what it has to void.
        time.sleep(begin_ms / 1000 + _TOO_LATE_SECONDS - time.time())
        self._approve(self.spec, begin_ms)

    @staticmethod
    def _about(source: str, text: str) -> Measurement:
        spec = parse_measurement(text, origin="bench.live_page")
        return spec.model_copy(update={"source": spec.source.model_copy(update={"topic": source})})

    def _approve(self, spec: Measurement, begin_ms: int) -> None:
        self.trial.approve(spec.with_effective_from(begin_ms).with_expires(begin_ms + _DAY_MS), begin_ms - 1)

    @property
    def port(self) -> int:
        """Where `publish` answers, at 127.0.0.1."""
        return self.trial.ports["publish"]

    @property
    def address(self) -> str:
        """The live page's, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def data(self, path: str) -> dict[str, object]:
        """A page as JSON; empty where it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read()
            return dict(json.loads(text)) if answer.status == 200 else {}
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            connection.close()

    def windows(self, level: str | None = None) -> list[dict[str, object]]:
        """The newest windows of a level, by default the base one: end_ms, status, reason, alarm."""
        name = level or self.spec.windows.base
        measurements = self.data("/index.json").get("measurements")
        for measurement in measurements if isinstance(measurements, list) else []:
            for found in measurement["levels"]:
                if (measurement["measurement"], found["level"]) == (self.spec.id, name):
                    return list(found["windows"])
        return []

    def published(self) -> int:
        """How many windows of the base level are published."""
        return sum(window["status"] == "published" for window in self.windows())

    def alarms(self) -> list[dict[str, object]]:
        """The alarms that stand."""
        standing = self.data("/alerts.json").get("standing")
        return list(standing) if isinstance(standing, list) else []

    def pause(self) -> int:
        """No traffic during one whole window, which is suppressed for it; its end, epoch milliseconds."""
        length_ms = self.spec.base_ms
        end_ms = (time.time_ns() // 1_000_000 // length_ms + 2) * length_ms
        self.traffic.pause(end_ms / 1000 + _TICK_SECONDS - time.time())
        return end_ms

    def wait(self, what: str, holds: Callable[[], object], seconds: float) -> None:
        """Until something holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            self.trial.watch()
            if time.monotonic() > deadline:
                raise EvenstreamError(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.2)

    def close(self) -> None:
        """Stop what was started."""
        try:
            self.traffic.stop()
        finally:
            self.trial.stop()


def _next_ms(spec: Measurement) -> int:
    """The next moment at which a measurement can begin."""
    longest_ms = max(level.length_ms for level in spec.levels)
    return (time.time_ns() // 1_000_000 // longest_ms + 1) * longest_ms
