"""Neighbouring inputs, and the real pipeline on them: rows, cap, channels, shares, windows, noise, signed bytes.

Every base window has a *target*: a member of its own, who has two events in it, in one cell, of which the cap of 1 lets
one count. So each window is a trial of its own: the target's day moves no other window. Beside it stands a bystander,
who is the same on every side. A *side* is what the targets are; two sides are neighbouring inputs, window by window.

The secrets are the worst ones that there are, so that the distances of ``privacy.spend`` are met in full: certain
probabilities (from a group model of the bench's own, in the race model's place) and a Self-ID that says otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from privacy import Measurement, NoisePlan, parse_measurement, plan_noise
from privacy.spend import ChannelSpend, Relation
from secure_agg import SCALE
from secure_agg.ring import to_signed
from streams.inprocess import InProcessPipeline
from streams.records.release import SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.releasing import ReleaseDesk
from streams.roles.seal import END_OF_LOG
from streams.roles.windows import ClosedWindow
from streams.stage import TIMESTAMP_CREATE

if TYPE_CHECKING:
    from streams.roles.aggregate import AggregateStage

F = NDArray[np.float64]

PARTIES = ("a", "b")
RHO = 0.5
CAP = 1
_GROUPS = ("left", "right")
_START_MS = 1_764_028_800_000  # a UTC day
_WINDOW_MS = 10_000
_WINDOWS_A_TURN = 250
_CELL = 1

_SPEC = """
id: privacy-audit
purpose: can two neighbouring inputs be told apart better than was promised
source: {topic: rec-events, arrival: record_time, member: m, time: ts, time_format: epoch_ms}
cells:
  decision: {field: r}
windows: {base: 10s, lateness: 1s, max_future: 1s}
groups: [left, right]
reference: left
privacy:
  contribution_cap: CAP
  cap_rule: first
  rho_member_day: RHO
  channel_shares: SHARES
review:
  owner: the bench
  harm_considered: none, everyone is made up
  data_used: made-up certainties and Self-IDs
  retention: until the process ends
expires: 2027-11-01T00:00:00Z
"""
CHANNELS = ("table", "rectifier", "moments")
_SHARES: Mapping[tuple[str, ...], Mapping[str, float]] = {
    ("table",): {"table": 1.0},
    ("table", "moments"): {"table": 0.8, "moments": 0.2},
    CHANNELS: {"table": 0.4, "moments": 0.2, "rectifier": 0.4},
}


@dataclass(frozen=True)
class Secret:
    """A target: the group that it surely is of, and the one that it says; None where it says nothing."""

    group: int
    said: int | None


@dataclass(frozen=True)
class Pair:
    """Two neighbouring inputs.

    Attributes:
        relation: how they are neighbours. before, after: what the targets are; None where their days are not there.
        worst_for: channels that it moves as far as anything can.
    """

    name: str
    relation: Relation
    before: str
    after: str
    worst_for: tuple[str, ...]


SIDES: Mapping[str, Secret | None] = {
    "absent": None,
    "contrary": Secret(0, 1),
    "other way": Secret(1, 0),
    "silent": Secret(1, None),
}
PAIRS = (
    Pair("Self-ID and group exchanged", "replace", "other way", "contrary", ("table", "rectifier")),
    Pair("another group, Self-ID withdrawn", "replace", "silent", "contrary", ("table", "moments")),
    Pair("the day is there or not", "add_remove", "absent", "contrary", CHANNELS),
)


class CertainModel:
    """A group model that is sure of everyone: the worst that a secret can be."""

    groups = _GROUPS
    attributes = ("is",)
    code_width = 1

    def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
        """Code 1 for the first group, 2 for the second, 0 where nothing is known."""
        codes = {name: code for code, name in enumerate(_GROUPS, start=1)}
        return np.array([[codes.get(text or "", 0)] for text in attributes["is"]], np.uint32).reshape(-1, 1)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> F:
        """Certainty, or a half each where nothing is known."""
        return np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])[codes[:, 0]]


@cache
def measurement(channels: tuple[str, ...]) -> Measurement:
    """What is audited: one level, real noise, and these channels with all of the budget."""
    text = _SPEC.replace("SHARES", json.dumps(_SHARES[channels])).replace("CAP", str(CAP)).replace("RHO", str(RHO))
    return parse_measurement(text, origin="bench.privacy_audit").with_effective_from(_START_MS)


@cache
def plan(channels: tuple[str, ...]) -> NoisePlan:
    """Its noise, as every party solves it."""
    return plan_noise(measurement(channels))


@cache
def spend(channels: tuple[str, ...], channel: str) -> ChannelSpend:
    """What is promised of one of the channels."""
    (of_level,) = plan(channels).spends.values()
    return next(spend for spend in of_level if spend.channel == channel)


# -- what is known of the truth, by hand ------------------------------------------------------------------------------


def contribution(secret: Secret | None, *, self_id: bool) -> dict[str, NDArray[np.int64]]:
    """What one counted row adds to each channel, fixed-point units, flat: from DESIGN section 5, not from the code."""
    table, rectifier = np.zeros((2, 2), np.int64), np.zeros((2, 2), np.int64)
    products, squares, row, said = np.zeros((2, 2)), np.zeros(2), 0, 0
    if secret is not None:
        p = np.eye(2, dtype=np.int64)[secret.group] * SCALE
        table[_CELL] = p
        products, row = np.outer(p, p) / SCALE, SCALE
        if self_id and secret.said is not None:
            residual = np.eye(2, dtype=np.int64)[secret.said] * SCALE - p
            rectifier[_CELL] = residual
            said, squares = SCALE, residual.astype(float) ** 2 / SCALE / 2
    moments = [products[0, 0], products[0, 1] * math.sqrt(2), products[1, 1], row, said, *squares]
    return {"table": table.ravel(), "rectifier": rectifier.ravel(), "moments": np.rint(moments).astype(np.int64)}


_BYSTANDER = Secret(0, None)


def truth(side: str, channels: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
    """A window's channels before noise, if the cap is kept: the target's row and the bystander's."""
    one, other = (contribution(who, self_id="rectifier" in channels) for who in (SIDES[side], _BYSTANDER))
    return {channel: one[channel] + other[channel] for channel in channels}


