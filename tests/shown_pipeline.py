"""A pipeline in one process whose roles show what they show, for whoever scrapes them.

The stages are the real ones, and so is what publish shows of their releases; what on Kafka the shard loop and its
threads tell of a role (transactions, lag) is told here by the loop below. Two minutes about midnight: three groups, one
of which is treated worse; a window that an operator has given up; at midnight a new revision.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from privacy import Limits, parse_measurement
from streams.governance import empty_log
from streams.inprocess import InProcessPipeline
from streams.records.metric import FairnessMetric
from streams.records.skip import GivenUp, VoidWindows
from streams.roles.aggregate import AggregateStage
from streams.watch.collector import FairnessCollector
from streams.watch.http import HealthServer
from streams.watch.ledger import LedgerWatch
from streams.watch.open_concerns import OpenConcerns
from streams.watch.open_reviews import OpenReviews

MIDNIGHT_MS = 1_767_312_000_000
STEP_MS = 10_000
STEPS = range(-6, 8)
"""Base windows before and after midnight."""

_LIMITS = Limits.of_day(10.0)
_ROWS = 900
_FAMILIES = {"Olson": 0.6, "Garcia": 0.55, "Washington": 0.2}
"""How often each name's bearers are recommended."""
_MEMBERS = 6_000
_SPEC = """
id: feed
revision: {revision}
purpose: what is shown
source: {{topic: rec-events, member: m, time: ts, time_format: epoch_ms}}
cells: {{score: {{field: s, bins: [0.5]}}, decision: {{field: r}}, outcome: {{field: o}}}}
windows: {{base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}}
reference: white
privacy:
  contribution_cap: 3
  cap_rule: first
  rho_member_day: 9
  channel_shares: {{table: 0.4, moments: 0.2, rectifier: 0.4}}
detection: {{false_alarm_every: 20m}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
expires: 2026-06-01T00:00:00Z
"""


