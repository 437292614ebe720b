"""Noise: the discrete Gaussian, from OpenDP and from nowhere else.

Noise is drawn on a vector of zeros and added in the ring by the caller: OpenDP's i64 saturates at its ends and its u64
clamps, so it must never see a share. OpenDP's sampler takes its randomness from the operating system.

Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020); zCDP: Bun and Steinke (2016).
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opendp import domains, metrics, mod


@lru_cache(maxsize=1)
def _opendp() -> SimpleNamespace:
    """OpenDP's parts, once they are needed: seal and attach, which draw no noise, start without them."""
    from opendp import measurements  # not its prelude, which loads scikit-learn and pandas

    mod.enable_features("contrib")
    return SimpleNamespace(domains=domains, measurements=measurements, metrics=metrics, mod=mod)


def _space(size: int) -> tuple[Any, Any]:
    domains, metrics = _opendp().domains, _opendp().metrics
    return domains.vector_domain(domains.atom_domain(T="i64"), size=size), metrics.l2_distance(T=float)


@lru_cache(maxsize=256)
def _mechanism(size: int, scale_units: float) -> Any:
    return _opendp().measurements.make_gaussian(*_space(size), scale=scale_units)


@lru_cache(maxsize=1024)
def scale_for(l2_units: float, rho: float) -> float:
    """The smallest scale (fixed-point units) at which OpenDP grants ``rho`` zCDP at this L2 sensitivity (units).

    OpenDP searches for it in some sixty steps (0.1 s), and every plan of a measurement asks for the same few: kept.
    """
    mod, measurements, space = _opendp().mod, _opendp().measurements, _space(1)
    return float(
        mod.binary_search_param(lambda scale: measurements.make_gaussian(*space, scale=scale), d_in=l2_units, d_out=rho)
    )


@lru_cache(maxsize=1024)
def rho_of(l2_units: float, scale_units: float) -> float:
    """The zCDP rho that OpenDP grants at this scale and L2 sensitivity (units)."""
    return float(_mechanism(1, scale_units).map(l2_units))


def sample(size: int, scale_units: float) -> NDArray[np.int64]:
    """Draw ``size`` independent discrete Gaussians on zeros: shape (size,), int64, fixed-point units.

    It takes no values on purpose: whatever is to be noised is added by the caller, in the ring.
    """
    return np.array(_mechanism(size, scale_units)([0] * size), dtype=np.int64)
