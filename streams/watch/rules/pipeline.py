"""Alerts on the roles: that they run, read on, and read what they should."""

from __future__ import annotations

from streams.watch.health import ROLES
from streams.watch.rules.alert import Alert, Duration, Group, Number, Roles

_MINUTE = 60_000

ROLE_DOWN = Alert(
    name="EvenstreamRoleDown",
    meaning="a role is not there, or a worker of seal or attach is missing that the layout has a part for",
    severity="critical",
    holds="3m",
    # One worker of several is enough for `absent` to be silent, while the partitions of the others stand still. The
    # layout says how many have a part; one that stands by has a number that is no part.
    expr="""
$absent_roles
or
max by (role) (evenstream_layout_shards{role=~"$roles"})
- (
  count by (role) (count_values by (role) ("shard", evenstream_layout_shard < evenstream_layout_shards))
  or
  0 * max by (role) (evenstream_layout_shards)
)
> 0
""",
    summary="Role {{ $labels.role }} is down, or {{ $value }} of its workers",
    description="No window closes without it. What it has not read waits in Kafka; it goes on from there.",
    parameters=(Roles("roles", ROLES, "whose absence is noticed: those that this Prometheus scrapes"),),
)

PARTITION_STALLED = Alert(
    name="EvenstreamPartitionStalled",
    meaning="a partition holds a record that is unread for longer than this, and nothing of it was read for as long",
    severity="critical",
    holds="2m",
    keeps="5m",
    # Where a role has just started there is no progress yet, and what it does not take in is as stalled.
    expr="""
max by (role, topic, partition) (evenstream_partition_lag_seconds) > ${threshold_seconds}
unless on (role, topic, partition)
time() - max by (role, topic, partition) (evenstream_partition_progress_timestamp_seconds) <= ${threshold_seconds}
""",
    summary="Role {{ $labels.role }} does not read {{ $labels.topic }} [{{ $labels.partition }}]",
    description=(
        "Its oldest unread record is {{ $value | humanizeDuration }} old, and the role takes nothing in. Every "
        "window waits for this partition."
    ),
    parameters=(Duration("threshold", 2 * _MINUTE, "without progress"),),
)

SEQUENCE_GAP = Alert(
    name="EvenstreamSequenceGap",
    meaning="the protocol stopped a partition: batches are missing, or one breaks it",
    severity="critical",
    keeps="1h",
    # A role that stops a partition right after its start is first seen with a count of 1, which is no increase.
    expr="""
sum by (role, topic) (increase(evenstream_sequence_gaps_total[$window])) > 0
or
(
  sum by (role, topic) (evenstream_sequence_gaps_total) > 0
  unless
  sum by (role, topic) (evenstream_sequence_gaps_total offset $window)
)
""",
    summary="Role {{ $labels.role }} has stopped a partition of {{ $labels.topic }}",
    description=(
        "It will not count short in silence. All windows wait until what is missing is restored, or given up by an "
        "operator."
    ),
    parameters=(Duration("window", 15 * _MINUTE, "how long a stop is new"),),
)

CONTROL_HELD_BACK = Alert(
    name="EvenstreamControlHeldBack",
    meaning="an open transaction hides what is behind it on a control topic, for longer than this",
    severity="critical",
    holds="1m",
    # Each role tells for itself; one that sees it is enough, and all of them do.
    expr="max by (topic) (evenstream_control_held_back_seconds) > ${threshold_seconds}",
    summary="An open transaction hides what is behind it on {{ $labels.topic }}, for {{ $value | humanizeDuration }}",
    description=(
        "Revocations, skips, new epochs and layouts behind it reach no role. While it is on measurements, the parties "
        "release nothing."
    ),
    parameters=(Duration("threshold", _MINUTE // 2, "held back"),),
)

OUTAGE_HALF_RETENTION = Alert(
    name="EvenstreamOutageHalfRetention",
    meaning="something is unread for more than this share of the time that Kafka keeps it",
    severity="critical",
    holds="5m",
    # A role that is up tells how old its oldest unread record is; of a party that is down publish knows since when it
    # has released nothing.
    expr="""
max by (role, topic, partition) (evenstream_retention_used_ratio) > $threshold
or
max by (measurement, party) (evenstream_release_age_seconds)
/ on () group_left ()
max(evenstream_log_retention_seconds)
> $threshold
""",
    summary=(
        "{{ if $labels.party }}Party {{ $labels.party }} has released nothing of {{ $labels.measurement }}{{ else }}"
        "Role {{ $labels.role }} has not read {{ $labels.topic }} [{{ $labels.partition }}]{{ end }} for "
        "{{ $value | humanizePercentage }} of the retention"
    ),
    description=(
        "Records that are deleted before they are read are lost, and the windows that they touch are void. Bring the "
        "role back, or lengthen the retention, before that."
    ),
    parameters=(Number("threshold", 0.5, "share of the retention"),),
)

MEMBERS_MISPLACED = Alert(
    name="EvenstreamMembersMisplaced",
    meaning="more than so many records of member-attributes lie in wrong partitions",
    severity="warning",
    # The count begins anew with each process, which finds again at its start what is still there.
    expr='sum(evenstream_records_refused_total{role="attach", reason="misplaced"}) > $threshold',
    summary="Attach refused {{ $value }} attribute records, which lie in wrong partitions",
    description=(
        "Their members do not count, except those that another worker counts: of these an opt-out has no effect. "
        "Write such opt-outs again with `evenstream members opt-out`, and do so before attach is scaled."
    ),
    parameters=(Number("threshold", 0, "records"),),
)

PIPELINE = Group(
    "evenstream-pipeline",
    (ROLE_DOWN, PARTITION_STALLED, SEQUENCE_GAP, CONTROL_HELD_BACK, OUTAGE_HALF_RETENTION, MEMBERS_MISPLACED),
)