class ShownPipeline:
    """All roles, and what each shows.

    Attributes:
        registries: by role.
    """

    def __init__(self, folder: Path) -> None:
        first_ms = MIDNIGHT_MS + STEPS.start * STEP_MS
        self.pipeline = InProcessPipeline(
            folder / "keys", partitions=2, sources={"rec-events": 2}, start_ms=first_ms - 5_000, limits=_LIMITS
        )
        for revision, from_ms in ((1, first_ms), (2, MIDNIGHT_MS)):
            spec = parse_measurement(_SPEC.format(revision=revision), origin="shown")
            self.pipeline.approve(spec.with_effective_from(from_ms))
        first = next(self.pipeline.controls["seal"].approved())
        given_up = GivenUp(first.source.hex(), 0, 1_000_000, 1_000_001)
        void = VoidWindows("feed", 1, first.spec.hex(), first.from_ms + 2 * STEP_MS, first.from_ms + 2 * STEP_MS + 1)
        self.pipeline.skip("shares", 0, (given_up,), (void,))
        names = list(_FAMILIES)
        groups = dict(zip(names, ("white", "hispanic", "black"), strict=True))
        for k in range(_MEMBERS):
            said = groups[names[k % 3]] if k % 2 == 0 else None
            attributes = json.dumps({"family_name": names[k % 3], "state": "CA", "self_id": said})
            self.pipeline.write_attributes(b"m%05d" % k, attributes.encode())
        self.registries: dict[str, CollectorRegistry] = self.pipeline.registries
        own, control = self.registries["publish"], self.pipeline.controls["publish"]
        self.collector = FairnessCollector(own, self._clock, _LIMITS, retention_seconds=604_800)
        decisions = empty_log(control.trusted, 1)
        self.concerns, self.reviews = OpenConcerns(own, decisions), OpenReviews(own)
        self._ledgers = {p: LedgerWatch(p, self.pipeline._health[p]) for p in "ab"}
        self._read = {"a": 0, "b": 0}
        self._rng = np.random.default_rng(7)
        self.windows: list[FairnessMetric] = []
        self.collector.measurements(control.approved(), _LIMITS.rho_member_day)
        self.collector.open()
        self.concerns.show()

    def _clock(self) -> float:
        return self.pipeline.log.clock_ms / 1000

    def has_compared(self) -> bool:
        """Whether any window says if the estimators agree."""
        return any(window.checks is not None and window.checks.estimators is not None for window in self.windows)

    def step(self, number: int) -> None:
        """One base window's events, one turn of each role a few times, and what publish makes of it."""
        begin_ms = MIDNIGHT_MS + number * STEP_MS
        members = self._rng.integers(0, _MEMBERS, _ROWS).tolist()
        times = np.sort(self._rng.integers(begin_ms, begin_ms + STEP_MS, _ROWS)).tolist()
        for member, time_ms in zip(members, times, strict=True):
            likely = list(_FAMILIES.values())[member % 3]
            score, shown, clicked = self._rng.random(3).tolist()
            event = {"m": f"m{member:05d}", "ts": time_ms, "s": score, "r": shown < likely, "o": clicked < likely}
            self.pipeline.log.clock_ms = time_ms
            self.pipeline.log.append("rec-events", member % 2, json.dumps(event).encode())
        self.pipeline.log.append("rec-events", 0, b"not an event")
        self.pipeline.log.clock_ms = begin_ms + STEP_MS + 1_500
        for _ in range(3):
            for role in self.pipeline.roles:
                self.pipeline.turn(role)
        self._publish()
        self._tell()

    def _publish(self) -> None:
        core = self.pipeline.core
        for party in "ab":
            records = self.pipeline.log.read(f"releases-{party}", 0, self._read[party])
            self._read[party] += len(records)
            for record in records:
                window = core.apply(party, record.value() or b"")
                if core.last_paid_for is not None:
                    self.collector.paid_for(*core.last_paid_for)
                if core.last_release is not None:
                    self.collector.released(*core.last_release)
                if window is not None:
                    self.windows.append(window)
                    self.collector.window(window, 0.2)
                    self.reviews.window(window)
        control = self.pipeline.controls["publish"]
        self.reviews.show({}, tuple(control.approved()), control.version)

    def _tell(self) -> None:
        """What on Kafka the shard loop, and the threads beside it, tell of a role."""
        now_ms = self.pipeline.log.clock_ms
        for role, health in self.pipeline._health.items():
            health.transaction("committed", 0.02)
            for topic in ("measurements", "keys"):
                health.control_held_back(topic, 0.0)
            if role == "publish":
                continue
            stage = self.pipeline.stage(role)
            for (topic, i), offset in stage.positions().items():
                records = self.pipeline.log.read(topic, i, offset)
                health.lag(topic, i, len(records))
                health.oldest_unread(topic, i, (now_ms - records[0].timestamp()[1]) / 1000 if records else 0.0, 604_800)
            layout = self.pipeline.controls[role].layout(role)
            health.layout(layout.generation, layout.shards, 0)
            health.clock_ahead(0.01)
            keys = self.pipeline.state_keys[role]
            health.oldest_key("state", min(keys.numbers()) / 1000)
            health.key_lifetime("state", keys.lifetime_ms / 1000)
            if isinstance(stage, AggregateStage):
                control = self.pipeline.controls[role]
                self._ledgers[role].look(stage.ledger, control.approved(), control.version, now_ms)
                self._ledgers[role].wait()

    @contextmanager
    def served(self) -> Iterator[dict[str, int]]:
        """Every role's /metrics on a port of its own, by the role's name."""
        servers = {
            role: HealthServer("127.0.0.1", 0, registry=registry, healthy=lambda: None, ready=lambda: None)
            for role, registry in self.registries.items()
        }
        try:
            yield {role: server.port for role, server in servers.items()}
        finally:
            for server in servers.values():
                server.close()
