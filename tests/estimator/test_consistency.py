"""What channels of one window owe each other: honest noise never breaks it, and a change of one channel does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator import channels_disagree
from estimator.moments import Moments, moments_of, moments_size
from estimator.rounding import to_fixed_point

SCALE = 1 << 20
F = NDArray[np.float64]
SIGMAS = {"table": 3.0, "moments": 4.0, "rectifier": 5.0}


def window(
    rng: np.random.Generator, *, rows: int, cells: int, groups: int, sigmas: dict[str, float]
) -> tuple[F, Moments, F]:
    """Channels of so many honest rows, a third of them with Self-ID, as the protocol sums them, and noise."""
    p = to_fixed_point(rng.dirichlet(np.full(groups, 0.4), rows)).astype(np.uint64)
    place = rng.integers(0, cells, rows)
    said = np.arange(rows) % 3 == 0
    r = np.zeros((rows, groups), np.int64)
    r[np.arange(rows), rng.integers(0, groups, rows)] = SCALE
    residuals = (r - p.astype(np.int64))[said]
    table, rectifier = np.zeros((cells, groups)), np.zeros((cells, groups))
    np.add.at(table, place, p / SCALE)
    np.add.at(rectifier, place[said], residuals / SCALE)
    vector = sum(
        (
            moments_of(p[k : k + 4096], residuals if k == 0 else residuals[:0], SCALE).astype(float)
            for k in range(0, rows, 4096)
        ),
        np.zeros(moments_size(groups)),
    )
    moments = Moments.from_vector(vector / SCALE + rng.normal(0, sigmas["moments"], vector.size))
    noise = [rng.normal(0, sigmas[name], (cells, groups)) for name in ("table", "rectifier")]
    return table + noise[0], moments, rectifier + noise[1]


@given(
    seed=st.integers(0, 1 << 32), rows=st.integers(0, 3000), cells=st.integers(1, 40), groups=st.integers(2, 6),
    noise=st.sampled_from([0.0, 1e-6, 1.0, 300.0]),
)  # fmt: skip
def test_honest_windows_agree(seed: int, rows: int, cells: int, groups: int, noise: float) -> None:
    """Whatever the rows, their number and the noise, nothing honest is refused, fixed-point rounding included."""
    sigmas = {name: noise * sigma for name, sigma in SIGMAS.items()}
    rng = np.random.default_rng(seed)
    assert channels_disagree(*window(rng, rows=rows, cells=cells, groups=groups, sigmas=sigmas), sigmas) is None


def changed(moments: Moments, **changes: Any) -> Moments:
    """Moments with some of their fields replaced."""
    fields = {name: getattr(moments, name) for name in ("products", "rows", "self_id_rows", "residual_squares")}
    return Moments(**(fields | changes))


def test_a_change_of_one_channel_is_noticed() -> None:
    """Each rule on its own: what it watches is moved by twelve deviations, and the other channels are left."""
    table, moments, rectifier = window(np.random.default_rng(1), rows=3000, cells=20, groups=6, sigmas=SIGMAS)
    assert channels_disagree(table, moments, rectifier, SIGMAS) is None
    far = 12 * np.sqrt(120) * 3.0
    moved = np.zeros_like(table)
    moved[3, 0], moved[3, 1] = far, -far
    cases = {
        "one entry more": (table + np.eye(20, 6) * far / 6, moments, rectifier),
        "every entry a little more": (table + far / 120, moments, rectifier),
        "every entry a little less": (table - far / 120, moments, rectifier),
        "from one group to another": (table + moved, moments, rectifier),
        "more rows": (table, changed(moments, rows=moments.rows + far), rectifier),
        "fewer rows": (table, changed(moments, rows=moments.rows - far), rectifier),
        "M larger": (table, changed(moments, products=moments.products * 1.5), rectifier),
        "more who said a group than rows": (table, changed(moments, self_id_rows=moments.rows + far), rectifier),
        "squares beyond 2": (table, changed(moments, residual_squares=np.full(6, moments.self_id_rows)), rectifier),
        "a rectifier that moves mass in": (table, moments, rectifier + np.eye(20, 6) * 12 * np.sqrt(6) * 5),
        "a rectifier beyond its rows": (table, moments, rectifier + moved),
    }
    for name, case in cases.items():
        assert channels_disagree(*case, SIGMAS) == "channels_disagree", name


def test_m_lies_between_its_bounds() -> None:
    """The trace of M is at most the rows and at least their k-th part, whatever its rows sum to."""
    table, moments, _ = window(np.random.default_rng(2), rows=3000, cells=20, groups=6, sigmas=SIGMAS)
    columns = moments.products.sum(axis=1)
    for share in (2.0, 0.0):
        products = np.full((6, 6), 0.0)
        products[np.diag_indices(6)] = share * columns
        products += np.diag(np.zeros(6))
        rest = (columns - products.sum(axis=1)) / 5
        for row in range(6):
            products[row, [s for s in range(6) if s != row]] = rest[row]
        assert np.allclose(products.sum(axis=1), columns)
        assert channels_disagree(table, changed(moments, products=products), None, SIGMAS) == "channels_disagree"


def test_absent_channels_ask_for_nothing() -> None:
    """A table alone owes nothing to anyone, and a rectifier alone sums to zero in each cell."""
    table, moments, rectifier = window(np.random.default_rng(3), rows=500, cells=4, groups=6, sigmas=SIGMAS)
    assert channels_disagree(table * 1000, None, None, {"table": 3.0}) is None
    assert channels_disagree(table, None, rectifier, {"table": 3.0, "rectifier": 5.0}) is None
    assert channels_disagree(table, None, rectifier + 50, {"table": 3.0, "rectifier": 5.0}) == "channels_disagree"
    assert channels_disagree(table, moments, None, SIGMAS) is None


def test_what_keeps_to_every_channel_is_not_noticed() -> None:
    """Rows that were made up in all channels alike are rows like any other: the limit of what publish can see."""
    rng = np.random.default_rng(4)
    honest, invented = (window(rng, rows=n, cells=4, groups=6, sigmas=SIGMAS) for n in (500, 5000))
    both = [one + other for one, other in zip(honest[::2], invented[::2], strict=True)]
    added = Moments(
        *(
            getattr(honest[1], name) + getattr(invented[1], name)
            for name in ("products", "rows", "self_id_rows", "residual_squares")
        )
    )
    sigmas = {name: sigma * 2**0.5 for name, sigma in SIGMAS.items()}
    assert channels_disagree(both[0], added, both[1], sigmas) is None


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.1, 2.0])
def test_a_scaled_table_is_noticed(scale: float) -> None:
    """A table that was scaled by itself does not fit the number of rows."""
    table, moments, rectifier = window(np.random.default_rng(5), rows=6000, cells=4, groups=6, sigmas=SIGMAS)
    assert channels_disagree(table * scale, moments, rectifier * 0, SIGMAS) == "channels_disagree"
