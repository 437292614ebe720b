"""The scanner's own eyes: it finds what is planted, at any offset, and nothing in random bytes."""

from __future__ import annotations

import numpy as np
import pytest
import wire_scan

from estimator import RaceModel, to_fixed_point


@pytest.mark.parametrize("offset", range(9))
def test_finds_what_is_planted(offset: int) -> None:
    """A member id, a race vector in three encodings and a run of cells are found at every byte offset."""
    noise = np.random.default_rng(offset).bytes(5000)
    p = RaceModel.load().posterior(["Garcia"], states=["CA"])
    before = noise[: 1000 + offset]
    assert wire_scan.find_ids(before + b"m00042" + noise, [b"m00042", b"m00043"]) == 1
    for row in (to_fixed_point(p).astype("<u8"), p.astype("<f8"), p.astype("<f4")):
        assert wire_scan.find_probability_rows(before + row.tobytes() + noise) >= 1
    cells = np.arange(20, dtype="<u2").tobytes()
    assert wire_scan.find_cells(before + cells + noise, 20) >= 1


def test_finds_nothing_in_noise() -> None:
    """Random bytes hold none of it."""
    noise = np.random.default_rng(1).bytes(2_000_000)
    assert wire_scan.find_probability_rows(noise) == 0
    assert wire_scan.find_cells(noise, 20) == 0
