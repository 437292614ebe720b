"""From epsilon back to rho."""

from __future__ import annotations

import pytest

from privacy import epsilon, rho_of_epsilon


@pytest.mark.parametrize(("wanted", "delta"), [(0.05, 1e-9), (1.0, 1e-6), (5.2, 1e-6), (20.0, 1e-9)])
def test_rho_of_epsilon_inverts_epsilon(wanted: float, delta: float) -> None:
    """The rho found never promises less than was asked, and a hundred-thousandth more of it would."""
    rho = rho_of_epsilon(wanted, delta)
    assert epsilon(rho, delta) <= wanted < epsilon(rho * (1 + 1e-5), delta)


@pytest.mark.parametrize(("wanted", "delta"), [(0.0, 1e-9), (-1.0, 1e-9), (float("inf"), 1e-9), (1.0, 0.0), (1.0, 1.0)])
def test_numbers_out_of_range_are_refused(wanted: float, delta: float) -> None:
    """An epsilon or a delta that promises nothing is an error."""
    with pytest.raises(ValueError, match="expected"):
        rho_of_epsilon(wanted, delta)
