"""What measurements would cost each member, before anyone approves them: by channel, by period, alone and together.

Every figure is the roles' own: noise of ``plan_noise``, sums of ``privacy.budget`` as the registry and the ledgers
make them, epsilon of the accountant. ``streams.report.budget`` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from privacy import (
    PERIOD_DAYS,
    Limits,
    Measurement,
    NoisePlan,
    Period,
    PrivacyStatement,
    RegistryBudgetError,
    check_registry_budget,
    live_revisions,
    next_boundary_ms,
    peak_spending,
    plan_noise,
)
from privacy.spend import UNITS_PER_ROW, Relation
from streams.errors import InputError


@dataclass(frozen=True)
class ChannelBudget:
    """What one channel of one level gets.

    Attributes:
        share: of the measurement's rho. rho, rho_add_remove: of a member-day (zCDP).
        l2_rows, l2_rows_add_remove: sensitivity of a member-day, in rows.
        sigma_rows: standard deviation of one party's noise on an entry, rows; published_sigma_rows: of both parties'.
    """

    level: str
    channel: str
    share: float
    rho: float
    rho_add_remove: float
    l2_rows: float
    l2_rows_add_remove: float
    sigma_rows: float
    published_sigma_rows: float


@dataclass(frozen=True)
class MeasurementBudget:
    """One measurement.

    Attributes:
        rho_member_day: what is debited.
        channels: in the order of the levels, the base first. statements: for a day, any 30 days, any year.
    """

    measurement: Measurement
    rho_member_day: float
    channels: tuple[ChannelBudget, ...]
    statements: tuple[PrivacyStatement, ...]


@dataclass(frozen=True)
class PeriodBudget:
    """What all measurements together debit in a period, next to the registry's limit (rho, on replacement)."""

    period: Period
    debited: float
    limit: float


@dataclass(frozen=True)
class BudgetPlan:
    """The result.

    Attributes:
        together: the promise of all measurements, at the smallest of their deltas. periods: against the limits.
        refusal: why the registry would not take them; None where it would.
    """

    measurements: tuple[MeasurementBudget, ...]
    together: tuple[PrivacyStatement, ...]
    periods: tuple[PeriodBudget, ...]
    refusal: str | None


def plan_budget(measurements: Sequence[Measurement], limits: Limits, now_ms: int) -> BudgetPlan:
    """Work out what measurements cost, each and together.

    One that does not say when it takes effect begins as it would if it were approved now; one that does not expire is
    counted as if it ran for ever.

    Args:
        measurements: at least one. limits: the registry's. now_ms: epoch milliseconds.

    Raises:
        InputError: a revision comes twice.
        MeasurementError: one has expired already.
    """
    measurements = [
        spec if spec.effective_from is not None else spec.with_effective_from(next_boundary_ms(spec, now_ms))
        for spec in measurements
    ]
    known: set[tuple[str, int]] = set()
    for spec in measurements:
        if (spec.id, spec.revision) in known:
            raise InputError(f"revision {spec.revision} of {spec.id!r} is named twice; name each spec once")
        known.add((spec.id, spec.revision))
    plans = [plan_noise(spec) for spec in measurements]
    try:
        check_registry_budget(measurements, limits)
        refusal = None
    except RegistryBudgetError as error:
        refusal = str(error)
    live = live_revisions(measurements)
    return BudgetPlan(
        measurements=tuple(
            MeasurementBudget(spec, spec.privacy.rho_member_day, _channels(spec, plan), _statements([spec], [plan]))
            for spec, plan in zip(measurements, plans, strict=True)
        ),
        together=_statements(measurements, plans),
        periods=tuple(
            PeriodBudget(period, peak_spending(live, days).rho, limits.of(period))
            for period, days in PERIOD_DAYS.items()
        ),
        refusal=refusal,
    )


def _channels(spec: Measurement, plan: NoisePlan) -> tuple[ChannelBudget, ...]:
    found = []
    for level in spec.levels:
        noises = plan.level(level.name).channels
        shares = spec.channel_shares(level.name)
        for spend in plan.spends[level.name]:
            noise = noises[spend.channel]
            found.append(
                ChannelBudget(
                    level=level.name,
                    channel=spend.channel,
                    share=spec.level_shares[level.name] * shares[spend.channel],
                    rho=spend.rho["replace"],
                    rho_add_remove=spend.rho["add_remove"],
                    l2_rows=spend.l2_units["replace"] / UNITS_PER_ROW,
                    l2_rows_add_remove=spend.l2_units["add_remove"] / UNITS_PER_ROW,
                    sigma_rows=noise.sigma_rows,
                    published_sigma_rows=noise.published_sigma_rows,
                )
            )
    return tuple(found)


def _statements(measurements: Sequence[Measurement], plans: Sequence[NoisePlan]) -> tuple[PrivacyStatement, ...]:
    """The promise over each period of these measurements together, by what their noise really costs."""
    delta = min(plan.delta for plan in plans)
    return tuple(
        PrivacyStatement.of(
            period,
            rho=_most(measurements, plans, "replace", days),
            rho_add_remove=_most(measurements, plans, "add_remove", days),
            delta=delta,
        )
        for period, days in PERIOD_DAYS.items()
    )


def _most(measurements: Sequence[Measurement], plans: Sequence[NoisePlan], relation: Relation, days: int) -> float:
    rho = {(plan.measurement, plan.revision): plan.rho(relation) for plan in plans}
    live = live_revisions(measurements)
    return peak_spending([replace(one, rho=rho[one.measurement, one.revision]) for one in live], days).rho
