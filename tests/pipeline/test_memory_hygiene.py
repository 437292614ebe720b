"""What a role had in its hands of single rows is overwritten once a batch is done: views that outlive it hold zeros.

Each test keeps hold of the very memory that the role used, runs real batches through it, and looks afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import RaceModel, moments, rounding
from estimator.errors import NotProbabilities
from estimator.members import MemberStore
from privacy import parse_measurement
from secure_agg import ring
from secure_agg.envelopes import DataKey
from streams.errors import ProtocolStop
from streams.inprocess import InProcessPipeline
from streams.roles import aggregate, attach, counted_rows
from streams.roles.channel_layout import ChannelLayout
from streams.roles.windows import OpenWindows

START_MS = 1_700_000_040_000
SPEC = """
id: ev
purpose: hygiene
source: {topic: ev, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m], lateness: 1s}
reference: white
privacy:
  contribution_cap: 24
  cap_rule: first
  rho_member_day: 0.1
  channel_shares: {table: 0.5, moments: 0.1, rectifier: 0.4}
test_only: {noise_scale_units: 0.01}
"""


class RememberingModel:
    """The race model, which keeps hold of every array that it gave out."""

    groups = RaceModel.groups
    code_width = RaceModel.code_width

    def __init__(self) -> None:
        self._model = RaceModel.load()
        self.attributes = self._model.attributes
        self.given: list[NDArray[np.float64]] = []

    def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
        return self._model.encode(attributes)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        self.given.append(self._model.posterior_of_codes(codes))
        return self.given[-1]


class Held:
    """Memory that was used, by name: that it was not empty while it was used, and what it holds afterwards."""

    def __init__(self) -> None:
        self.arrays: dict[str, list[Any]] = {}

    def keep(self, name: str, memory: Any) -> None:
        """Keep hold of an array or a bytearray that says something now."""
        assert memory is not None
        if np.any(np.frombuffer(memory, np.uint8) if isinstance(memory, bytearray) else memory):
            self.arrays.setdefault(name, []).append(memory)

    def left(self) -> dict[str, int]:
        """How many pieces of each name are not all zeros."""
        whole = {name: [np.asarray(memory).view(np.uint8) for memory in held] for name, held in self.arrays.items()}
        return {name: sum(bool(piece.any()) for piece in pieces) for name, pieces in whole.items()}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Keeps hold of what attach and the parties open, compute and split."""
    held = Held()
    opened, values, split, fold = DataKey.open, ChannelLayout.values, attach.split, OpenWindows.fold
    expand, fixed, tags, tag = aggregate.expand, attach.to_fixed_point, counted_rows._tags, MemberStore.tag

    def open_(self: DataKey, *arguments: Any) -> bytearray:
        plain = opened(self, *arguments)
        if self.channel.purpose != "coverage":
            held.keep(f"plaintext of {self.channel.purpose} at {self.channel.recipient}", plain)
        return plain

    def values_(self: ChannelLayout, *arguments: Any) -> NDArray[np.uint64]:
        flat = values(self, *arguments)
        held.keep("values", flat)
        return flat

    def fixed_(*arguments: Any) -> NDArray[np.uint64]:
        rounded = fixed(*arguments)
        held.keep("fixed point", rounded.T)
        return rounded

    def tags_(store: MemberStore, members: list[NDArray[np.bytes_]]) -> NDArray[np.uint64]:
        with monkeypatch.context() as within:
            within.setattr(MemberStore, "tag", tag_)
            return tags(store, members)

    def tag_(self: MemberStore, members: NDArray[np.bytes_]) -> NDArray[np.uint64]:
        held.keep("ids together", members.view(np.uint8))
        return tag(self, members)

    def split_(flat: NDArray[np.uint64]) -> tuple[bytes, NDArray[np.uint64]]:
        seed, masked = split(flat)
        held.keep("masked values", masked)
        return seed, masked

    def expand_(*arguments: Any) -> NDArray[np.uint64]:
        stream = expand(*arguments)
        held.keep("expanded seed", stream)
        return stream

    def fold_(self: OpenWindows, approved: Any, end_ms: int, rows: Any, cells: Any, tail: Any, **more: Any) -> None:
        for name, array in (("folded rows", rows), ("folded cells", cells), ("folded tail", tail)):
            held.keep(name, array)
        fold(self, approved, end_ms, rows, cells, tail, **more)

    monkeypatch.setattr(DataKey, "open", open_)
    monkeypatch.setattr(ChannelLayout, "values", values_)
    monkeypatch.setattr(attach, "to_fixed_point", fixed_)
    monkeypatch.setattr(counted_rows, "_tags", tags_)
    monkeypatch.setattr(attach, "split", split_)
    monkeypatch.setattr(aggregate, "expand", expand_)
    monkeypatch.setattr(OpenWindows, "fold", fold_)
    return held


