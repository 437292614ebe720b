"""Whether many open pages slow publication: the same run with none and with many open, turn by turn.

What is timed is a window's end plus the lateness until /metrics shows it, as Prometheus would see it
(``streams.demo.probe``). Windows are short, so that fetching pages of one window goes on while the next is published;
where windows are longer than some seconds nobody fetches anything by then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.live_page.deployment import PageDeployment
from streams.demo.probe import VisibilityProbe

BASE_SECONDS = 2
SPEC = f"""
id: feed
purpose: what open pages cost
source: {{topic: rec-events, member: member_id, time: shown_at, time_format: epoch_ms}}
cells:
  score: {{field: score, bins: [0.2, 0.4, 0.6, 0.8]}}
  decision: {{field: recommended}}
  outcome: {{field: clicked}}
windows: {{base: {BASE_SECONDS}s, rollups: [10s], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}}
detection: {{tolerated_gap: 0.01, false_alarm_every: 1d}}
review: {{owner: the bench, harm_considered: none, data_used: made up, retention: until it ends}}
"""
_FIRST_SECONDS = 180.0
_SETTLE_SECONDS = 6.0


@dataclass(frozen=True)
class Round:
    """One turn.

    Attributes:
        pages: how many were open. delays: seconds until each window was seen.
        readers: what the readers came by; None where there were none.
        cores: how much of one `publish` used, and the process that draws its charts.
    """

    pages: int
    delays: tuple[float, ...]
    readers: dict[str, object] | None
    cores: tuple[float, float]

    def quantile(self, share: float) -> float:
        """Of the delays, milliseconds."""
        return 1000 * float(np.quantile(np.array(self.delays), share))


def run(
    say: Callable[[str], None], *, pages: int, rounds: int, windows: int, looked_at: Sequence[str] = ()
) -> list[Round]:
    """All turns, in their order: none and ``pages``, so often; of ``looked_at``, or else of what people look at."""
    with tempfile.TemporaryDirectory() as name:
        deployment = PageDeployment(Path(name), say, spec=SPEC, members=400_000, rate=2_000)
        try:
            deployment.wait("windows are published", lambda: deployment.published() >= 3, _FIRST_SECONDS)
            # Alarms stand, and there is a picture of everything: pages are as long as they get.
            deployment.traffic.turn(unfair=True)
            looked_at = looked_at or paths(deployment)
            return [_turn(deployment, count, looked_at, windows, say) for _ in range(rounds) for count in (0, pages)]
        finally:
            deployment.close()


def _turn(
    deployment: PageDeployment, pages: int, looked_at: Sequence[str], windows: int, say: Callable[[str], None]
) -> Round:
    with _reading(deployment, pages, looked_at) as told:
        if pages:
            time.sleep(_SETTLE_SECONDS)
        base_ms = deployment.spec.base_ms
        begin_ms = (time.time_ns() // 1_000_000 // base_ms) * base_ms
        delays: list[float] = []
        before, clock = _cpu_seconds(deployment), time.monotonic()
        probe = VisibilityProbe(deployment.trial.scrape, deployment.spec)
        probe.run((begin_ms + k * base_ms for k in range(windows)), delays)
        seconds = time.monotonic() - clock
        publish, charts = (after - was for was, after in zip(before, _cpu_seconds(deployment), strict=True))
    made = Round(pages, tuple(delays), told[0] if told else None, (publish / seconds, charts / seconds))
    say(row(made))
    return made


@contextmanager
def _reading(deployment: PageDeployment, pages: int, looked_at: Sequence[str]) -> Iterator[list[dict[str, object]]]:
    """So many open pages, in a process of their own; what they came by is told once they are closed."""
    told: list[dict[str, object]] = []
    if not pages:
        yield told
        return
    # Browsers are on other machines: theirs are no processors that publication could want.
    command = ["nice", "-n", "19", sys.executable, "-m", "bench.live_page.readers", str(deployment.port), str(pages)]
    process = subprocess.Popen(
        [*command, *looked_at], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        yield told
    finally:
        out, _ = process.communicate(timeout=60)
    told.append(json.loads(out))


def paths(deployment: PageDeployment) -> list[str]:
    """What people look at: mostly the overview and a measurement, some a window or the alarms."""
    last = next(window["end_ms"] for window in reversed(deployment.windows()) if window["status"] == "published")
    return ["/", "/measurements/feed", "/", "/measurements/feed?level=2s", f"/measurements/feed/2s/{last}", "/alerts"]


def _cpu_seconds(deployment: PageDeployment) -> tuple[float, float]:
    """Processor time that `publish` has had, all its threads together, and the process that draws its charts."""
    publish = deployment.trial.supervisor.pid("publish")
    charts = sum(cpu for parent, cpu in map(_stat, Path("/proc").glob("[0-9]*/stat")) if parent == publish)
    return _stat(Path(f"/proc/{publish}/stat"))[1], charts


def _stat(path: Path) -> tuple[int, float]:
    """A process's parent, and its processor time in seconds."""
    try:
        fields = path.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0, 0.0
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


HEAD = (
    "open pages | windows | p50 ms | p99 ms | most ms | publish, charts: cores | "
    "fetched | p50 ms | p99 ms | pictures | others"
)


def row(made: Round) -> str:
    """A line of the table."""
    counted = [
        f"{made.pages:10}",
        f"{len(made.delays):7}",
        *(f"{made.quantile(share):6.0f}" for share in (0.5, 0.99)),
        f"{made.quantile(1):7.0f}",
        f"{made.cores[0]:14.2f}   {made.cores[1]:5.2f}",
    ]
    if made.readers is not None:
        statuses, pictures = made.readers["pages"], made.readers["pictures"]
        assert isinstance(statuses, dict)
        assert isinstance(pictures, dict)
        others = {k: v for k, v in statuses.items() if k != "200"} | {
            f"picture {k}": v for k, v in pictures.items() if k != "200"
        }
        counted += [f"{statuses.get('200', 0):7}"]
        counted += [f"{1000 * float(str(made.readers[name])):6.0f}" for name in ("p50_seconds", "p99_seconds")]
        counted += [f"{pictures.get('200', 0):8}", str(others or "none")]
    return " | ".join(counted)


def table(rounds: Sequence[Round]) -> str:
    """All turns of a kind together."""
    lines = [HEAD]
    for pages in sorted({made.pages for made in rounds}):
        of_it = [made for made in rounds if made.pages == pages]
        delays = tuple(delay for made in of_it for delay in made.delays)
        publish, charts = np.mean([made.cores for made in of_it], axis=0).tolist()
        lines.append(row(Round(pages, delays, None, (publish, charts))))
    return "\n".join(lines)
