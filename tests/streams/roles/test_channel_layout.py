"""What a batch carries: sizes, contents, and that no member moves a channel by more than is claimed of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator import to_fixed_point
from privacy import parse_measurement
from privacy.spend import Channel, Relation, row_sensitivity
from secure_agg.ring import SCALE, sum_by_cell, to_signed
from streams.roles.channel_layout import ChannelLayout

CELLS = 3
K = 4
ALL = ("table", "rectifier", "moments")
SOME = ("table", "moments")


def layout(channels: tuple[str, ...] = ALL, groups: int = K) -> ChannelLayout:
    """A layout with these channels."""
    return ChannelLayout(channels, groups, CELLS, "1m")


@pytest.mark.parametrize(
    ("channels", "bits", "columns", "tail"), [(("table",), 1, 4, 0), (SOME, 5, 4, 16), (ALL, 7, 8, 16)]
)
def test_sizes_follow_the_channels(channels: tuple[str, ...], bits: int, columns: int, tail: int) -> None:
    """Bits, columns a row and the tail are what the extension of a batch says, and add up."""
    shape = layout(channels)
    assert (shape.bits, shape.columns, shape.tail) == (bits, columns, tail)
    assert shape.size(5) == 5 * columns + tail


def test_a_measurement_fixes_its_layout() -> None:
    """Groups, cells, channels and the longest level come from the spec."""
    spec = parse_measurement(
        "{id: x, purpose: p, source: {topic: t, member: m, time: s}, cells: {decision: {field: d}}, groups: [a, b, c], "
        "windows: {base: 10s, rollups: [1m]}, reference: b, privacy: {contribution_cap: 1, rho_member_day: 0.1, "
        "channel_shares: {table: 0.5, moments: 0.2, rectifier: 0.3}}}",
        origin="x",
    )
    found = ChannelLayout.of(spec)
    assert found == ChannelLayout(ALL, 3, 2, "1m")
    assert found.released("10s") == {"table": (2, 3), "moments": (11,)}
    assert list(found.released("1m").items()) == [("table", (2, 3)), ("rectifier", (2, 3)), ("moments", (11,))]


def test_what_a_batch_carries() -> None:
    """Rows that count have their probabilities and, with a Self-ID, its residual; the others are zeros throughout."""
    counts = np.array([True, False, True, True])
    p = np.array([[0.5, 0.25, 0.25, 0], [0, 0, 0, 1], [1, 0, 0, 0]])
    flat = layout().values(counts, to_fixed_point(p), np.array([0b0011, 0, 0b1000], np.uint16))
    rows, tail = layout().parts(flat, 4)
    q = SCALE // 4
    assert to_signed(rows).tolist() == [
        [2 * q, q, q, 0, 0, q, -q, 0],
        [0] * 8,
        [0, 0, 0, 4 * q, 0, 0, 0, 0],
        [4 * q, 0, 0, 0, -4 * q, 0, 0, 4 * q],
    ]
    assert tail[-6:-4].tolist() == [3 * SCALE, 2 * SCALE]
    assert tail[0] == SCALE // 4 + SCALE  # .5 x .5 and 1 x 1, of the first group with itself
    assert layout().channel("rectifier", rows, tail).tolist() == rows[:, 4:].tolist()
    assert layout().channel("table", rows, tail).tolist() == rows[:, :4].tolist()


def test_self_id_is_left_at_home_where_it_is_not_used() -> None:
    """Without a rectifier not even the number of Self-IDs is shared: the batch is the same with and without them."""
    counts, p = np.ones(2, bool), to_fixed_point(np.full((2, K), 1 / K))
    with_it, without = (layout(SOME).values(counts, p, np.array(masks, np.uint16)) for masks in ([3, 1], [0, 0]))
    assert np.array_equal(with_it, without)
    assert with_it[-1] == 0


# -- sensitivity ------------------------------------------------------------------------------------------------------


@dataclass
class Member:
    """One member's secret: what each of its rows says, and its Self-ID."""

    rows: NDArray[np.float64]
    mask: int


