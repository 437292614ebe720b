"""What one member's presence can change is only its own rows: a member-day is added, or its secret replaced.

The whole pipeline in process, real noise set to zero, so that both parties' releases add up to what was there before
noise: everything that leaves the parties is compared between neighbouring streams. Around a UTC midnight, on a topic
whose arrival is the broker's clock: on time, late, early and from the future, in lists of candidates too; three
measurements with all channels, both cap rules and roll-ups; members over their caps, several partitions.

Keys are the same in both streams, so that the keyed hash gives the same hours: a coupling of the mechanism's own coins.
Batches are small, so that they are full at other rows when rows are added. Rows of one record are shuffled, so which of
them count is chance: a member has one cell in a record.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator import to_fixed_point
from privacy import ChannelNoise, Measurement, parse_measurement
from privacy.caps import ContributionCap
from privacy.spend import Channel, Relation, row_sensitivity
from secure_agg import SCALE
from secure_agg.keyring import create
from secure_agg.ring import to_signed
from streams.inprocess import InProcessPipeline
from streams.records.release import Release, SignedRelease
from streams.roles.channel_layout import ChannelLayout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DAY_MS = 86_400_000
MIDNIGHT_MS = 20_000 * DAY_MS
START_MS = MIDNIGHT_MS - 60_000
STEP_MS = 5_000
STEPS = 24
SOURCE_PARTITIONS = 2
PARTITIONS = 2
ROLES = ("seal", "attach", "a", "b")
OTHERS = 9
TARGET = "target"
BATCH_ROWS = 3
SLACK_MS = 7_000
"""How late, and how early, a row may be."""

_SPEC = """
id: {id}
purpose: one member's day
source: {{topic: events, {member}, time: ts, time_format: epoch_ms, filter: [{{field: kind, one_of: [{kind}]}}]}}
cells: {{{cells}}}
windows: {{base: 10s, rollups: [1m], lateness: 7s, max_future: 7s}}
groups: [left, middle, right]
reference: left
privacy: {{contribution_cap: {cap}, cap_rule: {rule}, rho_member_day: 0.1, channel_shares: {{{channels}}}}}
test_only: {{noise_scale_units: 1.0}}
"""
_ALL = "table: 0.4, moments: 0.2, rectifier: 0.4"


def _spec(name: str, **terms: object) -> Measurement:
    defaults = {"id": name, "member": "member: m", "kind": "feed", "cells": "decision: {field: r}", "channels": _ALL}
    return parse_measurement(_SPEC.format(**defaults | terms), origin=name).with_effective_from(START_MS)


SPECS = (
    _spec("feed", cap=2, rule="first"),
    # Two hours meet here, one on each day: of 24, so that both count, and of 12, so that chance decides.
    _spec("by-hours", cap=24, rule="hours"),
    _spec("some-hours", cap=12, rule="hours", channels="table: 0.5, moments: 0.5"),
    _spec(
        "ranked",
        cap=3,
        rule="first",
        kind="list",
        member='member: "candidates[].id", explode: candidates',
        cells='decision: {field: "candidates[].r"}',
    ),
)


class CertainModel:
    """Probabilities that the attribute names: certain ones, which are the worst, and others."""

    groups = ("left", "middle", "right")
    attributes = ("is",)
    code_width = 1
    table = np.array([[1 / 3] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])

    def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
        return np.array([[int(text or "0")] for text in attributes["is"]], np.uint32).reshape(-1, 1)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        return self.table[codes[:, 0]].astype(np.float64)


@dataclass(frozen=True)
class Secret:
    """What `member-attributes` say of the target; a code of None: there is no such record."""

    code: int | None
    said: tuple[str, ...] = ()
    opt_out: bool = False

    @property
    def counts(self) -> bool:
        return self.code is not None and not self.opt_out


@dataclass(frozen=True)
class Added:
    """An event of the target's day: it arrives at a clock step, through a source partition, with a time of its own.

    Attributes:
        delay_ms: arrival less event time; beyond the slack it is late, below minus the slack from the future.
        copies: how many; of a list, how often the target stands in it.
        place: of a list, which of the stream's lists the target is put into; None: a list of its own.
    """

    step: int
    partition: int
    delay_ms: int
    copies: int
    kind: str
    decision: bool
    place: int | None = None

    @property
    def time_ms(self) -> int:
        return START_MS + self.step * STEP_MS - self.delay_ms


Event = tuple[int, int, dict[str, object]]
"""(clock step, source partition, event)."""


def _stream(seed: int) -> list[Event]:
    """Others' events, in order of arrival: some late, early, future; some members over their caps."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for step in range(STEPS):
        for _ in range(int(rng.integers(0, 8))):
            member = int(rng.integers(0, OTHERS)) ** 2 // OTHERS  # some come often
            delay = int(rng.choice([rng.integers(-SLACK_MS, SLACK_MS), rng.integers(-20_000, 40_000)], p=[0.8, 0.2]))
            time_ms = START_MS + step * STEP_MS - delay
            cell = bool(rng.integers(0, 2))
            event: dict[str, object] = {"kind": "feed", "m": f"o{member}", "ts": time_ms, "r": cell}
            if rng.random() < 0.4:
                ids = [int(k) for k in rng.integers(0, OTHERS, 3)]
                listed = [{"id": f"o{k}", "r": bool((k + len(events)) % 2)} for k in ids]
                event = {"kind": "list", "m": "viewer", "ts": time_ms, "candidates": listed}
            # A member's rows come through one partition, so that they are read in their order.
            events.append((step, member % SOURCE_PARTITIONS if event["kind"] == "feed" else 0, event))
    return events


