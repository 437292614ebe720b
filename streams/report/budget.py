"""A budget plan, as text or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from privacy import Measurement, Period, PrivacyStatement
from privacy.limits import PERIOD_NAMES
from streams.budget_plan import BudgetPlan, MeasurementBudget
from streams.report.numbers import shown_epsilon

_CHANNELS = ("level", "channel", "share", "rho", "rho add/remove", "L2", "L2 add/remove", "sigma", "published sigma")
_COSTS = ("over", "rho", "epsilon", "rho add/remove", "epsilon add/remove")
_NOTES = (
    "share: of the measurement's rho. L2: how far a member-day moves all windows of the level together, in rows; sigma "
    "and published sigma: noise of an entry of any window, of one party and of both, in rows. A level's windows share "
    "one budget: nothing composes over windows within a day.",
    "rho is zCDP and epsilon its OpenDP conversion, on replacing a member's secret (group probabilities, Self-ID); "
    "add/remove: on its rows counting or not.",
)


def yaml_line(measurement: Measurement) -> str:
    """The line of the spec that a solved measurement needs."""
    return f"  rho_member_day: {measurement.privacy.rho_member_day:.6g}"


def as_text(plan: BudgetPlan, console: Console) -> None:
    """Print it."""
    for one in plan.measurements:
        _line(console, title(one))
        _table(console, "what each level and channel gets", _CHANNELS, _channel_rows(one))
        _table(console, f"what a member pays, {_days(one.measurement)}", _COSTS, _cost_rows(one.statements))
    if len(plan.measurements) > 1:
        names = ", ".join(one.measurement.id for one in plan.measurements)
        _table(console, f"together: {names}", _COSTS, _cost_rows(plan.together))
    limits = [
        [PERIOD_NAMES[p.period], f"{p.debited:.4g}", f"{p.limit:.4g}", "yes" if p.debited <= p.limit + 1e-9 else "NO"]
        for p in plan.periods
    ]
    _table(console, "next to the registry's limits", ("over", "rho debited", "limit", "fits"), limits)
    if plan.refusal is not None:
        _line(console, f"The registry would refuse it: {plan.refusal}")
    for note in _NOTES:
        _line(console, note)


def title(one: MeasurementBudget) -> str:
    """Whose budget it is, with its cap and its delta."""
    spec, terms = one.measurement, one.measurement.privacy
    test = " TEST NOISE: it protects nobody." if spec.test_only is not None else ""
    return (
        f"{spec.id}, revision {spec.revision}: rho {one.rho_member_day:.6g} a member-day, at most "
        f"{terms.contribution_cap} row{'s' * (terms.contribution_cap > 1)} of it count ({terms.cap_rule}), delta "
        f"{terms.delta:g}.{test}"
    )


def _days(spec: Measurement) -> str:
    terms = spec.privacy
    when = f"on at most {terms.days_in_30} days in 30 and {terms.days_in_year} in 365"
    if spec.effective_from is not None:
        when += f", from {spec.effective_from:%F}"
    if spec.expires is not None:
        when += f", until {spec.expires:%F}"
    return when


def _channel_rows(one: MeasurementBudget) -> Iterable[Sequence[str]]:
    for c in one.channels:
        yield (
            c.level,
            c.channel,
            f"{100 * c.share:.3g} %",
            f"{c.rho:.4g}",
            f"{c.rho_add_remove:.4g}",
            f"{c.l2_rows:.4g}",
            f"{c.l2_rows_add_remove:.4g}",
            f"{c.sigma_rows:.4g}",
            f"{c.published_sigma_rows:.4g}",
        )


def _cost_rows(statements: Iterable[PrivacyStatement]) -> Iterable[Sequence[str]]:
    for s in statements:
        yield (
            PERIOD_NAMES[s.period],
            f"{s.rho:.4g}",
            f"{shown_epsilon(s.epsilon)} at {s.delta:g}",
            f"{s.rho_add_remove:.4g}",
            f"{shown_epsilon(s.epsilon_add_remove)} at {s.delta:g}",
        )


def _table(console: Console, caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    shown = Table(title=caption, title_justify="left", title_style="bold")
    for column in columns:
        shown.add_column(column)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def as_json(plan: BudgetPlan, target: tuple[float, Period] | None = None) -> dict[str, Any]:
    """Everything, as JSON has it.

    Args:
        target: (epsilon, period) that each measurement's rho_member_day was solved for.
    """
    return {
        "solved_for": None if target is None else {"epsilon": target[0], "per": target[1], "relation": "replace"},
        "measurements": [
            {
                "measurement": one.measurement.id,
                "revision": one.measurement.revision,
                "contribution_cap": one.measurement.privacy.contribution_cap,
                "days_in_30": one.measurement.privacy.days_in_30,
                "days_in_year": one.measurement.privacy.days_in_year,
                "rho_member_day": one.rho_member_day,
                "test_only": one.measurement.test_only is not None,
                "channels": [asdict(channel) for channel in one.channels],
                "statements": [asdict(statement) for statement in one.statements],
            }
            for one in plan.measurements
        ],
        "together": [asdict(statement) for statement in plan.together],
        "limits": [asdict(period) for period in plan.periods],
        "refusal": plan.refusal,
    }
