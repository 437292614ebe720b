"""The stages of all roles in one process, with real keys and no Kafka: each is fed with what the one before made.

One turn is one batch on its whole way: `seal` decodes so many events and seals them, `attach` turns what came of it
into shares, both parties fold these and close the window of the turn before, and `publish` joins their releases.
Whoever drives it says how a call of a stage is measured.

It is the dearest case on purpose: every row counts (a turn is an hour, and the cap 24 a day unless another is asked
for), every member's name and place is known, and each signature is verified by every role that reads it, as it is on
Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import msgspec
import numpy as np
from confluent_kafka import Message

from estimator import Population, RaceModel
from estimator.members import MemberStore
from privacy import Limits, Measurement, parse_measurement
from secure_agg import PinnedIdentities
from streams.inprocess import InProcessPipeline
from streams.records.frame import Kind, kind_of
from streams.roles.attach import AttachStage
from streams.roles.publish import PublishCore
from streams.stage import TIMESTAMP_CREATE, Out, Record, Stage

SOURCE = "bench-events"
ROLES = ("seal", "attach", "a", "b")
HOUR_MS = 3_600_000
START_MS = 1_764_028_800_000  # a UTC day
MOST_TURNS = 600
"""Epoch keys of one pipeline live for 30 days."""

_MEMBER_BYTES = 12
_MEMBERS_A_BLOCK = 1_000_000
_PEOPLE = 20_000
_SPEC = """
id: bench-{number}
purpose: what a row costs
source:
  topic: {topic}
  arrival: record_time
  member: member_id
  member_max_bytes: {width}
  time: shown_at
  time_format: epoch_ms
cells:
{score}  decision: {{field: recommended}}
  outcome: {{field: clicked}}
windows: {{base: 1h, lateness: 1s, max_future: 1s}}
reference: white
review: {{owner: bench, harm_considered: none, data_used: made up, retention: one run}}
expires: 2100-01-01T00:00:00Z
privacy:
  contribution_cap: {cap}
  cap_rule: hours
  rho_member_day: 0.5
  channel_shares: {{{channels}}}
"""
_CHANNELS = {
    ("table",): "table: 1.0",
    ("table", "moments"): "table: 0.6, moments: 0.4",
    ("table", "rectifier", "moments"): "table: 0.4, rectifier: 0.4, moments: 0.2",
}


class Measure(Protocol):
    """Calls a stage, and notes what that took under a role's and an entry's name."""

    def __call__(self, role: str, entry: str, call: Callable[[], object], /) -> None: ...


@dataclass(frozen=True)
class Shape:
    """What is varied.

    Attributes:
        rows: events of a turn, and most rows of a batch. cells: of the table, a multiple of 4.
        measurements: approved on the one source. members: in attach's store.
        channels: names, in the order of the wire. cap: rows of a member that count a day, each in an hour of its own.
    """

    rows: int
    cells: int = 20
    measurements: int = 1
    members: int = 100_000
    channels: tuple[str, ...] = ("table", "moments")
    cap: int = 24


def member_ids(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Ids of members, "m" and nine digits: shape (n,), dtype S10."""
    digits = np.full((numbers.size, 10), ord("m"), dtype=np.uint8)
    rest = numbers.copy()
    for place in range(9, 0, -1):
        rest, digit = np.divmod(rest, 10)
        digits[:, place] = digit + ord("0")
    return digits.view("S10").ravel()


def events(rng: np.random.Generator, count: int, members: int, start_ms: int) -> list[bytes]:
    """JSON values of ``count`` events within a second of ``start_ms``, about 170 bytes each."""
    columns = (
        rng.integers(0, members, count).tolist(),
        np.sort(rng.integers(0, 1_000, count) + start_ms).tolist(),
        np.round(rng.random(count), 4).tolist(),
        (rng.random(count) < 0.3).tolist(),
        (rng.random(count) < 0.4).tolist(),
        rng.integers(0, 50, count).tolist(),
    )
    encode = msgspec.json.Encoder().encode
    return [
        encode(
            {
                "event_id": f"e{number:012d}",
                "member_id": f"m{member:09d}",
                "shown_at": time_ms,
                "surface": "feed",
                "score": score,
                "recommended": recommended,
                "clicked": clicked,
                "rank": rank,
                "group": "black",
            }
        )
        for number, (member, time_ms, score, recommended, clicked, rank) in enumerate(zip(*columns, strict=True))
    ]


def measurement(number: int, cells: int, channels: tuple[str, ...], cap: int = 24) -> Measurement:
    """A measurement of so many cells: score bins x recommended x clicked."""
    bins = cells // 4
    if cells % 4 or bins < 1:
        raise ValueError(f"expected a multiple of 4 cells, got {cells}")
    edges = ", ".join(f"{edge / bins:.4f}" for edge in range(1, bins))
    score = f"  score: {{field: score, bins: [{edges}]}}\n" if bins > 1 else ""
    text = _SPEC.format(
        number=number, topic=SOURCE, width=_MEMBER_BYTES, score=score, channels=_CHANNELS[channels], cap=cap
    )
    return parse_measurement(text, origin="bench").with_effective_from(START_MS)


def _message(topic: str, offset: int, key: bytes | None, value: bytes | None, time_ms: int) -> Record:
    """A record as the Kafka client gives it: its accessors are called for every row, and cost what they cost there."""
    stamp = TIMESTAMP_CREATE, time_ms
    message: Message[bytes, bytes] = Message(topic, 0, offset, key, value, timestamp=stamp)
    return cast(Record, message)


