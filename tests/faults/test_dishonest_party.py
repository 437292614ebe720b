"""A party that does not follow the protocol: what of it is noticed, by what, and what nobody can notice.

Each row is one dishonest release of party a beside the honest one of b, as publish judges them. ``pytest -s`` prints
the table; docs/threat-model.md holds the same in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hostile import make_pipeline, run_seconds, send
from numpy.typing import NDArray

from streams.inprocess import InProcessPipeline
from streams.records.metric import FairnessMetric
from streams.records.release import SignedRelease
from streams.roles.aggregate import AggregateStage
from streams.roles.publish import PublishCore

pytestmark = pytest.mark.slow

Channels = dict[str, NDArray[np.uint64]]
ROW = np.uint64(1 << 20)
_CHANNELS = "channel_shares: {table: 0.5, moments: 0.3, rectifier: 0.2}, "


@dataclass(frozen=True)
class Lie:
    """What party a releases instead.

    Attributes:
        does: in words.
        values: changes the channels in place. fields: of the release, changed.
        noticed: the window's reason; None where it is published as if nothing were.
    """

    does: str
    noticed: str | None
    values: Callable[[Channels], None] = lambda channels: None
    fields: dict[str, Any] | None = None


def add(channel: str, place: tuple[int, ...] | slice, rows: int) -> Callable[[Channels], None]:
    """Add rows (or take them away) at a place of a channel."""

    def change(channels: Channels) -> None:
        channels[channel][place] += np.uint64((rows << 20) % (1 << 64))

    return change


def scale(factor: int) -> Callable[[Channels], None]:
    """Multiply every channel."""

    def change(channels: Channels) -> None:
        for values in channels.values():
            values *= np.uint64(factor)

    return change


def invent(channels: Channels) -> None:
    """A thousand rows of certain members of the first group, in the first cell, in every channel as it should be."""
    channels["table"][0, 0] += np.uint64(1000) * ROW
    channels["moments"][0] += np.uint64(1000) * ROW  # M's first entry
    channels["moments"][21] += np.uint64(1000) * ROW  # the number of rows


def move_rectifier(channels: Channels) -> None:
    """Within a cell from one group to another, and by less than the cell has rows."""
    channels["rectifier"][0, 0] += np.uint64(20) * ROW
    channels["rectifier"][0, 1] -= np.uint64(20) * ROW


def move_table(channels: Channels) -> None:
    """In one group's column from one cell to another, and by less than that cell has rows."""
    channels["table"][0, 3] += np.uint64(20) * ROW
    channels["table"][1, 3] -= np.uint64(20) * ROW


ELSEWHERE = {"coverage": bytes(32)}
LIES = (
    Lie("nothing: it is honest", None),
    Lie("leaves its own noise out", None),
    Lie("invents rows, alike in all channels", None, invent),
    Lie("moves 20 rows of the rectifier within a cell", None, move_rectifier),
    Lie("moves 20 rows of a group between cells", None, move_table),
    Lie("adds a row to every entry of the table", "channels_disagree", add("table", slice(None), 1)),
    Lie("adds 100 rows to one entry of the table", "channels_disagree", add("table", (0, 0), 100)),
    Lie("takes 100 rows off one entry", "implausible_entry", add("table", (0, 1), -100)),
    Lie("says that there were 100 rows more", "channels_disagree", add("moments", (21,), 100)),
    Lie("says that 10,000 members said a group", "channels_disagree", add("moments", (22,), 10_000)),
    Lie("adds 10 rows to an entry of the rectifier", "channels_disagree", add("rectifier", (0, 0), 10)),
    Lie("doubles its share", "implausible", scale(2)),
    Lie("drops its share", "implausible", scale(0)),
    Lie("releases another window's share as this one's", "implausible"),
    Lie("says other coverage", "coverage_differs", fields=ELSEWHERE),
    Lie("says a smaller sigma", "releases_differ", fields={"sigma": 0.5}),
    Lie("says a later revision", "not_in_spec", fields={"revision": 2}),
    Lie("says that the window is void", "because", fields={"status": "void", "reason": "because", "debit": bytes(32)}),
)


