"""One measurement: how each group fares, how sure that is, what the detector makes of it, what its windows came to."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build

from bench.dashboards.parts import (
    AWAITED,
    BLUE,
    GREY,
    ORANGE,
    RED,
    UIDS,
    Mark,
    Query,
    band,
    choice,
    lines,
    page,
    rows,
    states,
    styled,
)

LEVEL = 'measurement="$measurement", level="$level"'
STATISTIC = f'{LEVEL}, metric="$metric", score_bin="$score_bin"'
ONE = f'{STATISTIC}, estimator="$estimator", group=~"$group"'
ALL = f'{STATISTIC}, estimator="$estimator"'

MARKS = (
    Mark(
        "Revisions",
        'max by (measurement, revision) (evenstream_measurement_info{measurement="$measurement"}) unless '
        "max by (measurement, revision) "
        '(max_over_time(evenstream_measurement_info{measurement="$measurement"}[1h] offset 1m))',
        BLUE,
        "Revision {{revision}}",
        "Windows of this revision begin; its terms may differ",
    ),
    Mark(
        "Void windows",
        f'sum by (level, reason) (increase(evenstream_windows_total{{{LEVEL}, status="void"}}[1m])) > 0',
        ORANGE,
        "{{level}}: void",
        "{{reason}}",
    ),
)


def dashboard() -> build.Dashboard:
    """The dashboard; :data:`MARKS` are added when it is written."""
    board = page("measurement", "evenstream: measurement", "One measurement, one metric, each group.")
    info = 'evenstream_measurement_info{state!="superseded"}'
    # A window can be void, and a group suppressed in it: what was shown within the time range can be chosen.
    shown = f"last_over_time(evenstream_group_value_ratio{{{LEVEL}}}[$__range])"
    of_metric = f'last_over_time(evenstream_group_value_ratio{{{LEVEL}, metric="$metric"}}[$__range])'
    compared = f"last_over_time(evenstream_gap_ratio{{{ALL}}}[$__range])"
    board = (
        board.with_variable(choice("measurement", "Measurement", f"max by (measurement) ({info})"))
        .with_variable(
            choice(
                "level",
                "Level",
                'max by (level) (evenstream_window_length_seconds{measurement="$measurement"})',
            )
        )
        .with_variable(choice("metric", "Metric", f"max by (metric) ({shown})"))
        .with_variable(choice("score_bin", "Score bin", f"max by (score_bin) ({of_metric})"))
        .with_variable(choice("estimator", "Estimator", f"max by (estimator) ({shown})"))
        .with_variable(choice("group", "Group", f"max by (group) ({compared})", multi=True))
        .link(build.DashboardLink("Pipeline health").url(f"/d/{UIDS['pipeline']}").keep_time(True).include_vars(True))
    )
    return _windows(_groups(_alarm(board)))


def _alarm(board: build.Dashboard) -> build.Dashboard:
    evidence = lines(
        "Evidence of a gap beyond what is tolerated",
        "In natural logarithms, of each group of the chosen metric. At the dashed line an alarm begins, which ends 3 "
        "below: it is drawn so that a false one comes at most once in the time that the specification says, over all "
        "groups and metrics.",
        Query(f"max by (group) (evenstream_edetector_log_evidence{{{STATISTIC}}})", "{{group}}"),
        Query(f"max(evenstream_edetector_log_threshold{{{LEVEL}}})", "threshold"),
        unit="short",
        alerts=["EvenstreamUnequalTreatment"],
    )
    breaches = lines(
        "Windows in a row beyond the tolerated gap",
        "With the nearer end of the interval, so that chance alone is unlikely. Counted in windows, not in time.",
        Query(f"max by (group) (evenstream_gap_breach_windows{{{STATISTIC}}})", "{{group}}"),
        unit="short",
        limit=3,
        least=0,
        alerts=["EvenstreamGapBeyondThreshold"],
    )
    return (
        board.with_row(build.Row("Alarm"))
        .with_panel(styled(evidence, "threshold", RED, dashed=True))
        .with_panel(breaches)
    )


def _groups(board: build.Dashboard) -> build.Dashboard:
    gap = lines(
        "Gap of $group to the reference: $metric",
        "The group's rate less the reference group's, with its interval; the dashed lines are the gap that the "
        "specification tolerates. Where the line ends there is no answer: a void window, or a group too small.",
        Query(f"max(evenstream_gap_lower_ratio{{{ONE}}})", "lower"),
        Query(f"max(evenstream_gap_ratio{{{ONE}}})", "gap"),
        Query(f"max(evenstream_gap_upper_ratio{{{ONE}}})", "upper"),
        Query('max(evenstream_gap_threshold_ratio{measurement="$measurement", metric="$metric"})', "tolerated"),
        Query('-max(evenstream_gap_threshold_ratio{measurement="$measurement", metric="$metric"})', "tolerated, below"),
        unit="percentunit",
        alerts=["EvenstreamGapBeyondThreshold"],
    )
    gap = styled(styled(band(gap, "lower", "upper"), "gap", BLUE), "/^tolerated/", RED, dashed=True)
    value = lines(
        "Rate of $group: $metric",
        "With its interval, beside the reference group's.",
        Query(f"max(evenstream_group_value_lower_ratio{{{ONE}}})", "lower"),
        Query(f"max(evenstream_group_value_ratio{{{ONE}}})", "rate"),
        Query(f"max(evenstream_group_value_upper_ratio{{{ONE}}})", "upper"),
        Query(
            f"max by (group) (evenstream_group_value_ratio{{{ALL}}} and on (group) label_replace("
            'evenstream_measurement_info{measurement="$measurement"}, "group", "$1", "reference", "(.*)"))',
            "reference: {{group}}",
        ),
        unit="percentunit",
        least=0,
    )
    value = styled(styled(band(value, "lower", "upper"), "rate", BLUE), "/^reference/", ORANGE)
    columns = [
        (title, f"max by (group) (evenstream_{name}_ratio{{{ALL}}})", unit)
        for title, name, unit in (
            ("Rate", "group_value", "percentunit"),
            ("from", "group_value_lower", "percentunit"),
            ("to", "group_value_upper", "percentunit"),
            ("Gap", "gap", "percentunit"),
            ("gap from", "gap_lower", "percentunit"),
            ("gap to", "gap_upper", "percentunit"),
            ("Ratio", "parity", "none"),
            ("ratio from", "parity_lower", "none"),
            ("ratio to", "parity_upper", "none"),
        )
    ]
    return (
        board.with_row(build.Row("$group").repeat("group"))
        .with_panel(gap)
        .with_panel(value)
        .with_row(build.Row("All groups"))
        .with_panel(
            rows(
                "Newest window: $metric, $estimator",
                "Rates, gaps and ratios to the reference group, with their intervals. A group without a row says "
                "nothing in this window.",
                columns,
                by="group",
                labels=["group"],
                height=7,
            )
        )
        .with_panel(
            lines(
                "Gap by estimator",
                "weighted understates gaps; corrected assumes that group and outcome do not depend on name and place "
                "otherwise; rectified needs representative Self-ID.",
                Query(
                    f'max by (group, estimator) (evenstream_gap_ratio{{{STATISTIC}, group=~"$group"}})',
                    "{{group}}, {{estimator}}",
                ),
                unit="percentunit",
            )
        )
        .with_panel(
            states(
                "Do the estimators agree?",
                "Corrected and rectified, over all groups and metrics of a window.",
                Query(
                    'max by (level) (evenstream_estimators_disagree{measurement="$measurement"})',
                    "{{level}}",
                ),
                names={"0": ("agree", BLUE), "1": ("disagree", RED)},
                alerts=["EvenstreamEstimatorsDisagree"],
                height=4,
            )
        )
        .with_panel(
            states(
                "Groups too small to show",
                "Suppressed: none of the group's values can be shown in a window.",
                Query(f"max by (group) (evenstream_group_suppressed{{{LEVEL}}})", "{{group}}"),
                names={"0": ("shown", BLUE), "1": ("suppressed", GREY)},
                alerts=["EvenstreamGroupSuppressed"],
                height=6,
            )
        )
    )


def _windows(board: build.Dashboard) -> build.Dashboard:
    one = 'measurement="$measurement"'
    age = lines(
        "Age of the newest window",
        "The dashed line is where it counts as stale: three lengths and the lateness. Empty where none is due by the "
        "clock: a replayed log, or a measurement that has ended.",
        Query(f"time() - max by (measurement) (evenstream_window_end_timestamp_seconds{{{LEVEL}}}) {AWAITED}", "age"),
        Query(
            f"3 * max(evenstream_window_length_seconds{{{LEVEL}}}) + max(evenstream_window_lateness_seconds{{{one}}})",
            "stale",
        ),
        unit="s",
        least=0,
        alerts=["EvenstreamMetricsStale"],
    )
    epsilon = lines(
        "Epsilon of one member-day",
        "What this measurement spends, and what all together may, on replacing a member's record, at the delta shown.",
        Query(f"max by (party) (evenstream_privacy_epsilon_spent{{{one}}})", "spent, party {{party}}"),
        Query(f"max(evenstream_privacy_epsilon_limit{{{one}}})", "limit of all"),
        Query(f"max(evenstream_privacy_delta{{{one}}})", "delta"),
        unit="none",
        least=0,
        alerts=["EvenstreamBudgetLow"],
        width=8,
    )
    return (
        board.with_row(build.Row("Windows and cost"))
        .with_panel(
            lines(
                "Windows by status",
                "Of the chosen level.",
                Query(
                    f"sum by (status) (increase(evenstream_windows_total{{{LEVEL}}}[$__rate_interval]))", "{{status}}"
                ),
                unit="short",
                bars=True,
                least=0,
                calcs=["sum"],
                alerts=["EvenstreamWindowVoid"],
            )
        )
        .with_panel(styled(age, "stale", RED, dashed=True))
        .with_panel(
            lines(
                "Void windows by reason",
                "In the time range, over all levels. A window that is void stays void.",
                Query(
                    "sum by (level, reason) "
                    f'(increase(evenstream_windows_total{{{one}, status="void"}}[$__range])) > 0',
                    "{{level}}: {{reason}}",
                ),
                unit="short",
                least=0,
                width=8,
                alerts=["EvenstreamWindowVoid", "EvenstreamWindowVoidBurn"],
            )
        )
        .with_panel(
            lines(
                "Share of the budget of a member-day",
                "Of rho that all measurements together may spend on one member and day.",
                Query(f"max by (party) (evenstream_privacy_budget_spent_ratio{{{one}}})", "party {{party}}"),
                unit="percentunit",
                least=0,
                most=1,
                width=8,
                alerts=["EvenstreamBudgetLow"],
            )
        )
        .with_panel(styled(epsilon, "/^limit/", RED, dashed=True))
    )