def run(folder: Path, model: RememberingModel) -> InProcessPipeline:
    """Twelve seconds of twenty members, one in three with a Self-ID."""
    pipeline = InProcessPipeline(folder / "keys", partitions=2, sources={"ev": 1}, start_ms=START_MS, model=model)
    pipeline.approve(parse_measurement(SPEC, origin="test").with_effective_from(START_MS))
    for k in range(20):
        key = b"m%02d" % k
        attributes = {"family_name": "Garcia", "state": "CA"} | ({"self_id": ["white"]} if k % 3 == 0 else {})
        pipeline.write_attributes(key, json.dumps(attributes).encode())
    pipeline.run()
    for second in range(14):
        pipeline.log.clock_ms += 1000
        for k in range(20) if second < 10 else ():
            event = {"m": f"m{k:02d}", "ts": pipeline.log.clock_ms - 10, "r": k % 2 == 0}
            pipeline.log.append("ev", 0, json.dumps(event).encode())
        pipeline.run()
    return pipeline


def test_nothing_of_single_rows_is_left_in_the_arrays_of_attach_and_the_parties(tmp_path: Path, held: Held) -> None:
    """Probabilities, values, masked values, opened ids, cells and shares: zeros, after windows were really counted."""
    model = RememberingModel()
    pipeline = run(tmp_path, model)
    assert any(window.table is not None for window in pipeline.published)
    assert {
        "plaintext of members at attach",
        "ids together",
        "fixed point",
        "plaintext of cells at a",
        "plaintext of cells at b",
        "plaintext of share at a",
        "plaintext of share at b",
        "values",
        "masked values",
        "expanded seed",
        "folded rows",
        "folded cells",
        "folded tail",
    } == set(held.arrays)
    assert {name: left for name, left in held.left().items() if left} == {}
    counted = [given for given in model.given if len(given) > 2]  # two unknown members are asked for at start
    assert counted
    assert not any(given.any() for given in counted)


def test_a_batch_that_stops_its_partition_leaves_nothing_either(
    tmp_path: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where folding fails, or splitting does."""

    def fail(*arguments: Any, **more: Any) -> None:
        raise ProtocolStop("as a test wants it")

    kept = OpenWindows.fold

    def fold(self: OpenWindows, *arguments: Any, **more: Any) -> None:
        kept(self, *arguments, **more)
        fail()

    monkeypatch.setattr(OpenWindows, "fold", fold)
    pipeline = run(tmp_path, RememberingModel())
    assert pipeline.stage("a").stopped()
    assert held.arrays["folded rows"]
    assert {name: left for name, left in held.left().items() if left} == {}


def _captured(monkeypatch: pytest.MonkeyPatch, module: Any, *names: str) -> list[NDArray[Any]]:
    """Results of numpy functions, as one module calls them."""
    taken: list[NDArray[Any]] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            found = getattr(np, name)
            if name not in names:
                return found

            def call(*arguments: Any, **more: Any) -> Any:
                result = found(*arguments, **more)
                taken.append(result)
                return result

            return call

    monkeypatch.setattr(module, "np", Watched())
    return taken


def test_rounding_leaves_no_running_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums that a row is rounded by tell the row: they become the result, or are overwritten."""
    taken = _captured(monkeypatch, rounding, "empty")
    probabilities = np.random.default_rng(1).dirichlet(np.ones(6), 50)
    fixed = rounding.to_fixed_point(probabilities)
    assert [array is fixed.base for array in taken] == [True]
    with pytest.raises(NotProbabilities):
        rounding.to_fixed_point(probabilities * 2)
    assert not taken[1].any()


def test_moments_leave_no_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch's rows only its sums are left."""
    taken = _captured(monkeypatch, moments, "empty", "empty_like")
    fixed = rounding.to_fixed_point(np.random.default_rng(1).dirichlet(np.ones(6), 50))
    found = moments.moments_of(fixed, np.zeros((0, 6), dtype=np.int64), 1 << 20)
    assert found.any()
    assert len(taken) == 2
    assert not any(array.any() for array in taken)


def test_folding_leaves_no_rows_in_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are gathered by their cell to be added up; the copy goes."""
    taken = _captured(monkeypatch, ring, "argsort")
    values = np.arange(1, 61, dtype=np.uint64).reshape(10, 6)
    total = ring.sum_by_cell(values, np.array([3, 1] * 5, dtype=np.uint16), 4)
    assert total.sum() == values.sum()
    assert not any(array.any() for array in taken)


def test_tags_leave_no_padded_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are padded to whole words before they are hashed; the copy goes."""
    import estimator.members as module

    store = MemberStore(bytes(32), 3)
    taken = _captured(monkeypatch, module, "zeros")
    tags = store.tag(np.array([b"member-1", b"member-22"]))
    assert len(set(tags.tolist())) == 2
    assert taken
    assert not any(array.any() for array in taken)
