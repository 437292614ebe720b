"""Alerts on windows: that they come, in time, from both parties, and are not void."""

from __future__ import annotations

from textwrap import indent

from streams.watch.rules.alert import Alert, Duration, Group, Number, Recording
from streams.watch.rules.promql import risen

_HOUR = 3_600_000
_DAY = 24 * _HOUR

WINDOW_AGE = Recording(
    name="evenstream:window_age:windows",
    meaning="age of a level's last window, without the lateness, in windows of that level",
    expr="""
(
  time()
  - max by (measurement, level) (evenstream_window_end_timestamp_seconds)
  - on (measurement) group_left ()
  max by (measurement) (evenstream_window_lateness_seconds)
)
/ max by (measurement, level) (evenstream_window_length_seconds)
""",
)

PUBLISH_DELAY = Recording(
    name="evenstream:publish_delay_seconds:p99",
    meaning=(
        "99 % of a level's windows were shown within so many seconds of their end plus lateness, over the last hour"
    ),
    expr="""
histogram_quantile(0.99, sum by (measurement, level, le) (rate(evenstream_publish_delay_seconds_bucket[$window])))
""",
    parameters=(Duration("window", _HOUR, "over how long"),),
)

_ALL_OF_A_DAY = risen("evenstream_windows_total", "measurement, level, status, reason", "$day", "$memory")

WINDOWS_OF_A_DAY = Recording(
    name="evenstream:windows:increase1d",
    meaning="windows of the last day, by what became of them",
    expr=f"""
sum by (measurement, level, status) (
  clamp_min(
    {indent(_ALL_OF_A_DAY, "    ").strip()},
    0
  )
)
""",
    parameters=(
        Duration("day", _DAY, "the day"),
        Duration("memory", _HOUR, "how far before it to look"),
    ),
)

METRICS_STALE = Alert(
    name="EvenstreamMetricsStale",
    meaning="a level's last window ended longer ago than so many windows and the lateness",
    severity="critical",
    holds="2m",
    # Of active measurements of live events only, which alone have an age: a log that is replayed is as old as it is.
    expr="""
evenstream:window_age:windows > $threshold
and on (measurement)
max by (measurement) (evenstream_release_age_seconds)
""",
    summary=(
        "{{ $labels.measurement }}, level {{ $labels.level }}: no window for {{ $value | humanize }} times its length"
    ),
    description="What is shown is old. No window closes, or publish gets no releases; nothing is lost yet.",
    parameters=(Number("threshold", 3, "windows of the level"),),
)

WINDOW_VOID = Alert(
    name="EvenstreamWindowVoid",
    meaning="a window became void",
    severity="warning",
    keeps="1h",
    expr=risen('evenstream_windows_total{status="void"}', "measurement, level, reason", "$window", "$memory") + "\n> 0",
    summary=(
        "Void windows of {{ $labels.measurement }}, level {{ $labels.level }}: {{ $labels.reason }}, {{ $value }} of "
        "late"
    ),
    description="The two parties' releases of it must not be added, so nothing of it is published, now or later.",
    parameters=(
        Duration("window", _HOUR // 4, "how long a void window is new"),
        Duration("memory", 6 * _HOUR, "how long publish may be away without one being missed"),
    ),
)

WINDOW_VOID_BURN = Alert(
    name="EvenstreamWindowVoidBurn",
    meaning="of a day's windows of a level, at least so many, more than this share are void",
    severity="critical",
    holds="15m",
    expr="""
sum by (measurement, level) (evenstream:windows:increase1d{status="void"})
/ sum by (measurement, level) (evenstream:windows:increase1d{status!="withdrawn"})
> $threshold
and
sum by (measurement, level) (evenstream:windows:increase1d{status!="withdrawn"}) >= $windows
""",
    summary=(
        "{{ $value | humanizePercentage }} of a day's windows of {{ $labels.measurement }}, level {{ $labels.level "
        "}}, are void"
    ),
    description="It is no accident of one window: a party, or what it reads, differs from the other.",
    parameters=(
        Number("threshold", 0.05, "share of the windows"),
        Number("windows", 100, "fewer than so many in a day say too little"),
    ),
)

PUBLISH_SLOW = Alert(
    name="EvenstreamPublishSlow",
    meaning=(
        "the slowest hundredth of an hour's windows takes longer than this from its end plus lateness until it is shown"
    ),
    severity="warning",
    holds="30m",
    expr="""
evenstream:publish_delay_seconds:p99 > $threshold
and on (measurement, level)
sum by (measurement, level) (increase(evenstream_publish_delay_seconds_count[$window])) >= $windows
""",
    summary=(
        "Windows of {{ $labels.measurement }}, level {{ $labels.level }}, are shown {{ $value | humanizeDuration }} "
        "late"
    ),
    description="Numbers are right, and late: the broker, a role's commits or the machine is slow.",
    parameters=(
        Number("threshold", 2, "seconds"),
        Number("windows", 20, "fewer than so many in the time span say too little"),
        Duration("window", _HOUR, "over how long"),
    ),
)

PARTIES_APART = Alert(
    name="EvenstreamPartiesApart",
    meaning="one party's last release is so many of the measurement's shortest windows behind the other's",
    severity="critical",
    holds="5m",
    expr="""
(
  min by (measurement, party) (evenstream_release_age_seconds)
  - on (measurement) group_left ()
  min by (measurement) (evenstream_release_age_seconds)
)
/ on (measurement) group_left ()
min by (measurement) (evenstream_window_length_seconds)
> $threshold
""",
    summary=(
        "Party {{ $labels.party }} is {{ $value | humanize }} windows behind the other in {{ $labels.measurement }}"
    ),
    description=(
        "No window is published until both have released it. The party that is behind needs looking at, the other "
        "does not."
    ),
    parameters=(Number("threshold", 2, "windows"),),
)

WINDOWS = Group(
    "evenstream-windows",
    (METRICS_STALE, WINDOW_VOID, WINDOW_VOID_BURN, PUBLISH_SLOW, PARTIES_APART),
    (WINDOW_AGE, PUBLISH_DELAY),
)
# It looks back over a day, which is not worth doing at every evaluation. A series older than five minutes is none to
# Prometheus, so that one more evaluation that is late or fails must still leave it there.
DAYS = Group("evenstream-days", (), (WINDOWS_OF_A_DAY,), interval="2m")
