"""What the demo says at its end: published, without noise, and the truth, side by side; and whether it all holds."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from estimator import GROUPS
from streams import acl
from streams.demo.alarm_watch import ALERT
from streams.demo.in_words import in_words
from streams.demo.live import FEED, MINUTE_MS, PRIMARIES, Schedule, Seen, firing_line, shown_interval
from streams.demo.stack import DemoStack
from streams.demo.truth import ExactRates, SimulatedTruth
from streams.demo.verdict import judge, judge_alarms, result_of
from streams.kafka import acls
from streams.records.metric import FairnessMetric, Result

_THREE_THINGS = (
    "Kept apart above: [bold]weighted[/bold] and [bold]corrected[/bold], as published, with noise and 95 % intervals; "
    "[bold]no noise[/bold], the weighted estimate of the same rows; [bold]truth[/bold], what really happened. The "
    "weighted estimate understates gaps by design, since a name and a place only hint at race; the corrected one does "
    "not, where what is measured depends on place through race alone (docs/estimators.md)."
)

_SHOWN_FIRINGS = 5


def summarise(
    console: Console,
    stack: DemoStack,
    schedule: Schedule,
    seen: Seen,
    truth: SimulatedTruth,
    primaries: dict[str, ExactRates],
) -> bool:
    """Print the summary; True where every condition of the demo holds."""
    minutes = {end_ms: seen.window(FEED, "1m", end_ms) for end_ms in (schedule.turn_ms, schedule.end_ms)}
    exact = {end_ms: truth.recommendation(end_ms - MINUTE_MS, end_ms) for end_ms in minutes}
    for end_ms, name in ((schedule.turn_ms, "fair minute"), (schedule.end_ms, "unfair minute")):
        _compare(console, f"{FEED}, {name}: recommendation rate", minutes[end_ms], "recommendation_rate", exact[end_ms])
    log_window = seen.window(PRIMARIES, "1m", schedule.turn_ms)
    for metric, text in (("recommendation_rate", "endorsed"), ("precision", "won, given endorsed")):
        _compare(console, f"{PRIMARIES} (real candidates): {text}", log_window, metric, primaries[metric])
    console.print(_THREE_THINGS)
    _figures(console, stack, seen)
    conditions = judge(
        minutes[schedule.turn_ms],
        minutes[schedule.end_ms],
        seen.windows,
        {end_ms: rates.rows for end_ms, rates in exact.items()},
        exact[schedule.end_ms].truth["black"] - exact[schedule.end_ms].truth["white"],
    )
    conditions.append(judge_alarms(seen.firings, FEED, schedule.turn_ms / 1000))
    _alerts(console, schedule, seen)
    unfair = minutes[schedule.end_ms]
    if unfair is not None and unfair.status == "published":
        console.print("In words, the unfair minute:", style="bold")
        for sentence in in_words(unfair, length_ms=MINUTE_MS):
            console.print(f"  {sentence}", highlight=False, markup=False)
    for condition in conditions:
        mark = "[green]holds[/green]" if condition.holds else "[red]FAILS[/red]"
        console.print(f"{mark}  {condition.text}", highlight=False)
    return all(condition.holds for condition in conditions)


def _figures(console: Console, stack: DemoStack, seen: Seen) -> None:
    refused = stack.refused()
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items())) or "none"
    sent = f"{seen.sent[FEED]:,} simulated, {seen.sent[PRIMARIES]:,} of the primaries log"
    console.print(f"events in: {sent}; rows refused at seal: {reasons}")
    released = {name: sum(w.measurement == name for w in seen.windows) for name in (FEED, PRIMARIES)}
    console.print(f"windows released: {released[FEED]} of {FEED}, {released[PRIMARIES]} of {PRIMARIES}")
    for name, cost in sorted({w.measurement: w.privacy for w in seen.windows if w.privacy}.items()):
        epsilon = "unbounded" if cost.epsilon is None else f"{cost.epsilon:.2f}"
        console.print(
            f"spent on each member's day by {name}: rho {cost.rho:g}, epsilon {epsilon} at delta {cost.delta:g} "
            "(replacing a member's race probabilities)"
        )
    if seen.delays:
        ordered = sorted(1000 * delay for delay in seen.delays)
        console.print(
            f"window end plus lateness until visible on /metrics, {len(ordered)} windows at "
            f"{stack.settings.topics.partitions} partitions: median {ordered[len(ordered) // 2]:.0f} ms, "
            f"p99 (here the largest) {ordered[-1]:.0f} ms; target p99 500 ms"
        )
    if stack.secure:
        console.print(_security(stack), highlight=False)
    if stack.restarts:
        console.print(f"roles that had to be restarted: {stack.restarts} (see the logs)")


def _alerts(console: Console, schedule: Schedule, seen: Seen) -> None:
    """What an SRE would have seen."""
    console.print("What an SRE would have seen (a page, within one scrape of Prometheus more):", style="bold")
    for firing in seen.firings[:_SHOWN_FIRINGS]:
        console.print(f"  {firing_line(firing, schedule)}", highlight=False, markup=False)
    left = len(seen.firings) - _SHOWN_FIRINGS
    if left > 0:
        console.print(f"  and {left} more (metrics and levels that the same turn touches)", highlight=False)
    if not seen.firings:
        console.print("  nothing", highlight=False)
    console.print(f"  what to do then: docs/runbooks/{ALERT}.md; nothing changes a ranking by itself", highlight=False)


def _security(stack: DemoStack) -> str:
    """What protected Kafka, as its ACLs are now."""
    rules = acl.rules(stack.settings)
    differences = acls.differences(stack.settings_of("admin"), rules).lines()
    principals = len({rule.principal for rule in rules})
    found = f"{len(acls.bindings(rules))} ACLs, precisely those of `evenstream acl list`"
    if differences:
        found = f"ACLs that differ from `evenstream acl list`: {'; '.join(differences)}"
    return f"Kafka was secured: TLS, SCRAM, StandardAuthorizer; {principals} principals, one a role, with {found}"


def _compare(console: Console, title: str, window: FairnessMetric | None, metric: str, exact: ExactRates) -> None:
    if window is None or window.table is None:
        console.print(f"{title}: nothing was published")
        return
    table = Table(title=title, title_justify="left")
    for column in ("group", "weighted", "no noise", "truth", "gap weighted", "gap corrected", "gap truth"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for group in GROUPS:
        result = result_of(window, metric, group)
        published = f"({result.suppressed})"
        if result.value is not None:
            published = f"{result.value.estimate:.3f} [{result.value.lower:.3f}, {result.value.upper:.3f}]"
        corrected = result_of(window, metric, group, "corrected")
        gaps = shown_interval(result.gap), _corrected_gap(corrected), _true_gap(exact, group, window.reference)
        table.add_row(group, published, *_rates(exact, group), *gaps)
    console.print(table)


def _corrected_gap(result: Result) -> str:
    """A pool's gap is not its group's; which groups a pool holds is in the record."""
    return "(pooled)" if "+" in result.group else shown_interval(result.gap)


def _rates(exact: ExactRates, group: str) -> tuple[str, str]:
    return _shown(exact.weighted[group], ".3f"), _shown(exact.truth[group], ".3f")


def _true_gap(exact: ExactRates, group: str, reference: str) -> str:
    return "-" if group == reference else _shown(exact.truth[group] - exact.truth[reference], "+.3f")


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