def told(pipeline: InProcessPipeline, lie: Lie) -> tuple[str, str | None]:
    """Status and reason of the newest minute as publish sees it, when a tells this of it."""
    core = PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0)
    minutes = {party: _minutes(pipeline, party) for party in ("a", "b")}
    mine, other = minutes["a"][-1], minutes["b"][-1]
    named = {channel.name: mine.channel(channel.name) for channel in mine.release.channels}
    channels: Channels = {name: values for name, values in named.items() if values is not None}
    if lie.does.startswith("releases another"):
        older = minutes["a"][-2]
        channels = {name: values for name in channels if (values := older.channel(name)) is not None}
    lie.values(channels)
    fields = dict(lie.fields or {})
    if "sigma" in fields:
        factor = fields.pop("sigma")
        fields["channels"] = tuple(
            msgspec.structs.replace(channel, sigma_units=channel.sigma_units * factor)
            for channel in mine.release.channels
        )
    release = msgspec.structs.replace(mine.release, **fields)
    values = channels if release.status == "released" else None
    signed = SignedRelease.signed(pipeline._keys["a"].identity, release, values)
    core.apply("a", signed.encode())
    window: FairnessMetric | None = core.apply("b", other.encode())
    if window is None:
        ((_, _, reason),) = core.refused
        return "refused", reason
    return window.status, window.reason


def _minutes(pipeline: InProcessPipeline, party: str) -> list[SignedRelease]:
    found = [SignedRelease.decode(value) for value in pipeline.log.values(f"releases-{party}")]
    return [signed for signed in found if signed.release.level == "1m"]


def test_what_of_a_dishonest_party_is_noticed(tmp_path: Path) -> None:
    """The table: each lie meets its reason, and those that nobody can notice are published."""
    pipeline = make_pipeline(tmp_path, more=_CHANNELS)
    for second in range(123):
        send(pipeline, second)
        pipeline.run()
    seen = [(lie, *told(pipeline, lie)) for lie in LIES]
    for lie, status, reason in seen:
        print(f"{lie.does:<50}{status:<12}{reason or 'not noticed'}")
    for lie, status, reason in seen:
        if lie.noticed is None:
            assert (status, reason) == ("published", None), lie.does
        else:
            assert status in ("void", "refused"), lie.does
            assert reason is not None and reason.startswith(lie.noticed), lie.does


@pytest.mark.parametrize(("how", "reason"), [("leaves it out", "coverage_differs"), ("claims it", "implausible_entry")])
def test_a_party_that_drops_a_batch_is_noticed(tmp_path: Path, how: str, reason: str) -> None:
    """Left out of the coverage too, the two differ; claimed and not added, its mask is left in the sum."""
    pipeline = run_seconds(tmp_path, 3)
    stage = pipeline.stage("a")
    assert isinstance(stage, AggregateStage)
    fold, dropped = stage._windows.fold, []

    def dishonest(approved: Any, end_ms: int, values: NDArray[np.uint64], *rest: Any, **more: Any) -> None:
        if dropped:
            fold(approved, end_ms, values, *rest, **more)
            return
        dropped.append(end_ms)
        if how == "claims it":
            fold(approved, end_ms, np.zeros_like(values), *rest, **more)

    stage._windows.fold = dishonest  # type: ignore[method-assign]
    for second in range(3, 25):
        send(pipeline, second)
        pipeline.run()
    by_end = {w.window.end_ms: (w.status, w.reason) for w in pipeline.published if w.level == "10s"}
    assert by_end.pop(dropped[0]) == ("void", reason)
    assert set(by_end.values()) == {("published", None)}


def test_a_party_that_says_nothing_keeps_the_window_back(tmp_path: Path) -> None:
    """One release alone is no window: nothing is shown, and the age of the newest one rises."""
    pipeline = make_pipeline(tmp_path)
    for second in range(25):
        send(pipeline, second)
        for role in ("seal", "attach", "b"):
            pipeline.turn(role)
        pipeline.publish()
    assert pipeline.log.values("releases-b") == []  # b has not even a's coverage key
    assert pipeline.published == []
