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
from streams.trial import Trial

OVERRIDES = ("privacy.rho_30_days_limit=100", "privacy.rho_year_limit=1000")
_TOO_LATE_SECONDS = 0.2


class PageDeployment:
    """Roles at work, traffic flowing, and the address of the live page.

    Args:
        folder: for logs and keys. say: shows a line.
        spec: the measurement, as YAML; its source topic is put in here.
        members, rate: of the traffic.
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
        overrides: Sequence[str] = (),
        bootstrap: str | None = None,
    ) -> None:
        self.trial = Trial(folder, say, name="page", overrides=(*OVERRIDES, *overrides))
        try:
            self.trial.start_kafka(bootstrap)
            self._start(spec, members, rate)
        except BaseException:
            self.trial.stop()
            raise

    def _start(self, text: str, members: int, rate: int) -> None:
        source = self.trial.settings.topic("rec-events")
        self.trial.prepare([source])
        self.traffic = Traffic(self.trial, source, members=members, rate=rate)
        self.trial.start_roles()
        self.traffic.start()
        spec = parse_measurement(text, origin="bench.live_page")
        spec = spec.model_copy(update={"source": spec.source.model_copy(update={"topic": source})})
        # It begins some moments before the roles can know it: its first window is void, as it should be.
        longest_ms = max(level.length_ms for level in spec.levels)
        begin_ms = (time.time_ns() // 1_000_000 // longest_ms + 1) * longest_ms
        time.sleep(begin_ms / 1000 + _TOO_LATE_SECONDS - time.time())
        self.spec: Measurement = self.trial.approve(spec.with_effective_from(begin_ms), begin_ms - 1)

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
                if found["level"] == name:
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
        self.traffic.pause(end_ms / 1000 - time.time())
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
