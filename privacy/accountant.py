"""The accountant: adds up what was spent, and says what that promises.

Within a member-day, levels and channels compose by adding their rho (zCDP, Bun and Steinke 2016, lemma 1.7); so do
days. OpenDP turns a sum into (epsilon, delta). An epsilon is never shown without its unit, relation, delta and period,
so they travel together in one `PrivacyStatement`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import opendp.prelude as dp

from privacy.spend import Relation, Spend

dp.enable_features("contrib")

_RHO_OF_NO_PROMISE = 100.0  # epsilon is then beyond 100: a number that would only look like a promise


@dataclass(frozen=True)
class PrivacyStatement:
    """A promise with all that belongs to it.

    Attributes:
        unit: whose what is protected.
        period: over which time rho and epsilon are counted.
        rho, rho_add_remove: zCDP, on replacement and on adding or removing the unit.
        epsilon, epsilon_add_remove: the same as (epsilon, delta)-DP; None where rho is beyond any promise, as with
            ``test_only`` noise.
        delta: of both epsilons.
        relation: the relation of ``rho`` and ``epsilon``.
    """

    unit: str
    period: str
    rho: float
    epsilon: float | None
    rho_add_remove: float
    epsilon_add_remove: float | None
    delta: float
    relation: Relation = "replace"


@lru_cache(maxsize=1024)
def epsilon(rho: float, delta: float) -> float:
    """(epsilon, delta)-DP of rho-zCDP, by OpenDP's conversion.

    Args:
        rho: zCDP, finite, not negative.
        delta: above 0 and below 1.

    Raises:
        ValueError: rho or delta is out of range.
    """
    if not (math.isfinite(rho) and rho >= 0 and 0 < delta < 1):
        raise ValueError(f"expected a finite rho from 0 and a delta between 0 and 1, got rho {rho}, delta {delta}")
    # A Gaussian of scale 1 at distance d spends rho = d^2 / 2: the probe only carries rho into OpenDP's converter.
    probe = dp.c.make_zCDP_to_approxDP(
        dp.m.make_gaussian(dp.atom_domain(T="i64"), dp.absolute_distance(T=float), scale=1.0)
    )
    profile: Any = probe.map(math.sqrt(2 * rho))  # type: ignore[no-untyped-call]  # OpenDP publishes no types here
    return float(profile.epsilon(delta))


def rho_of_epsilon(wanted: float, delta: float) -> float:
    """The largest rho whose (epsilon, delta) is at most ``wanted``, by bisection, to a millionth of it.

    Args:
        wanted: epsilon, above 0 and finite.
        delta: above 0 and below 1.

    Raises:
        ValueError: epsilon or delta is out of range.
    """
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"expected a finite epsilon above 0, got {wanted}")
    # Bun and Steinke's epsilon = rho + 2 sqrt(rho log(1 / delta)) is never below OpenDP's: a rho to begin with.
    low = (math.sqrt(wanted - math.log(delta)) - math.sqrt(-math.log(delta))) ** 2 if 0 < delta < 1 else 0.0
    high = 1.5 * low
    while epsilon(high, delta) <= wanted:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if epsilon(middle, delta) <= wanted:
            low = middle
        else:
            high = middle
    return low


def composed(spends: Iterable[Spend], relation: Relation) -> float:
    """Rho of all spends together on one relation: under zCDP they add up."""
    return math.fsum(spend.rho for spend in spends if spend.relation == relation)


def member_day_statement(spends: Iterable[Spend], delta: float) -> PrivacyStatement:
    """What spends of one member-day promise together."""
    spends = tuple(spends)
    replace, add_remove = composed(spends, "replace"), composed(spends, "add_remove")
    return PrivacyStatement(
        unit="one member's rows of one UTC day",
        period="member-day",
        rho=replace,
        epsilon=_promise(replace, delta),
        rho_add_remove=add_remove,
        epsilon_add_remove=_promise(add_remove, delta),
        delta=delta,
    )


def _promise(rho: float, delta: float) -> float | None:
    return epsilon(rho, delta) if rho <= _RHO_OF_NO_PROMISE else None
