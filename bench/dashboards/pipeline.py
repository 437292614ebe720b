"""The pipeline: which role runs, how far each is in each partition, how fast windows are published."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as build

from bench.dashboards.parts import BLUE, ORANGE, Mark, Query, choice, lines, page, states

ROLE = 'role=~"$role"'
PLACE = "role, topic, partition"
SHOWN = "{{role}} {{topic}} [{{partition}}]"

MARKS = (
    Mark(
        "Void windows",
        'sum by (measurement, level, reason) (increase(evenstream_windows_total{status="void"}[1m])) > 0',
        ORANGE,
        "{{measurement}} {{level}}: void",
        "{{reason}}",
    ),
)


def dashboard() -> build.Dashboard:
    """The dashboard; :data:`MARKS` are added when it is written."""
    board = page(
        "pipeline", "evenstream: pipeline", "For an operator. `evenstream doctor` says in words where a stall is."
    ).with_variable(choice("role", "Role", "max by (role) (evenstream_build_info)", multi=True))
    return _trouble(_publication(_partitions(board)))


def _partitions(board: build.Dashboard) -> build.Dashboard:
    return (
        board.with_row(build.Row("Roles and partitions"))
        .with_panel(
            states(
                "Roles",
                "Where the strip ends, nobody is scraped: the role is down.",
                Query(f"max by (role, version) (evenstream_build_info{{{ROLE}}})", "{{role}} {{version}}"),
                names={"1": ("up", BLUE)},
                alerts=["EvenstreamRoleDown"],
                height=8,
            )
        )
        .with_panel(
            lines(
                "Unread records",
                "By partition: a stalled one hides in a sum.",
                Query(f"max by ({PLACE}) (evenstream_partition_lag_records{{{ROLE}}})", SHOWN),
                unit="short",
                least=0,
                alerts=["EvenstreamPartitionStalled"],
            )
        )
        .with_panel(
            lines(
                "Since a record was last taken in",
                "With unread records, two minutes of this are a stall.",
                Query(f"time() - max by ({PLACE}) (evenstream_partition_progress_timestamp_seconds{{{ROLE}}})", SHOWN),
                unit="s",
                limit=120,
                least=0,
                alerts=["EvenstreamPartitionStalled"],
            )
        )
        .with_panel(
            lines(
                "Age of the watermark",
                "The arrival time that each partition has passed. Windows close behind the slowest.",
                Query(f"time() - max by ({PLACE}) (evenstream_watermark_timestamp_seconds{{{ROLE}}})", SHOWN),
                unit="s",
                least=0,
                alerts=["EvenstreamMetricsStale"],
            )
        )
        .with_panel(
            lines(
                "Age of the oldest unread record",
                "0 where all is read; asked every 15 s, also while a role waits.",
                Query(f"max by ({PLACE}) (evenstream_partition_lag_seconds{{{ROLE}}})", SHOWN),
                unit="s",
                least=0,
                alerts=["EvenstreamOutageHalfRetention"],
            )
        )
        .with_panel(
            lines(
                "Of how long Kafka keeps it",
                "The same, over how long its topic keeps records. At 1 they are lost.",
                Query(f"max by ({PLACE}) (evenstream_retention_used_ratio{{{ROLE}}})", SHOWN),
                unit="percentunit",
                limit=0.5,
                least=0,
                alerts=["EvenstreamOutageHalfRetention"],
            )
        )
    )


def _publication(board: build.Dashboard) -> build.Dashboard:
    delay = "sum by (measurement, le) (rate(evenstream_publish_delay_seconds_bucket[$__rate_interval]))"
    released = "max by (measurement, level, party) (evenstream_released_window_end_timestamp_seconds)"
    transactions = (
        f"sum by (role, le) (rate(evenstream_transaction_duration_seconds_bucket{{{ROLE}}}[$__rate_interval]))"
    )
    return (
        board.with_row(build.Row("Publication"))
        .with_panel(
            lines(
                "From a window's end and lateness until it is shown",
                "By quantile over windows.",
                Query(f"histogram_quantile(0.99, {delay})", "{{measurement}} p99"),
                Query(f"histogram_quantile(0.5, {delay})", "{{measurement}} p50"),
                unit="s",
                limit=2,
                least=0,
                alerts=["EvenstreamPublishSlow"],
            )
        )
        .with_panel(
            lines(
                "The parties, apart by windows",
                "How many windows one party has released and the other has not.",
                Query(
                    f"(max by (measurement, level) ({released}) - min by (measurement, level) ({released})) "
                    "/ max by (measurement, level) (evenstream_window_length_seconds)",
                    "{{measurement}} {{level}}",
                ),
                unit="short",
                limit=2,
                least=0,
                alerts=["EvenstreamPartiesApart"],
            )
        )
        .with_panel(
            lines(
                "Since each party's last release",
                "Since the end of the last window that it released, of active measurements.",
                Query(
                    "max by (measurement, party) (evenstream_release_age_seconds)", "{{measurement}}, party {{party}}"
                ),
                unit="s",
                least=0,
                alerts=["EvenstreamOutageHalfRetention", "EvenstreamPartiesApart"],
            )
        )
        .with_panel(
            lines(
                "Transactions a second",
                "Aborted ones cost time, and no record.",
                Query(
                    f"sum by (role, result) (rate(evenstream_transactions_total{{{ROLE}}}[$__rate_interval]))",
                    "{{role}} {{result}}",
                ),
                unit="ops",
                least=0,
            )
        )
        .with_panel(
            lines(
                "A transaction takes, p99",
                "From begin to commit.",
                Query(f"histogram_quantile(0.99, {transactions})", "{{role}}"),
                unit="s",
                least=0,
                alerts=["EvenstreamPublishSlow"],
            )
        )
        .with_panel(
            lines(
                "Batches a second",
                "Sealed, passed on or folded; rows at seal alone, which knows them.",
                Query(f"sum by (role) (rate(evenstream_batches_total{{{ROLE}}}[$__rate_interval]))", "{{role}}"),
                Query("sum(rate(evenstream_rows_total[$__rate_interval]))", "rows at seal"),
                unit="ops",
                least=0,
            )
        )
    )


def _trouble(board: build.Dashboard) -> build.Dashboard:
    keys = "min by (role, kind) (evenstream_oldest_private_key_timestamp_seconds"
    layout = "evenstream_layout_generation"
    differing = f"max by (role) ({layout}) - min by (role) ({layout})"
    return (
        board.with_row(build.Row("Trouble"))
        .with_panel(
            lines(
                "Partitions stopped by the protocol",
                "A batch is missing, or one cannot be opened. Batches that an operator has given up are counted too.",
                Query(f"sum by (role, topic) (evenstream_sequence_gaps_total{{{ROLE}}})", "{{role}} {{topic}}: stops"),
                Query(
                    f"sum by (role, topic) (evenstream_batches_skipped_total{{{ROLE}}})", "{{role}} {{topic}}: skipped"
                ),
                unit="short",
                limit=1,
                least=0,
                alerts=["EvenstreamSequenceGap"],
            )
        )
        .with_panel(
            lines(
                "Records refused",
                "By role and reason, in the time range. Misplaced ones lie in a wrong partition of member-attributes.",
                Query(
                    f"sum by (role, reason) (evenstream_records_refused_total{{{ROLE}}})",
                    "{{role}}: {{reason}}",
                ),
                unit="short",
                least=0,
                alerts=["EvenstreamMembersMisplaced"],
            )
        )
        .with_panel(
            lines(
                "Releases refused",
                "A party's budget forbids them, or publish did not take them in.",
                Query(
                    "sum by (measurement, party, reason) "
                    "(increase(evenstream_releases_refused_total[$__rate_interval]))",
                    "{{measurement}} {{party}}: {{reason}}",
                ),
                unit="short",
                least=0,
                calcs=["sum"],
                alerts=["EvenstreamReleaseRefused"],
            )
        )
        .with_panel(
            lines(
                "Control topics held back",
                "For how long an open transaction has hidden what is behind it.",
                Query(f"max by (role, topic) (evenstream_control_held_back_seconds{{{ROLE}}})", "{{role}} {{topic}}"),
                unit="s",
                limit=30,
                least=0,
                alerts=["EvenstreamControlHeldBack"],
            )
        )
        .with_panel(
            lines(
                "Age of the oldest private key",
                "In lifetimes of such a key. Beyond 2, one was not destroyed, and what was sealed to it still opens.",
                Query(
                    f"(time() - {keys}{{{ROLE}}})) "
                    f"/ max by (role, kind) (evenstream_private_key_lifetime_seconds{{{ROLE}}})",
                    "{{role}} {{kind}}",
                ),
                unit="none",
                limit=2,
                least=0,
                width=8,
                alerts=["EvenstreamKeyNotDestroyed"],
            )
        )
        .with_panel(
            lines(
                "Clocks, ahead of the broker's",
                "Nothing but this and the log tells: roles go by the broker's clock.",
                Query(f"max by (role) (evenstream_clock_ahead_seconds{{{ROLE}}})", "{{role}}"),
                unit="s",
                width=8,
            )
        )
        .with_panel(
            lines(
                "Layouts that differ",
                "Workers of a role that do not follow its newest layout; not 0 for moments only.",
                Query(differing, "{{role}}"),
                unit="short",
                least=0,
                width=8,
            )
        )
    )