@st.composite
def secrets(draw: st.DrawFn, rows: int) -> Member:
    """Extreme secrets are likely: certainty, and all or nothing ticked."""
    certain = st.integers(0, K - 1).map(lambda group: np.eye(K)[group])
    spread = st.lists(st.floats(0.0, 1.0), min_size=K, max_size=K).map(
        lambda w: (np.array(w) + 1e-9) / (sum(w) + K * 1e-9)
    )
    one = st.one_of(certain, spread)
    alike = draw(st.booleans())
    first = draw(one)
    p = np.array([first if alike else draw(one) for _ in range(rows)])
    return Member(p, draw(st.sampled_from([0, 1, 2, 1 << (K - 1), (1 << K) - 1]) | st.integers(0, (1 << K) - 1)))


def totals(channels: tuple[str, ...], batches: list[int], cells: list[int], member: Member | None, others: int):  # type: ignore[no-untyped-def]
    """The channels of a level: the member's rows (zeros where he does not count) among others', in batches."""
    shape = layout(channels)
    rng = np.random.default_rng(others)
    table, tail = np.zeros((CELLS, shape.columns), np.uint64), np.zeros(shape.tail, np.uint64)
    for batch in sorted(set(batches)):
        own = [row for row, where in enumerate(batches) if where == batch]
        n = int(rng.integers(1, 6))
        p, masks = rng.dirichlet(np.full(K, 0.4), n), rng.integers(0, 1 << K, n).astype(np.uint16)
        at = rng.integers(0, CELLS, n)
        counts = np.ones(n + len(own), bool)
        if member is None:
            counts[n:] = False
        else:
            p = np.concatenate((p, member.rows[own]))
            masks = np.concatenate((masks, np.full(len(own), member.mask, np.uint16)))
        flat = shape.values(counts, to_fixed_point(p), masks)
        rows, own_tail = shape.parts(flat, counts.size)
        table += sum_by_cell(rows, np.array([*at, *(cells[row] for row in own)], np.uint16), CELLS)
        tail += own_tail
    return {name: shape.channel(name, table, tail) for name in channels}


@pytest.mark.parametrize("channels", [("table",), SOME, ALL], ids=len)
@pytest.mark.parametrize("relation", ["replace", "add_remove"])
@given(data=st.data())
def test_no_member_moves_a_channel_by_more_than_is_claimed(
    channels: tuple[str, ...], relation: Relation, data: st.DataObject
) -> None:
    """Any change of one member's secret, or his going, over any batches and cells, in exact integer units."""
    c = data.draw(st.integers(1, 5))
    batches, cells = (data.draw(st.lists(st.integers(0, top), min_size=c, max_size=c)) for top in (2, CELLS - 1))
    if data.draw(st.booleans()):
        cells = [0] * c  # the worst case: all in one cell
    others = data.draw(st.integers(0, 1000))
    before = totals(channels, batches, cells, data.draw(secrets(c)), others)
    other = data.draw(secrets(c)) if relation == "replace" else None
    after = totals(channels, batches, cells, other, others)
    for name in channels:
        moved = to_signed(before[name] - after[name]).astype(object)
        square = int((moved * moved).sum())  # exact: Python's integers
        claimed = row_sensitivity(_channel(name), K, self_id="rectifier" in channels).units(relation, c)
        assert square <= int(claimed) ** 2, name


def _channel(name: str) -> Channel:
    assert name in ALL
    return name  # type: ignore[return-value]  # one of the three


@pytest.mark.parametrize(
    ("name", "relation", "other"),
    [
        ("table", "replace", Member(np.eye(K)[[1]], 0)),
        ("rectifier", "replace", Member(np.eye(K)[[1]], 0b0001)),
        ("moments", "replace", Member(np.eye(K)[[1]], 0)),
        ("table", "add_remove", None),
        ("rectifier", "add_remove", None),
        ("moments", "add_remove", None),
    ],
)
def test_the_claims_are_met_exactly_by_someone(name: str, relation: Relation, other: Member | None) -> None:
    """No claim is larger than it must be, but for rounding: a certain member who says otherwise reaches it."""
    someone = Member(np.eye(K)[[0]], 0b0010)
    before, after = (totals(ALL, [0], [0], member, 7) for member in (someone, other))
    moved = np.linalg.norm(to_signed(before[name] - after[name]).astype(float))
    claimed = row_sensitivity(_channel(name), K, self_id=True).units(relation, 1)
    assert claimed - 5 <= moved <= claimed