def _with(events: list[Event], added: Sequence[Added], day_start_ms: int) -> list[Event]:
    """The stream with the target's events of one UTC day in it."""
    changed = list(events)
    lists = [
        k
        for k, (_, _, event) in enumerate(changed)
        if event["kind"] == "list" and 0 <= cast(int, event["ts"]) - day_start_ms < DAY_MS
    ]
    alone: list[Event] = []
    for one in added:
        if not 0 <= one.time_ms - day_start_ms < DAY_MS:
            continue
        rows = [{"id": TARGET, "r": one.decision}] * one.copies
        if one.kind == "list" and one.place is not None and lists:
            k = lists[one.place % len(lists)]
            step, partition, event = changed[k]
            changed[k] = step, partition, event | {"candidates": [*cast(list[object], event["candidates"]), *rows]}
        elif one.kind == "list":
            event = {"kind": "list", "m": "viewer", "ts": one.time_ms, "candidates": rows}
            alone.append((one.step, one.partition, event))
        else:
            event = {"kind": "feed", "m": TARGET, "ts": one.time_ms, "r": one.decision}
            alone += [(one.step, one.partition, event)] * one.copies
    return [*alone, *changed]  # within a clock step the target comes first


@dataclass(frozen=True, eq=False)
class Left:
    """What has left the parties.

    Attributes:
        told: by clock step and party, all that a release says but its coverage and its values, and its length.
        sums: (measurement, level, window start, channel) -> int64, both parties' values together: no noise is in them.
        health: by role, its samples on `/metrics`.
        sizes: by topic and partition, the key and the length of each record, in order.
    """

    told: list[tuple[int, str, Release, int]]
    sums: dict[tuple[str, str, int, str], NDArray[np.int64]]
    health: dict[str, dict[str, float]]
    sizes: dict[tuple[str, int], list[tuple[bytes | None, int]]]


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """One set of keys for all streams."""
    with TemporaryDirectory() as folder:
        create(Path(folder) / "keys", "inprocess")
        yield Path(folder) / "keys"


def _run(keys: Path, events: list[Event], target: Secret) -> Left:
    with TemporaryDirectory() as folder, patch("streams.inprocess.create", lambda to, _: shutil.copytree(keys, to)):
        pipeline = InProcessPipeline(
            Path(folder) / "keys",
            partitions=PARTITIONS,
            sources={"events": SOURCE_PARTITIONS},
            start_ms=START_MS - 60_000,
            batch_rows=BATCH_ROWS,
            model=CertainModel(),
        )
        for spec in SPECS:
            pipeline.approve(spec)
        for k in range(OTHERS):
            _member(pipeline, f"o{k}", Secret(k % 6, (("left",), (), ("middle", "right"))[k % 3]))
        if target.code is not None:
            _member(pipeline, TARGET, target)
        zeros = patch.object(ChannelNoise, "sample", lambda noise, size: np.zeros(size, np.int64))
        with zeros:
            return _turns(pipeline, events)