class Turns:
    """See the module's text.

    Args:
        shape: what is varied. folder: for the keys.
    """

    def __init__(self, shape: Shape, folder: Path, seed: int = 1) -> None:
        self.shape = shape
        self._rng = np.random.default_rng(seed)
        self.pipeline = pipeline = InProcessPipeline(
            folder / "keys",
            partitions=1,
            sources={SOURCE: 1},
            batch_rows=shape.rows,
            limits=Limits.of_day(100.0),
            start_ms=START_MS,
            deployment="bench",
        )
        for control in pipeline.controls.values():  # in one process each is verified once, on Kafka by every role
            known = control.trusted.identities
            control.trusted = replace(control.trusted, identities=PinnedIdentities(known.deployment, known.keys))
        for number in range(shape.measurements):
            pipeline.approve(measurement(number, shape.cells, shape.channels, shape.cap))
        for role in ROLES:
            pipeline.turn(role)
        self._fill_store()
        self._done = 0
        self._offsets: dict[tuple[str, int], int] = {}
        self.sealed: list[list[Record]] = []
        """By turn of the last run, what `seal` wrote; ``shares`` is what `attach` did."""
        self.shares: list[list[Record]] = []

    def stage(self, role: str) -> Stage:
        """The stage of a role."""
        return self.pipeline.stage(role)

    def _fill_store(self) -> None:
        """Members of real names and places; the same few thousand people over and over, since only ids differ."""
        attach = self.stage("attach")
        assert isinstance(attach, AttachStage)
        directory = attach._directory  # noqa: SLF001  # loading millions by JSON is not what is measured here
        # A key that is known, so that the same members meet in the hash table in every run.
        directory.store = MemberStore(bytes(32), directory.model.code_width)
        people = Population().draw(self._rng, min(_PEOPLE, self.shape.members))
        codes = RaceModel.load().encode(
            {name: people.surname.tolist() if name == "family_name" else people.zcta.tolist() if name == "zcta"
             else [None] * people.surname.size for name in directory.model.attributes}
        )  # fmt: skip
        for start in range(0, self.shape.members, _MEMBERS_A_BLOCK):
            numbers = np.arange(start, min(start + _MEMBERS_A_BLOCK, self.shape.members))
            said = np.where(self._rng.random(numbers.size) < 0.2, 1 << (numbers % 6), 0).astype(np.uint16)
            directory.store.upsert(
                member_ids(numbers), codes[numbers % len(codes)], said, np.zeros(numbers.size, np.uint8)
            )
        directory._members[0] = self.shape.members  # noqa: SLF001  # as MemberDirectory.load would

    def _records(self, outputs: Sequence[Out], topic: str, now_ms: int) -> list[Record]:
        records = []
        for out in outputs:
            if out.topic == topic:
                place = (out.topic, out.partition)
                offset = self._offsets[place] = self._offsets.get(place, -1) + 1
                records.append(_message(topic, offset, out.key, out.value, now_ms))
        return records

    def run(self, turns: int, measure: Measure) -> None:
        """Send ``turns`` batches of each measurement through all roles: one role after the other takes all of them.

        So each role works as in a process of its own, whose caches hold what it needs itself. The calls of a turn are,
        in order: the role's ``step`` on the batches and, apart from it (``told``), on the punctuation; then its
        ``checkpoint``. `publish` has one call, ``apply``, for the releases of a turn.
        """
        if self._done + turns > MOST_TURNS:
            raise RuntimeError(f"a pipeline is good for {MOST_TURNS} turns; make another")
        clocks = [START_MS + (self._done + k) * HOUR_MS + 1_000 for k in range(turns)]
        source = [self._source(now_ms) for now_ms in clocks]
        self.sealed = self._pass("seal", source, clocks, "sealed", measure)
        self.shares = self._pass("attach", self.sealed, clocks, "shares", measure)
        released = [self._pass(party, self.shares, clocks, f"releases-{party}", measure) for party in ("a", "b")]
        core = self.pipeline.core
        for from_a, from_b in zip(*released, strict=True):
            releases = [("a", r.value() or b"") for r in from_a] + [("b", r.value() or b"") for r in from_b]
            if releases:
                measure("publish", "apply", partial(_apply, core, releases))

    def _source(self, now_ms: int) -> list[Record]:
        first = self._done * self.shape.rows
        self._done += 1
        values = events(self._rng, self.shape.rows, self.shape.members, now_ms - 1_000)
        return [_message(SOURCE, first + k, b"black", value, now_ms) for k, value in enumerate(values)]

    def _pass(
        self, role: str, records: list[list[Record]], clocks: list[int], topic: str, measure: Measure
    ) -> list[list[Record]]:
        """One role's way through all turns: by turn, what it wrote to a topic."""
        stage = self.stage(role)
        written = []
        for of_turn, now_ms in zip(records, clocks, strict=True):
            self.pipeline.log.clock_ms = now_ms
            stage.refresh(now_ms)
            told = [] if role == "seal" else [r for r in of_turn if kind_of(r.value() or b"") is Kind.PUNCTUATION]
            batches = [record for record in of_turn if record not in told] if told else of_turn
            measure(role, "step", partial(stage.step, batches, now_ms))
            if told:
                measure(role, "told", partial(stage.step, told, now_ms))
            outputs: list[Out] = []
            measure(role, "checkpoint", partial(_checkpoint, stage, now_ms, outputs))
            stage.committed()
            written.append(self._records(outputs, topic, now_ms))
        return written


def _checkpoint(stage: Stage, now_ms: int, outputs: list[Out]) -> None:
    outputs += stage.checkpoint(now_ms)


def _apply(core: PublishCore, releases: Sequence[tuple[str, bytes]]) -> None:
    for party, value in releases:
        core.apply(party, value)
