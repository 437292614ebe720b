"""Counting instead of timing: what is seen of a call, and that it is the same every time."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np

from bench.performance.counting import LARGE_BYTES, counted

ROWS = 4_096


def test_a_loop_over_rows_shows_in_steps() -> None:
    """Whatever its body does: a Python loop takes three steps a row or more, and the same work on arrays none."""
    values = np.arange(ROWS)

    def by_row() -> None:
        for _ in values:
            pass

    assert counted(by_row).steps >= 2 * ROWS
    assert counted(values.sum).steps < 100


def test_an_array_that_is_dropped_again_shows_in_bytes() -> None:
    """Bytes are all that was allocated, not what is left: two temporaries count twice, and none outlives its line."""
    values = np.arange(ROWS)

    def once() -> None:
        values.copy()

    def twice() -> None:
        values.copy()
        values.copy()

    # Of the last step it is not known what it took, so each function ends with one that allocates nothing.
    assert values.nbytes <= counted(once).bytes < values.nbytes + LARGE_BYTES
    assert 2 * values.nbytes <= counted(twice).bytes < 2 * (values.nbytes + LARGE_BYTES)


def test_small_objects_are_no_bytes() -> None:
    """What differs between versions of Python, small objects, is not counted."""
    assert counted(lambda: [bytes(100) for _ in range(5)]).bytes == 0


def test_the_same_call_gives_the_same_counts() -> None:
    """A count is no measurement: it does not vary."""
    values = np.random.default_rng(1).random(ROWS)

    def work() -> None:
        np.unique(np.sort(values) + 1)

    counted(work)  # numpy imports a part of itself at the first call
    assert len({counted(work) for _ in range(3)}) == 1


def test_what_was_traced_before_is_traced_again() -> None:
    """A debugger's trace function, and memory that is traced already, are left as they were."""

    def mine(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(mine)
    tracemalloc.start()
    try:
        counted(lambda: None)
        assert sys.gettrace() is mine
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
        sys.settrace(before)
