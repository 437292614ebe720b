"""The whole pipeline, not just its arithmetic: do *published* intervals hold the planted truth?

Simulated traffic (``streams.simulate``, the same as ``evenstream simulate``) goes through every role of the in-process
pipeline: sealing, attaching to Census probabilities, two parties' shares, OpenDP's noise of both, joining, publishing.
Each published interval is held against the truth of the members in that pipeline; what is suppressed holds nothing.

Windows are six hours and a day of event time, written as record timestamps, so no clock is waited for. A member counts
once a day, which is the cap: rows of different members are independent, and the cap does not widen the intervals. A
pipeline lives for some days with members of its own, so that all of it is drawn anew, the noise with it: OpenDP takes
its randomness from the system, so these figures (alone in this campaign) differ a little from run to run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.coverage import Claim, failure_claim, interval_claim
from bench.accuracy.tally import Tally
from estimator import GROUPS
from privacy import MeasurementError, parse_measurement
from streams.inprocess import InProcessPipeline
from streams.kafka.partitioner import partition_of
from streams.roles.seal import END_OF_LOG
from streams.simulate import DEFAULT_GAP, RECOMMENDED_RATIO, Disparity, SimulatedMembers, SimulatedRecommender, encode
from streams.stage import TIMESTAMP_CREATE

GAPS: dict[Disparity, float] = {"direct": DEFAULT_GAP, "place": RECOMMENDED_RATIO, "none": 0.0}
"""What is planted; through place only a part of it reaches the groups' rates, so it is as much as there can be."""
_DAY_MS = 86_400_000
_START_MS = 1_764_028_800_000  # a UTC day
_PARTITIONS = 2
_OUTCOME = 0.4
"""E[0.1 + 0.6 score] with scores Beta(2, 2): every group's chance of a click."""

_SPEC = """
id: accuracy
purpose: do published intervals hold the planted truth
source: {topic: rec-events, arrival: record_time, member: member_id, time: shown_at, time_format: epoch_ms}
cells:
  decision: {field: recommended}
  outcome: {field: clicked}
windows: {base: 6h, rollups: [1d], lateness: 1s, max_future: 1s}
reference: white
review: {owner: bench, harm_considered: none, data_used: simulated members, retention: one run}
expires: 2100-01-01T00:00:00Z
privacy:
  contribution_cap: 1
  cap_rule: first
  rho_member_day: 1.0
  level_shares: {6h: 0.5, 1d: 0.5}
"""
_CHANNELS = "  channel_shares: {table: 0.4, moments: 0.2, rectifier: 0.4}\n"


@dataclass(frozen=True)
class Size:
    """How much traffic: ``days`` a pipeline with ``rows`` a day, from ``members`` of its own."""

    days: int
    rows: int
    members: int
    self_id: float = 0.2


@dataclass(frozen=True, eq=False)
class PublishedTruth:
    """The truth of one pipeline's members: recommendation and outcome are independent given the member.

    Attributes:
        rates: recommendation rate of each group, shape (groups,). sizes: members of each group.
    """

    rates: NDArray[np.float64]
    sizes: NDArray[np.int64]

    def value(self, metric: str, score_bin: str, group: str) -> float:
        """See :class:`bench.accuracy.tally.TrueValues`; a pool's is weighted by its groups' members."""
        if metric in ("precision", "predictive_parity"):
            return _OUTCOME
        ids = [GROUPS.index(name) for name in group.split("+")]
        return float(np.average(self.rates[ids], weights=self.sizes[ids]))


def measurement_text() -> str:
    """The spec: with moments and rectifier where this version of the pipeline can carry them."""
    try:
        parse_measurement(_SPEC + _CHANNELS, origin="bench")
    except MeasurementError:  # an earlier pipeline knows the table alone, and refuses the field
        return _SPEC
    return _SPEC + _CHANNELS


def run(disparity: Disparity, size: Size, seed: int) -> Tally:
    """One pipeline's life: ``size.days`` days of traffic, every published window scored."""
    rng = np.random.default_rng([seed, *disparity.encode()])
    members = SimulatedMembers(rng, size.members, size.self_id)
    recommender = SimulatedRecommender(rng, members, _START_MS, disparity, GAPS[disparity])
    truth = PublishedTruth(recommender.true_rates, np.bincount(members.people.race, minlength=len(GROUPS)))
    tally = Tally()
    with TemporaryDirectory() as folder:
        pipeline = _pipeline(Path(folder) / "keys", members, _START_MS + size.days * _DAY_MS)
        begun = time.process_time()
        for day in range(size.days):
            _write(pipeline, recommender, day, size.rows)
            pipeline.run()
        stamp = TIMESTAMP_CREATE, pipeline.log.clock_ms + 2_000
        pipeline.log.append("rec-events", 0, None, timestamp=stamp, headers=((END_OF_LOG, b"1"),))
        for _ in range(4):
            pipeline.run()
        tally.events["rows"] += size.days * size.rows
        tally.events["milliseconds"] += round(1000 * (time.process_time() - begun))
    for window in pipeline.published:
        setting = f"{disparity}, {window.level}"
        tally.events[f"{setting}: {window.status}"] += 1
        tally.score(setting, cast(Sequence[Any], window.results), truth)
    return tally


def _pipeline(folder: Path, members: SimulatedMembers, end_ms: int) -> InProcessPipeline:
    pipeline = InProcessPipeline(folder, partitions=_PARTITIONS, sources={"rec-events": 1}, start_ms=end_ms)
    pipeline.approve(parse_measurement(measurement_text(), origin="bench").with_effective_from(_START_MS))
    keys, values = map(list, zip(*members.attributes(), strict=True))
    for partition, key, value in zip(partition_of(np.array(keys), _PARTITIONS).tolist(), keys, values, strict=True):
        pipeline.log.append("member-attributes", partition, value, key=key)
    return pipeline


def _write(pipeline: InProcessPipeline, recommender: SimulatedRecommender, day: int, rows: int) -> None:
    start_ms = _START_MS + day * _DAY_MS
    events = recommender.draw(start_ms, start_ms + _DAY_MS, rows)
    for (key, value), time_ms in zip(encode(events), events.time_ms.tolist(), strict=True):
        pipeline.log.append("rec-events", 0, value, key=key, timestamp=(TIMESTAMP_CREATE, time_ms))


def claims(tally: Tally) -> list[Claim]:
    """Published intervals hold the truth wherever their estimator's assumption does."""
    coverages = list(tally.coverages())
    settings = sorted({c.key.setting for c in coverages})
    present = {(c.key.setting, c.key.estimator) for c in coverages}
    found = []
    for setting in settings:
        disparity = setting.partition(",")[0]
        # Through place alone race says nothing that the proxy does not: then weighted is right, and corrected is not.
        right = {"weighted": disparity != "direct", "corrected": disparity != "place", "rectified": True}
        for estimator, holds in right.items():
            if (setting, estimator) in present:
                claim = (interval_claim if holds else failure_claim)(coverages, setting, estimator)
                # That a wrong estimator is caught needs windows that are long enough, and is told only.
                found.append(replace(claim, text=f"published, {claim.text}", required=holds))
    return found
