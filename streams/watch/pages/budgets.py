"""Budgets: what each measurement, and all together, may cost a member and have cost one, beside the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape

from privacy import PERIOD_DAYS, LiveRevision, Period, live_revisions, peak_spending
from privacy.accountant import promised_epsilon
from privacy.budget import day_name
from privacy.limits import PERIOD_NAMES
from streams.control import Approved, revoked_at_ms
from streams.ledger_view import smallest_delta
from streams.report import page
from streams.report.numbers import shown_epsilon
from streams.watch.pages.base import rich_table
from streams.watch.pages.glossary import term
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Snapshot
from streams.watch.spending import Spending

TOGETHER = "all together"
_ENDING: dict[Period, str] = {"member-day": "that day", "30-days": "30 days to it", "year": "365 days to it"}
_NOTHING: dict[Period, float] = dict.fromkeys(PERIOD_DAYS, 0.0)


@dataclass(frozen=True)
class _Line:
    """A measurement's costs, or those of all together: rho by period.

    Attributes:
        protects: whether its noise protects anyone; test noise does not.
    """

    name: str
    protects: bool
    allowed: Mapping[Period, float]
    spent: Mapping[Period, float]

    def shown(self, rho: float, delta: float) -> str:
        """Rho of it as an epsilon, with both."""
        return _both(promised_epsilon(rho, delta) if self.protects else None, rho)


def _both(epsilon: float | None, rho: float) -> str:
    return f"{shown_epsilon(epsilon)} (rho {rho:.4g})"


@lru_cache(maxsize=8)
def _allowed(live: tuple[LiveRevision, ...]) -> dict[str, dict[Period, float]]:
    """The most that one member can ever spend in each period, by measurement and together (rho)."""
    found = {}
    for name in [*sorted({one.measurement for one in live}), TOGETHER]:
        own = [one for one in live if name in (TOGETHER, one.measurement)]
        found[name] = {period: peak_spending(own, days).rho for period, days in PERIOD_DAYS.items()}
    return found


def _lines(entries: Sequence[Approved], spending: Spending) -> list[_Line]:
    """By measurement, and at last together."""
    unprotected = {entry.measurement.id for entry in entries if entry.measurement.test_only is not None}
    live = live_revisions([entry.measurement for entry in entries], revoked_at_ms(entries))
    allowed = _allowed(tuple(live))
    spent = {**spending.by_measurement, TOGETHER: spending.together}
    names = [*sorted({*allowed, *spent} - {TOGETHER}), TOGETHER]
    return [
        _Line(
            name,
            not unprotected if name == TOGETHER else name not in unprotected,
            allowed.get(name, _NOTHING),
            spent.get(name, _NOTHING),
        )
        for name in names
    ]


def render(snapshot: Snapshot, params: Params) -> Iterable[str]:
    """The page."""
    yield (
        f"<p>Every {term('measurement')} costs its {term('member', 'members')} some privacy. What all of them together "
        "may cost one member is limited over three periods: a measurement that does not fit is refused, and a window "
        f"that would pass a limit is {term('void')}.</p>"
    )
    spending, entries = snapshot.of(Spending), [shown.approved for shown in snapshot.shown]
    if spending is None:
        yield page.paragraph("What was spent is still being read.", "notice")
        return
    if not entries:
        yield page.paragraph("No measurement is approved: nothing is spent.", "lead")
        return
    delta, lines = smallest_delta(entry.measurement for entry in entries), _lines(entries, spending)
    yield page.paragraph(_summary(lines[-1], spending, delta), "lead")
    yield (
        f"<p>{term('epsilon', 'Epsilon')} says how much of what is published may change if one member's "
        f"{term('group probabilities')} and {term('self-id', 'Self-ID')} were replaced by any others "
        f"({term('relation')}: replacement), at {term('delta')} {delta:g}. {term('rho', 'Rho')} is the unit in which "
        "spending adds up. Each is the most for any one member.</p>"
    )
    if not lines[-1].protects:
        yield page.paragraph("At least one measurement is marked test_only: its noise protects nobody.", "notice")
    yield _table(
        "What the signed terms allow, at most", PERIOD_NAMES, lines, lambda line: line.allowed, spending, delta
    )
    caption = f"What the windows released so far have cost, up to {day_name(spending.day)} (UTC)"
    yield _table(caption, _ENDING, lines, lambda line: line.spent, spending, delta)
    yield page.paragraph(
        "Measurements may reach their most on different days, so the rows need not add up to the last one. A party's "
        "ledger may hold a few days more than were released; whoever may read it checks it with: "
        "evenstream ledger verify."
    )


def _summary(together: _Line, spending: Spending, delta: float) -> str:
    """The year in a sentence."""
    spent, limit = together.spent["year"], spending.limits.of("year")
    share = f"{100 * spent / limit:.0f} % (of rho)"
    if not together.protects:
        return f"In the 365 days up to {day_name(spending.day)}, {share} of what may be spent was spent, by test noise."
    told, most = (shown_epsilon(promised_epsilon(rho, delta)) for rho in (spent, limit))
    return (
        f"In the 365 days up to {day_name(spending.day)}, one member can have spent {share} of what is allowed: "
        f"epsilon {told} of {most}, on replacement, at delta {delta:g}."
    )


def _table(
    caption: str,
    periods: Mapping[Period, str],
    lines: Sequence[_Line],
    costs: Callable[[_Line], Mapping[Period, float]],
    spending: Spending,
    delta: float,
) -> str:
    rows = [[line.name, *(line.shown(costs(line)[period], delta) for period in PERIOD_DAYS)] for line in lines]
    limits = [spending.limits.of(period) for period in PERIOD_DAYS]
    rows.append(["the limit, of all together", *(_both(promised_epsilon(rho, delta), rho) for rho in limits)])
    columns = ("Measurement", *(f"Epsilon, {periods[period]}" for period in PERIOD_DAYS))
    return rich_table(
        columns, [[escape(cell) for cell in row] for row in rows], f"{caption}: epsilon on replacement, delta {delta:g}"
    )


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON; null while it is still being read. Rho is never rounded."""
    spending, entries = snapshot.of(Spending), [shown.approved for shown in snapshot.shown]
    if spending is None:
        return {"measurements": None}
    delta = smallest_delta(entry.measurement for entry in entries)

    def costs(line: _Line, rhos: Mapping[Period, float]) -> dict[str, object]:
        return {
            period: {"rho": rho, "epsilon": promised_epsilon(rho, delta) if line.protects else None}
            for period, rho in rhos.items()
        }

    return {
        "relation": "replace",
        "unit": "one member",
        "delta": delta,
        "last_day": day_name(spending.day),
        "limits": {
            period: {"rho": spending.limits.of(period), "epsilon": promised_epsilon(spending.limits.of(period), delta)}
            for period in PERIOD_DAYS
        },
        "measurements": [
            {
                "measurement": None if line.name == TOGETHER else line.name,
                "allowed": costs(line, line.allowed),
                "spent": costs(line, line.spent),
            }
            for line in _lines(entries, spending)
        ],
    }


PAGES = (Page("/budgets", "What it costs members", render, data, nav="Budgets"),)