def _turns(pipeline: InProcessPipeline, events: list[Event]) -> Left:
    for role in ROLES:
        pipeline.turn(role)
    told: list[tuple[int, str, Release, int]] = []
    values: dict[tuple[str, str, int, str], NDArray[np.uint64]] = {}
    read = {"a": 0, "b": 0}
    for step in range(STEPS + 6):
        pipeline.log.clock_ms = START_MS + step * STEP_MS
        for _, partition, event in (event for event in events if event[0] == step):
            pipeline.log.append("events", partition, json.dumps(event).encode())
            pipeline.turn("seal", commit=False)  # one record at a time: the order in which windows are opened varies
        for role in (*ROLES, "a", "b"):
            pipeline.turn(role)
        for party in ("a", "b"):
            records = pipeline.log.read(f"releases-{party}", 0, read[party])
            read[party] += len(records)
            for record in records:
                signed = SignedRelease.decode(record.value_ or b"")
                told.append((step, party, _said(signed.release), len(record.value_ or b"")))
                for channel in signed.release.channels:
                    share = signed.channel(channel.name)
                    assert share is not None
                    key = (signed.release.measurement, signed.release.level, signed.release.start_ms, channel.name)
                    values[key] = values.get(key, np.zeros_like(share)) + share
    assert not [why for role in ROLES for why in pipeline.stage(role).stopped().values()]
    sums = {key: to_signed(value) for key, value in values.items()}
    health = {role: dict(_samples(pipeline, role)) for role in ROLES}
    sizes = {
        place: [(record.key_, len(record.value_ or b"")) for record in records]
        for place, records in pipeline.log.partitions.items()
    }
    return Left(told, sums, health, sizes)


def _samples(pipeline: InProcessPipeline, role: str) -> Iterator[tuple[str, float]]:
    for family in pipeline.registries[role].collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):  # when the process made it
                yield f"{sample.name} {sorted(sample.labels.items())}", sample.value


def _said(release: Release) -> Release:
    """A release without its coverage, an HMAC that the parties alone can make anything of."""
    return type(release)(*(getattr(release, f) if f != "coverage" else bytes(32) for f in release.__struct_fields__))


def _member(pipeline: InProcessPipeline, name: str, secret: Secret) -> None:
    value = {"is": str(secret.code), "self_id": list(secret.said), "opt_out": secret.opt_out}
    pipeline.write_attributes(name.encode(), json.dumps(value).encode())


# -- the comparison ---------------------------------------------------------------------------------------------------


def _moved(before: Left, after: Left, day_start_ms: int) -> dict[tuple[str, str, str], list[NDArray[np.int64]]]:
    """By measurement, level and channel: by how much each window of the day was moved. Other days must not be."""
    assert before.told == after.told, "windows, statuses, reasons, their order and their time are the same"
    assert before.sums.keys() == after.sums.keys()
    moved = defaultdict[tuple[str, str, str], list[NDArray[np.int64]]](list)
    for (measurement, level, start_ms, channel), sums in before.sums.items():
        difference = after.sums[measurement, level, start_ms, channel] - sums
        if 0 <= start_ms - day_start_ms < DAY_MS:
            moved[measurement, level, channel].append(difference)
        else:
            assert not difference.any(), (measurement, level, start_ms, channel)
    return moved


def _within(moved: Mapping[tuple[str, str, str], list[NDArray[np.int64]]], relation: Relation) -> None:
    """Each channel of each level was moved by no more than is claimed, in whole units."""
    for (name, level, channel), windows in moved.items():
        spec = next(spec for spec in SPECS if spec.id == name)
        row = row_sensitivity(cast(Channel, channel), 3, self_id="rectifier" in spec.channels)
        claimed = int(row.units(relation, spec.privacy.contribution_cap))
        square = sum(int((w.astype(object) ** 2).sum()) for w in windows)
        assert square <= claimed**2, (name, level, channel, relation, square**0.5 / SCALE, claimed / SCALE)