# -- the pipeline -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Released:
    """What one party released of some windows, with the other party's share, which had no noise, added.

    Attributes:
        values: channel -> shape (windows, entries), float64, fixed-point units: truth plus this party's noise.
    """

    values: dict[str, F]

    @property
    def channels(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.values)


@contextmanager
def _tap(stages: Mapping[int, str], closed: dict[str, list[ClosedWindow]], *, draw: bool) -> Iterator[None]:
    """Note each window as its party closes it, before noise; without ``draw`` it goes no further."""
    original = ReleaseDesk.release

    def release(desk: ReleaseDesk, window: ClosedWindow, coverage_key: bytes, now_ms: int) -> None:
        closed[stages[id(desk)]].append(window)
        if draw:
            original(desk, window, coverage_key, now_ms)

    with patch.object(ReleaseDesk, "release", release):
        yield


class Run:
    """The in-process pipeline, all roles, over some windows of one side.

    Args:
        side: what the targets are; one of :data:`SIDES`.
        channels: what is measured of them.
        first, windows: which windows, counted from the start of the first day.
        draw: False leaves the windows closed and not released: :meth:`release` can then draw for them, again and again.
    """

    def __init__(self, side: str, channels: tuple[str, ...], first: int, windows: int, *, draw: bool = True) -> None:
        self._channels = channels
        self.closed: dict[str, list[ClosedWindow]] = {party: [] for party in PARTIES}
        self._windows = windows
        with TemporaryDirectory() as folder:
            begin, end = (_START_MS + w * _WINDOW_MS for w in (first, first + windows))
            pipeline = InProcessPipeline(
                Path(folder) / "keys",
                partitions=1,
                sources={"rec-events": 1},
                start_ms=end + 3 * _WINDOW_MS,
                model=CertainModel(),
            )
            pipeline.approve(measurement(channels).with_effective_from(begin))
            _write_members(pipeline, side, range(first, first + windows))
            for role in ("seal", "attach", *PARTIES):
                pipeline.start(role)
            self._desks = {party: cast("AggregateStage", pipeline.stage(party))._desk for party in PARTIES}  # noqa: SLF001  # the tap
            with _tap({id(desk): party for party, desk in self._desks.items()}, self.closed, draw=draw):
                self._feed(pipeline, side, first)
            stopped = [why for role in ("seal", "attach", *PARTIES) for why in pipeline.stage(role).stopped().values()]
            assert not stopped, stopped
            self._log = {party: pipeline.log.values(f"releases-{party}") for party in PARTIES}

    def _feed(self, pipeline: InProcessPipeline, side: str, first: int) -> None:
        for start in range(0, self._windows, _WINDOWS_A_TURN):
            for window in range(first + start, first + min(start + _WINDOWS_A_TURN, self._windows)):
                _write_window(pipeline, side, window)
            _turn(pipeline)
        last_ms = _START_MS + (first + self._windows) * _WINDOW_MS + 2_000
        pipeline.log.append("rec-events", 0, None, timestamp=(TIMESTAMP_CREATE, last_ms), headers=((END_OF_LOG, b"1"),))
        while min(map(len, self.closed.values())) < self._windows:
            before = sum(map(len, self.closed.values()))
            _turn(pipeline)
            assert sum(map(len, self.closed.values())) > before, "windows do not close"
        _turn(pipeline)

    def before_noise(self) -> dict[str, NDArray[np.int64]]:
        """Channel -> shape (windows, entries): the sum of both parties' shares."""
        return {channel: to_signed(self._share(channel, "a") + self._share(channel, "b")) for channel in self._channels}

    def sent(self, party: str) -> Released:
        """What the party wrote to its topic."""
        return self._read(party, self._log[party])

    def release(self, party: str) -> Released:
        """Have the party's own desk release its windows now: fresh noise, signed, committed and handed out."""
        desk, values = self._desks[party], list[bytes]()
        for window in self.closed[party]:
            desk.release(window, bytes(32), window.end_ms)
            desk.committed()
            values += [value for _, _, value in desk.sendable()]
        return self._read(party, values)

    def _share(self, channel: str, party: str) -> NDArray[np.uint64]:
        layout = ChannelLayout.of(self.closed[party][0].approved.measurement)
        return np.array([layout.channel(channel, w.table, w.tail).ravel() for w in self.closed[party]], np.uint64)

    def _read(self, party: str, values: Sequence[bytes]) -> Released:
        signed = [SignedRelease.decode(value) for value in values]
        assert [s.release.end_ms for s in signed] == [w.end_ms for w in self.closed[party]]
        assert {s.release.status for s in signed} == {"released"}
        other = PARTIES[1 - PARTIES.index(party)]

        def channel(name: str) -> F:
            noised = np.array([cast(NDArray[np.uint64], s.channel(name)).ravel() for s in signed])
            return to_signed(noised + self._share(name, other)).astype(np.float64)

        return Released({name: channel(name) for name in self._channels})


