"""The overview: is anyone treated worse, does everything run, what does it cost, what is waited for."""

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
    lines,
    number,
    page,
    rows,
    states,
)

EVIDENCE = "max by (measurement, level, metric, score_bin, group) (evenstream_edetector_log_evidence)"
LIMIT = "max by (measurement, level) (evenstream_edetector_log_threshold)"
OVER = f"{EVIDENCE} - on (measurement, level) group_left () {LIMIT}"
ALARM = "max by (measurement, level, metric, score_bin, group) (evenstream_edetector_alarm)"
NEAREST = "clamp_min(evenstream_gap_lower_ratio, 0) + clamp_min(-evenstream_gap_upper_ratio, 0)"
AGE = (
    "time() - max by (measurement, level) (evenstream_window_end_timestamp_seconds) "
    "- max by (measurement, level) (evenstream_window_length_seconds) "
    "- on (measurement) group_left () max by (measurement) (evenstream_window_lateness_seconds) "
    f"{AWAITED}"
)
INFO = 'max by (measurement, revision, reference, state) (evenstream_measurement_info{state!="superseded"})'

MARKS = (
    Mark(
        "Revisions",
        "max by (measurement, revision) (evenstream_measurement_info) unless "
        "max by (measurement, revision) (max_over_time(evenstream_measurement_info[1h] offset 1m))",
        BLUE,
        "{{measurement}}: revision {{revision}}",
        "Windows of this revision begin; its terms may differ",
    ),
    Mark(
        "Void windows",
        'sum by (measurement, level, reason) (increase(evenstream_windows_total{status="void"}[1m])) > 0',
        ORANGE,
        "{{measurement}} {{level}}: void",
        "{{reason}}",
    ),
)

_DRILL = (
    "This measurement",
    f"/d/{UIDS['measurement']}?var-measurement=${{__value.text}}&var-datasource=${{datasource}}&${{__url_time_range}}",
)

_PIPELINE = "Pipeline health", "pipeline"


def dashboard() -> build.Dashboard:
    """The dashboard; :data:`MARKS` are added when it is written."""
    return _cost(_measurements(_now(page("overview", "evenstream: overview", "Equal treatment, at a glance."))))


def _now(board: build.Dashboard) -> build.Dashboard:
    return (
        board.with_row(build.Row("Now"))
        .with_panel(
            number(
                "Alarms",
                "Groups, metrics and levels of which an alarm stands: evidence of a gap beyond what is tolerated has "
                "passed its threshold. Each has opened a review; nothing is changed automatically.",
                Query(f"sum({ALARM})"),
                unit="short",
                limit=1,
                alerts=["EvenstreamUnequalTreatment"],
            )
        )
        .with_panel(
            number(
                "Reviews open",
                "Alarms for which reviewers have signed no disposition that closes the review yet.",
                Query("sum(max by (measurement) (evenstream_reviews_open))"),
                unit="short",
                limit=1,
            )
        )
        .with_panel(
            number(
                "Concerns open",
                "Concerns that anyone has raised, and no reviewer has closed.",
                Query("max(evenstream_concerns_open)"),
                unit="short",
                limit=1,
            )
        )
        .with_panel(
            number(
                "Roles up, of 5",
                "seal, attach, a, b and publish. A role without a series is down, or is not scraped.",
                Query("count(count by (role) (evenstream_build_info))"),
                unit="short",
                limit=5,
                below=True,
                alerts=["EvenstreamRoleDown"],
                leads_to=_PIPELINE,
            )
        )
        .with_panel(
            number(
                "Active measurements",
                "Approved, begun and not ended.",
                Query('count(max by (measurement) (evenstream_measurement_info{state="active"}))'),
                unit="short",
            )
        )
        .with_panel(
            number(
                "Latest by",
                "How far the slowest level is behind: time since its newest window's end, less one length and the "
                "lateness; of active measurements of live events. About 0 where all is well.",
                Query(f"max({AGE})"),
                unit="s",
                alerts=["EvenstreamMetricsStale"],
                leads_to=_PIPELINE,
            )
        )
    )