def _are_own_rows(moved: Mapping[tuple[str, str, str], list[NDArray[np.int64]]], secret: Secret) -> int:
    """Every difference is some rows of the target and nothing else; how many rows, over all measurements."""
    counted: dict[tuple[str, str], NDArray[np.int64]] = {}
    own: dict[str, dict[str, NDArray[np.int64]]] = {spec.id: _own(spec, secret) for spec in SPECS}
    for (name, level, channel), windows in moved.items():
        if channel == "table":
            rows = np.array([window.sum(axis=1) // SCALE for window in windows])  # shape (windows, cells)
            assert (rows >= 0).all(), (name, level)
            counted[name, level] = rows
    for (name, level, channel), windows in moved.items():
        row = own[name][channel]
        for window, rows in zip(windows, counted[name, level], strict=True):
            expected = rows.sum() * row if channel == "moments" else rows[:, None] * row[None, :]
            assert np.array_equal(window, expected), (name, level, channel)
    for spec in SPECS:
        each = {level.name: int(counted[spec.id, level.name].sum()) for level in spec.levels}
        assert len(set(each.values())) == 1, each
        assert max(each.values()) <= spec.privacy.contribution_cap, each
    return sum(int(rows.sum()) for rows in counted.values())


def _own(spec: Measurement, secret: Secret) -> dict[str, NDArray[np.int64]]:
    """What one row of the target adds to each channel."""
    layout = ChannelLayout.of(spec)
    mask = sum(1 << spec.group_names.index(group) for group in secret.said)
    fixed = to_fixed_point(CertainModel.table[[secret.code or 0]])
    rows, tail = layout.parts(layout.values(np.ones(1, bool), fixed, np.array([mask], np.uint16)), 1)
    return {name: to_signed(layout.channel(name, rows, tail)).reshape(-1) for name in layout.channels}


secrets = st.builds(
    Secret,
    st.sampled_from(range(6)),
    st.sampled_from([(), ("left",), ("middle",), ("right",), ("left", "right")]),
)
out = st.sampled_from([Secret(None), Secret(1, ("middle",), opt_out=True)])
added_events = st.lists(
    st.builds(
        Added,
        step=st.integers(0, STEPS - 1),
        partition=st.integers(0, SOURCE_PARTITIONS - 1),
        delay_ms=st.one_of(
            st.integers(-SLACK_MS, SLACK_MS),
            st.integers(SLACK_MS + 1, 60_000),
            st.integers(-60_000, -SLACK_MS - 1),
            st.sampled_from([-SLACK_MS - 1, -SLACK_MS, 0, SLACK_MS, SLACK_MS + 1]),
        ),
        copies=st.sampled_from([1, 1, 2, 5, 30]),
        kind=st.sampled_from(["feed", "list"]),
        decision=st.booleans(),
        place=st.none() | st.integers(0, 20),
    ),
    min_size=1,
    max_size=12,
)
days = st.sampled_from([MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS])
MANY = [Added(step, 0, 0, 3, kind, True) for step in range(STEPS) for kind in ("feed", "list")]
SOMEONE = Secret(1, ("middle",))
# An example is two pipelines, a second each: to shrink a failure would take minutes. Each run draws others.
examples = settings(
    max_examples=5,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@examples
@given(seed=st.integers(0, 1000), added=added_events, other_day=added_events, day=days, secret=secrets)
def test_a_member_day_more_changes_only_its_own_rows(
    keys: Path, seed: int, added: list[Added], other_day: list[Added], day: int, secret: Secret
) -> None:
    """Added to a stream, whose other day the member may be in: the same windows at the same time, and own rows only."""
    another = MIDNIGHT_MS if day < MIDNIGHT_MS else MIDNIGHT_MS - DAY_MS
    base = _with(_stream(seed), other_day, another)
    before, after = (_run(keys, events, secret) for events in (base, _with(base, added, day)))
    moved = _moved(before, after, day)
    _are_own_rows(moved, secret)
    _within(moved, "add_remove")


@examples
@given(seed=st.integers(0, 1000), added=added_events, day=days, secret=secrets, other=secrets)
def test_another_secret_moves_no_channel_by_more_than_is_claimed(
    keys: Path, seed: int, added: list[Added], day: int, secret: Secret, other: Secret
) -> None:
    """Probabilities and Self-ID of a member replaced by any others: within the sensitivity that is budgeted."""
    events = _with(_stream(seed), added, day)
    _within(_moved(_run(keys, events, secret), _run(keys, events, other), day), "replace")


@examples
@given(seed=st.integers(0, 1000), added=added_events, day=days, secret=out)
def test_a_member_who_does_not_count_changes_nothing(
    keys: Path, seed: int, added: list[Added], day: int, secret: Secret
) -> None:
    """Rows of someone who is unknown or has opted out: all that leaves the parties is as if there were none."""
    events = _stream(seed)
    moved = _moved(_run(keys, events, secret), _run(keys, _with(events, added, day), secret), day)
    assert not any(window.any() for windows in moved.values() for window in windows)


def test_who_opens_a_window_first_decides_nothing_of_others(keys: Path) -> None:
    """Rows of two windows wait at once: which of another member's rows count is not the target's doing."""
    step, border = 15, START_MS + 80_000  # rows arrive at 75 s, early; a window ends at 80 s
    events: list[Event] = []
    for k in range(OTHERS):  # some of them share the target's partition j
        event = {"kind": "feed", "m": f"o{k}", "ts": border - 10, "r": False}
        events += [(step, 0, event), (step, 0, event), (step, 0, event | {"ts": border + 10, "r": True})]
    early = Added(step, 0, START_MS + step * STEP_MS - border - 20, 1, "feed", True)
    assert early.time_ms > border
    before, after = _run(keys, events, SOMEONE), _run(keys, _with(events, [early], MIDNIGHT_MS), SOMEONE)
    assert _are_own_rows(_moved(before, after, MIDNIGHT_MS), SOMEONE) > 0


MANY_EVENTS = _with(_stream(1), MANY, MIDNIGHT_MS)


@pytest.fixture(scope="module")
def counted(keys: Path) -> Left:
    """What leaves the parties where a member of many events counts up to its caps."""
    return _run(keys, MANY_EVENTS, SOMEONE)


@pytest.mark.parametrize("silent", [Secret(None), Secret(1, ("middle",), opt_out=True)], ids=["unknown", "opted out"])
def test_nothing_outside_attach_tells_which_rows_counted(keys: Path, counted: Left, silent: Secret) -> None:
    """The same rows, counted or not: health figures of all roles, and what lies on each topic by key and length."""
    not_counted = _run(keys, MANY_EVENTS, silent)
    assert any(window.any() for windows in _moved(counted, not_counted, MIDNIGHT_MS).values() for window in windows)
    assert counted.health == not_counted.health
    assert all(len(samples) > 5 for samples in counted.health.values())
    # Attach's own state is for attach alone (docs/threat-model.md); attributes are the company's own.
    places = [place for place in counted.sizes if place[0] not in ("state-attach", "member-attributes")]
    assert {topic for topic, _ in places} >= {"sealed", "shares", "releases-a", "releases-b", "state-a", "state-b"}
    assert {place: counted.sizes[place] for place in places} == {place: not_counted.sizes[place] for place in places}


# -- what the comparison sees -----------------------------------------------------------------------------------------


def test_the_claims_are_reached(keys: Path, counted: Left) -> None:
    """A member of many events counts up to its cap in all measurements: the bounds above were put to use."""
    moved = _moved(_run(keys, _stream(1), SOMEONE), counted, MIDNIGHT_MS)
    assert _are_own_rows(moved, SOMEONE) >= 2 * (2 + 1 + 3)
    tables = [np.linalg.norm(np.array(moved[name, "1m", "table"])) / SCALE for name in ("feed", "ranked")]
    assert tables == [2, 3]


def test_a_cap_of_one_more_is_seen(keys: Path) -> None:
    """With one row more than the cap allows, the comparison fails."""
    with patch(
        "streams.roles.counted_rows.ContributionCap",
        lambda rule, cap, key: ContributionCap(rule, min(cap + 1, 24), key),
    ):
        moved = _moved(_run(keys, _stream(1), SOMEONE), _run(keys, MANY_EVENTS, SOMEONE), MIDNIGHT_MS)
    with pytest.raises(AssertionError, match="feed"):
        _within(moved, "add_remove")
    with pytest.raises(AssertionError):
        _are_own_rows(moved, SOMEONE)
