"""Sums in Z/2^64 against Python's own integers, to the last unit."""

from __future__ import annotations

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import estimator.rounding
from secure_agg.ring import SCALE, sum_by_cell, to_rows, to_signed

RING = 1 << 64
# The ring's ends, the sign's, and where float64 stops counting by ones.
CORNERS = [0, 1, 2, (1 << 53) - 1, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, RING - 2, RING - 1]
ELEMENT = st.one_of(st.sampled_from(CORNERS), st.integers(0, RING - 1))
CELLS = 7
ROW = st.tuples(st.integers(0, CELLS - 1), st.tuples(ELEMENT, ELEMENT, ELEMENT))
ROWS = st.lists(ROW, max_size=60)
Rows = list[tuple[int, tuple[int, int, int]]]


def arrays(rows: Rows) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """The arrays of a list of (cell, values)."""
    values = np.array([row[1] for row in rows], dtype=np.uint64).reshape(len(rows), 3)
    return values, np.array([row[0] for row in rows], dtype=np.uint16)


def oracle(rows: Rows) -> list[list[int]]:
    """The sums as one would write them with integers that never wrap, reduced once at the end."""
    total = [[0, 0, 0] for _ in range(CELLS)]
    for cell, values in rows:
        for column, value in enumerate(values):
            total[cell][column] += value
    return [[value % RING for value in row] for row in total]


@given(rows=ROWS)
@examples(100)
def test_sums_equal_those_of_big_integers(rows: Rows) -> None:
    """For any rows, also at the ring's ends, each cell holds the exact sum modulo 2^64."""
    total = sum_by_cell(*arrays(rows), CELLS)
    assert total.dtype == np.uint64
    assert total.tolist() == oracle(rows)


@given(rows=ROWS, data=st.data())
@examples(50)
def test_the_order_of_rows_does_not_matter(rows: Rows, data: st.DataObject) -> None:
    """`seal` shuffles every batch: no order of its rows changes a sum."""
    shuffled = data.draw(st.permutations(rows))
    assert np.array_equal(sum_by_cell(*arrays(rows), CELLS), sum_by_cell(*arrays(shuffled), CELLS))


@given(rows=ROWS, cut=st.integers(0, 60))
@examples(50)
def test_sums_of_parts_add_up(rows: Rows, cut: int) -> None:
    """A batch may be cut anywhere: the sums of its parts, added in the ring, are its sum."""
    parts = sum_by_cell(*arrays(rows[:cut]), CELLS) + sum_by_cell(*arrays(rows[cut:]), CELLS)
    assert np.array_equal(parts, sum_by_cell(*arrays(rows), CELLS))


def test_a_full_batch_of_the_largest_element_is_exact() -> None:
    """4,096 rows of 2^64 - 1 in one cell are -4,096: the carry of every single addition is dropped, nothing else."""
    values = np.full((4096, 6), RING - 1, dtype=np.uint64)
    total = sum_by_cell(values, np.full(4096, 3, dtype=np.uint16), 20)
    assert to_signed(total)[3].tolist() == [-4096] * 6
    assert not np.delete(total, 3, axis=0).any()


def test_the_last_unit_survives_where_float64_would_lose_it() -> None:
    """2^53 + 1 + 0 is odd: a float64 bincount gives an even sum."""
    values = np.array([[1 << 53], [1]], dtype=np.uint64)
    cells = np.zeros(2, dtype=np.uint16)
    assert int(sum_by_cell(values, cells, 1)[0, 0]) == (1 << 53) + 1
    assert np.bincount(cells, weights=values[:, 0].astype(np.float64))[0] == 1 << 53


def test_every_cell_number_of_sixteen_bits_is_a_cell() -> None:
    """The largest cell is no special case, nor are a single row, a single column, or none."""
    values = np.arange(65_536, dtype=np.uint64)[:, None]
    cells = np.arange(65_536, dtype=np.uint16)[::-1]
    assert sum_by_cell(values, cells, 65_536)[:, 0].tolist() == list(range(65_535, -1, -1))
    assert sum_by_cell(values[:1], cells[-1:], 1).tolist() == [[0]]
    assert sum_by_cell(np.empty((3, 0), np.uint64), np.zeros(3, np.uint16), 2).shape == (2, 0)


def test_an_empty_batch_sums_to_nothing() -> None:
    """Zero rows give a whole table of zeros in the ring's type."""
    total = sum_by_cell(np.empty((0, 6), np.uint64), np.empty(0, np.uint16), 20)
    assert total.dtype == np.uint64
    assert total.tolist() == [[0] * 6] * 20


def test_views_and_arguments() -> None:
    """Strided and column-major views sum as copies do, and neither argument is changed."""
    rng = np.random.default_rng(1)
    wide = rng.integers(0, RING, size=(200, 12), dtype=np.uint64, endpoint=False)
    cells = rng.integers(0, CELLS, size=200).astype(np.uint16)
    before = wide.copy(), cells.copy()
    for view, where in ((wide[::-2, ::2], cells[::-2]), (np.asfortranarray(wide), cells)):
        assert np.array_equal(sum_by_cell(view, where, CELLS), sum_by_cell(view.copy(), where.copy(), CELLS))
    assert np.array_equal(wide, before[0])
    assert np.array_equal(cells, before[1])


@pytest.mark.parametrize(
    ("values", "cells", "expected"),
    [
        ((3, 6), [0, 1, 20], "a cell is 20, but there are only 20 cells"),
        ((1, 6), [65_535], "a cell is 65535"),
        ((3, 6), [0, 1], r"expected values \(n, k\) and cells \(n,\)"),
        ((2, 6), [0, 1, 2], "expected values"),
        ((3,), [0, 1, 2], "expected values"),
        ((3, 2, 1), [0, 1, 2], "expected values"),
        ((3, 6), [[0], [1], [2]], "expected values"),
    ],
)
def test_what_would_land_elsewhere_is_refused(values: tuple[int, ...], cells: list[int], expected: str) -> None:
    """A cell out of range or shapes that disagree raise: no row is counted in another row's place."""
    with pytest.raises(ValueError, match=expected):
        sum_by_cell(np.ones(values, np.uint64), np.array(cells, np.uint16), 20)


@given(values=st.lists(st.one_of(ELEMENT), max_size=30))
@settings(deadline=None)
def test_signed_values_are_twos_complement(values: list[int]) -> None:
    """Elements from 2^63 up are the negative numbers, as a view on the same memory."""
    ring = np.array(values, dtype=np.uint64)
    signed = to_signed(ring)
    assert signed.dtype == np.int64
    assert signed.tolist() == [value - RING if value >= RING // 2 else value for value in values]
    assert not values or np.shares_memory(signed, ring)


@given(units=st.lists(st.integers(-(1 << 53), 1 << 53), max_size=30))
@settings(deadline=None)
def test_rows_are_units_over_the_scale(units: list[int]) -> None:
    """Sums of up to 2^33 rows, negative ones too, decode without any error: the scale is a power of two."""
    ring = np.array([unit % RING for unit in units], dtype=np.uint64)
    assert [value * SCALE for value in to_rows(ring).tolist()] == units


def test_the_scale_is_the_estimators() -> None:
    """The rooms do not know each other, but what one encodes the other decodes: 2^20 units a row."""
    assert SCALE == estimator.rounding.SCALE == 1_048_576