def _turn(pipeline: InProcessPipeline) -> None:
    for role in ("seal", "attach", *PARTIES):  # and no publish: it comes after the promise
        pipeline.turn(role)


def _write_members(pipeline: InProcessPipeline, side: str, windows: range) -> None:
    def write(member: str, secret: Secret) -> None:
        attributes: dict[str, object] = {"is": _GROUPS[secret.group]}
        if secret.said is not None:
            attributes["self_id"] = [_GROUPS[secret.said]]
        pipeline.log.append("member-attributes", 0, json.dumps(attributes).encode(), key=member.encode())

    for window in windows:
        secret = SIDES[side]
        if secret is not None:
            write(f"t{window}", secret)
        write(f"b{window}", _BYSTANDER)


def _write_window(pipeline: InProcessPipeline, side: str, window: int) -> None:
    time_ms = _START_MS + window * _WINDOW_MS

    def write(member: str, decision: bool, offset_ms: int) -> None:
        value = json.dumps({"m": f"{member}{window}", "ts": time_ms + offset_ms, "r": decision}).encode()
        pipeline.log.append("rec-events", 0, value, timestamp=(TIMESTAMP_CREATE, time_ms + offset_ms))

    write("b", bool(_CELL), 1_000)
    for offset_ms in (2_000, 3_000) if SIDES[side] is not None else ():
        write("t", bool(_CELL), offset_ms)
