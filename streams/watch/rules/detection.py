"""Alerts on what is measured: unequal treatment, and what keeps one from seeing it.

`publish` counts windows, not Prometheus: evidence lies in gauges of its own, which stay as they are over a void window.
"""

from __future__ import annotations

from streams.watch.rules.alert import Alert, Duration, Group, Number

_DETECTOR = "measurement, level, metric, score_bin, group, reference"

UNEQUAL_TREATMENT = Alert(
    name="EvenstreamUnequalTreatment",
    meaning="an alarm stands: the evidence that a group's gap is beyond the tolerated one has reached the threshold",
    severity="warning",
    keeps="1h",
    # As records have it, and pages: an alarm ends some way below the threshold at which it begins.
    expr=f"max by ({_DETECTOR}) (evenstream_edetector_alarm) == 1",
    summary=(
        "Evidence of unequal treatment in {{ $labels.measurement }}: {{ $labels.metric }} of {{ $labels.group }} "
        "members, next to {{ $labels.reference }} ones"
    ),
    description=(
        "Level {{ $labels.level }}, score bin {{ $labels.score_bin }}: the gap is beyond the one that the approved "
        "measurement tolerates, by evidence that chance alone reaches once in the time that it allows for a false "
        "alarm. Reviewers look at it; nothing changes a ranking automatically."
    ),
)

GAP_BEYOND_THRESHOLD = Alert(
    name="EvenstreamGapBeyondThreshold",
    meaning="the nearer end of a gap's interval has been beyond the tolerated gap in so many windows in a row",
    severity="warning",
    keeps="1h",
    expr=f"max by ({_DETECTOR}) (evenstream_gap_breach_windows) >= $threshold",
    summary=(
        "{{ $labels.metric }} of {{ $labels.group }} members in {{ $labels.measurement }}: the gap is beyond the "
        "tolerated one, {{ $value }} windows in a row"
    ),
    description=(
        "Level {{ $labels.level }}, score bin {{ $labels.score_bin }}, next to {{ $labels.reference }} members: the "
        "whole interval lies beyond the tolerated gap."
    ),
    parameters=(Number("threshold", 3, "windows in a row"),),
)

ESTIMATORS_DISAGREE = Alert(
    name="EvenstreamEstimatorsDisagree",
    meaning="two estimators of one level say different things, by more than chance explains",
    severity="warning",
    keeps="2h",
    expr="max by (measurement, level) (evenstream_estimators_disagree) > 0",
    summary="The estimators of {{ $labels.measurement }}, level {{ $labels.level }}, disagree",
    description=(
        "An assumption of one of them does not hold for these members, so the size of a gap, and even its sign, is in"
        " doubt until it is known which."
    ),
)

GROUP_SUPPRESSED = Alert(
    name="EvenstreamGroupSuppressed",
    meaning="no value of a group could be shown for so long",
    severity="info",
    # Values are gone after a void window, so what was last said would break off a `for`. It must have been said before
    # the span as well: a measurement that is an hour old has not been silent for days. And it must still be measured.
    expr="""
min by (measurement, level, group) (min_over_time(evenstream_group_suppressed[$window])) == 1
and
max by (measurement, level, group) (max_over_time(evenstream_group_suppressed[$window] offset $window))
and on (measurement, level)
max by (measurement, level) (evenstream_window_length_seconds)
""",
    summary=(
        "Nothing can be said of {{ $labels.group }} members in {{ $labels.measurement }}, level {{ $labels.level }}"
    ),
    description=(
        "Their numbers have not risen above the noise in any window: unequal treatment of them would not be seen."
    ),
    parameters=(Duration("window", 3 * 86_400_000, "for how long"),),
)

REVIEW_OVERDUE = Alert(
    name="EvenstreamReviewOverdue",
    meaning="an alarm's review is open past its deadline",
    severity="warning",
    holds="1h",
    expr="time() - min by (measurement) (evenstream_review_deadline_timestamp_seconds) > 0",
    summary="A review of {{ $labels.measurement }} is overdue by {{ $value | humanizeDuration }}",
    description=(
        "The time that the measurement gives for the review of an alarm is over, and reviewers have signed no "
        "disposition that closes it: none at all, or one that looks further (`investigate`), which leaves it open."
    ),
)

DETECTION = Group(
    "evenstream-detection",
    (UNEQUAL_TREATMENT, GAP_BEYOND_THRESHOLD, ESTIMATORS_DISAGREE, GROUP_SUPPRESSED, REVIEW_OVERDUE),
)
