"""Alerts on what was promised: budgets, approvals, and keys that are destroyed in time."""

from __future__ import annotations

from streams.watch.rules.alert import Alert, Duration, Group, Number
from streams.watch.rules.promql import risen

_HOUR = 3_600_000

RELEASE_REFUSED = Alert(
    name="EvenstreamReleaseRefused",
    meaning="a party's budget forbade a release, or publish did not take one in",
    severity="critical",
    keeps="1h",
    expr=risen("evenstream_releases_refused_total", "measurement, party, reason", "$window", "$memory") + "\n> 0",
    summary="A release of party {{ $labels.party }} was refused: {{ $labels.reason }}",
    description=(
        "Measurement {{ $labels.measurement }}: its ledger forbids the release (budget_exceeded_...), or publish did "
        "not take the release in. The window is void or missing."
    ),
    parameters=(
        Duration("window", _HOUR // 4, "how long a refusal is new"),
        Duration("memory", 6 * _HOUR, "how long publish may be away without one being missed"),
    ),
)

BUDGET_LOW = Alert(
    name="EvenstreamBudgetLow",
    meaning="in 14 days, if all that is approved goes on, more than this share of a member's budget is spent",
    severity="warning",
    holds="6h",
    expr='max by (period) (evenstream_privacy_period_forecast_ratio{period=~"30-days|year"}) > $threshold',
    summary="In 14 days {{ $value | humanizePercentage }} of a member's {{ $labels.period }} budget will be spent",
    description=(
        "If all that is approved goes on, one member can have spent so much of the limit on rho. Past the limit the "
        "parties refuse to release."
    ),
    parameters=(Number("threshold", 0.9, "share of the limit on rho"),),
)

APPROVAL_EXPIRING = Alert(
    name="EvenstreamApprovalExpiring",
    meaning="the approval of a measurement that is scheduled or active ends within so long",
    severity="warning",
    holds="1h",
    expr="""
max by (measurement) (evenstream_measurement_expiry_timestamp_seconds) - time() < ${threshold_seconds}
and on (measurement)
max by (measurement) (evenstream_measurement_info{state=~"scheduled|active"}) == 1
""",
    summary="The approval of {{ $labels.measurement }} ends in {{ $value | humanizeDuration }}",
    description=(
        "No window that starts after that is counted or released. Going on takes a new revision with new approvals."
    ),
    parameters=(Duration("threshold", 14 * 24 * _HOUR, "time left"),),
)

KEY_NOT_DESTROYED = Alert(
    name="EvenstreamKeyNotDestroyed",
    meaning="a role still holds a private key that began so many lifetimes ago",
    severity="critical",
    holds="15m",
    # Before the first punctuation no epoch ends, and there is nothing that the key could open.
    expr="""
(time() - min by (role, kind) (evenstream_oldest_private_key_timestamp_seconds))
/ max by (role, kind) (evenstream_private_key_lifetime_seconds)
> $threshold
and on (role)
max by (role) (evenstream_watermark_timestamp_seconds) > 0
""",
    summary=(
        'Role {{ $labels.role }} holds {{ if eq $labels.kind "epoch" }}an epoch{{ else }}a state{{ end }} key that '
        "should be destroyed"
    ),
    description=(
        "It began {{ $value | humanize }} lifetimes ago. What Kafka still holds of the rows that it opens is readable"
        " to whoever gets that role's keys."
    ),
    parameters=(Number("threshold", 2, "lifetimes of such a key"),),
)

PROMISES = Group("evenstream-promises", (RELEASE_REFUSED, BUDGET_LOW, APPROVAL_EXPIRING, KEY_NOT_DESTROYED))