def _measurements(board: build.Dashboard) -> build.Dashboard:
    table = rows(
        "Measurements",
        "One row a measurement; click its name for more. Evidence over threshold: an alarm begins at 0, ends at -3.",
        [
            ("State", INFO, "short"),
            ("Alarms", f"sum by (measurement) ({ALARM})", "short"),
            ("Evidence over threshold", f"max by (measurement) ({OVER})", "short"),
            ("At least so far apart", f"max by (measurement) ({NEAREST})", "percentunit"),
            ("Behind by", f"max by (measurement) ({AGE})", "s"),
            (
                "Void in a day",
                'sum by (measurement) (evenstream:windows:increase1d{status="void"})',
                "short",
            ),
            ("Reviews open", "max by (measurement) (evenstream_reviews_open)", "short"),
            (
                "Approval ends in",
                "max by (measurement) (evenstream_measurement_expiry_timestamp_seconds) - time()",
                "s",
            ),
        ],
        by="measurement",
        labels=["measurement", "revision", "reference", "state"],
        link=_DRILL,
    )
    return (
        board.with_row(build.Row("Measurements"))
        .with_panel(table)
        .with_panel(
            lines(
                "Evidence over its threshold",
                "The largest of each measurement and level, in natural logarithms. An alarm begins at 0 and ends at -3."
                " It grows with every window that shows a gap beyond what is tolerated, and falls when windows do not.",
                Query(f"max by (measurement, level) ({OVER})", "{{measurement}} {{level}}"),
                unit="short",
                limit=0,
                alerts=["EvenstreamUnequalTreatment"],
            )
        )
        .with_panel(
            lines(
                "At least so far apart",
                "The largest distance of a group's interval from the reference group: 0 where every interval reaches "
                "it. Of a hundred intervals, chance alone takes a few off it: the evidence allows for that, this does "
                "not.",
                Query(f"max by (measurement, level) ({NEAREST})", "{{measurement}} {{level}}"),
                unit="percentunit",
                least=0,
                alerts=["EvenstreamGapBeyondThreshold"],
            )
        )
        .with_panel(
            lines(
                "Windows by status",
                "published, suppressed (no group can be shown), void (the parties' halves must not be added), "
                "withdrawn (the measurement was revoked).",
                Query("sum by (status) (increase(evenstream_windows_total[$__rate_interval]))", "{{status}}"),
                unit="short",
                bars=True,
                least=0,
                calcs=["sum"],
                alerts=["EvenstreamWindowVoid"],
            )
        )
        .with_panel(
            lines(
                "Share of void windows in a day",
                "Of all windows of a measurement and level that ended within a day.",
                Query(
                    'sum by (measurement, level) (evenstream:windows:increase1d{status="void"}) '
                    '/ sum by (measurement, level) (evenstream:windows:increase1d{status!="withdrawn"})',
                    "{{measurement}} {{level}}",
                ),
                unit="percentunit",
                limit=0.05,
                least=0,
                alerts=["EvenstreamWindowVoidBurn"],
            )
        )
    )


def _cost(board: build.Dashboard) -> build.Dashboard:
    return (
        board.with_row(build.Row("Budget, approvals, reviews"))
        .with_panel(
            lines(
                "Budget of one member",
                "Privacy cost (rho, on replacing a member's record) that one member can have spent over all "
                "measurements, of its limit, and in 14 days if all goes on. Beyond 1 the parties refuse to release.",
                Query("max by (period) (evenstream_privacy_period_spent_ratio)", "{{period}}"),
                Query("max by (period) (evenstream_privacy_period_forecast_ratio)", "{{period}}, in 14 days"),
                unit="percentunit",
                limit=0.9,
                least=0,
                alerts=["EvenstreamBudgetLow"],
            )
        )
        .with_panel(
            lines(
                "The parties' ledgers",
                "The same as each party's own ledger has it.",
                Query("max by (role, period) (evenstream_ledger_spent_ratio)", "{{role}} {{period}}"),
                unit="percentunit",
                least=0,
                most=1,
                alerts=["EvenstreamBudgetLow"],
            )
        )
        .with_panel(
            lines(
                "Approvals end in",
                "Until the newest approval of each measurement ends. No window that starts after that is counted.",
                Query(
                    "max by (measurement) (evenstream_measurement_expiry_timestamp_seconds) - time()", "{{measurement}}"
                ),
                unit="s",
                limit=14 * 86_400,
                below=True,
                width=8,
                alerts=["EvenstreamApprovalExpiring"],
            )
        )
        .with_panel(
            lines(
                "Reviews are due in",
                "Until the earliest deadline of each measurement's open reviews; below 0 it has passed.",
                Query(
                    "min by (measurement) (evenstream_review_deadline_timestamp_seconds) - time()", "{{measurement}}"
                ),
                unit="s",
                limit=0,
                below=True,
                alerts=["EvenstreamReviewOverdue"],
                width=8,
            )
        )
        .with_panel(
            states(
                "States",
                "Where each measurement stands.",
                Query(
                    'max by (measurement) (evenstream_measurement_info{state="active"} * 1 '
                    'or evenstream_measurement_info{state="scheduled"} * 2 '
                    'or evenstream_measurement_info{state="expired"} * 3 '
                    'or evenstream_measurement_info{state="revoked"} * 4)',
                    "{{measurement}}",
                ),
                names={
                    "1": ("active", BLUE),
                    "2": ("scheduled", GREY),
                    "3": ("expired", ORANGE),
                    "4": ("revoked", RED),
                },
                width=8,
                height=8,
            )
        )
    )
