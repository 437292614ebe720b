"""One deployment, whole, and what befalls it: the alerts that must fire, and that none of the others does.

Each scenario has the series of every role, minute by minute as promtool writes them, and names all alerts that fire at
its moments. Time begins at 0, so a timestamp that keeps up grows by 60 a minute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from monitoring import needs, run

from streams.watch.rules import ALERTS, render

Labels = dict[str, str]


def line(name: str, labels: str, values: str) -> dict[str, str]:
    """A series."""
    return {f"evenstream_{name}{{{labels}}}": values}


def publish(instance: str = "p", measurement: str = "feed") -> dict[str, str]:
    """What publish shows of one healthy measurement with windows of a minute and of an hour."""
    at, m = f'instance="{instance}"', f'measurement="{measurement}"'
    key = f'{m}, level="1m", metric="tpr", score_bin="all", group="black", reference="white", {at}'
    series = line("build_info", f'role="publish", version="1", revision="r", {at}', "1x200")
    series |= line("window_lateness_seconds", f"{m}, {at}", "60x200")
    series |= line("log_retention_seconds", at, "604800x200")
    series |= line("measurement_info", f'{m}, revision="1", reference="white", state="active", {at}', "1x200")
    series |= line("measurement_expiry_timestamp_seconds", f"{m}, {at}", "9000000x200")
    for level, length, ends in (("1m", 60, "0+60x200"), ("1h", 3600, "0x60 3600x60 7200x60 10800x20")):
        series |= line("window_length_seconds", f'{m}, level="{level}", {at}', f"{length}x200")
        series |= line("window_end_timestamp_seconds", f'{m}, level="{level}", {at}', ends)
        series |= line("estimators_disagree", f'{m}, level="{level}", {at}', "0x200")
        series |= line("group_suppressed", f'{m}, level="{level}", group="native", {at}', "1x200")
        counted = f'{m}, level="{level}", {at}'
        series |= line("windows_total", f'{counted}, status="published", reason=""', f"0+{60 // (length // 60)}x200")
        series |= line("windows_total", f'{counted}, status="void", reason="coverage_differs"', "2x200")
        for le, values in (("2.0", "0+1x200"), ("+Inf", "0+1x200")):
            series |= line("publish_delay_seconds_bucket", f'{counted}, le="{le}"', values)
        series |= line("publish_delay_seconds_count", counted, "0+1x200")
    series |= line("edetector_alarm", key, "0x200")
    series |= line("gap_breach_windows", key, "1x200")
    for party in "ab":
        series |= line("release_age_seconds", f'{m}, party="{party}", {at}', "70x200")
        series |= line("releases_refused_total", f'{m}, party="{party}", reason="second_release", {at}', "1x200")
    for period, ratio in (("30-days", "0.6"), ("year", "0.4")):
        series |= line("privacy_period_forecast_ratio", f'period="{period}", {at}', f"{ratio}x200")
    return series


def worker(role: str, topic: str, instance: str) -> dict[str, str]:
    """What a healthy worker of another role shows."""
    at = f'role="{role}", instance="{instance}"'
    series = line("build_info", f'{at}, version="1", revision="r"', "1x200")
    series |= line("sequence_gaps_total", f'{at}, topic="{topic}"', "0x200")
    series |= line("control_held_back_seconds", f'{at}, topic="keys"', "0x200")
    for partition in "01":
        where = f'{at}, topic="{topic}", partition="{partition}"'
        series |= line("partition_lag_seconds", where, "1x200")
        series |= line("partition_progress_timestamp_seconds", where, "0+60x200")
        series |= line("retention_used_ratio", where, "0x200")
        series |= line("watermark_timestamp_seconds", where, "0+60x200")
    kinds = ("state",) if role == "seal" else ("state", "epoch")
    for kind in kinds:
        series |= line("oldest_private_key_timestamp_seconds", f'{at}, kind="{kind}"', "0x200")
        series |= line("private_key_lifetime_seconds", f'{at}, kind="{kind}"', "86400x200")
    if role in ("seal", "attach"):
        series |= line("layout_shards", at, "1x200") | line("layout_shard", at, "0x200")
    return series


WORKERS = (("seal", "events", "s"), ("attach", "sealed", "t"), ("a", "shares", "a"), ("b", "shares", "b"))
HEALTHY = publish() | {name: values for one in WORKERS for name, values in worker(*one).items()}


def every(part: str, values: str, *, beside: str = "") -> dict[str, str]:
    """Other values for each series of the healthy deployment whose name or labels hold a part (and another one)."""
    found = {name: values for name in HEALTHY if part in name and beside in name}
    assert found, part
    return found


def minutes(values: str) -> list[str]:
    """Promtool's notation, minute by minute."""
    found = []
    for word in values.split():
        start, step, times = re.fullmatch(r"([\d.]+|_|stale)(?:\+(\d+))?(?:x(\d+))?", word).groups()  # type: ignore[union-attr]
        count = int(times or 0) + (start[0].isdigit() or not times)
        found += [f"{float(start) + k * int(step or 0):g}" if start[0].isdigit() else start for k in range(count)]
    return found


def until(minute: int, part: str) -> dict[str, str]:
    """Series that end at a minute, as those of a target do that is scraped in vain."""
    return {name: " ".join([*minutes(values)[:minute], "stale"]) for name, values in HEALTHY.items() if part in name}


@dataclass
class Scenario:
    """What changes, and which alerts fire at which minutes; all others must be silent then."""

    changes: dict[str, str] = field(default_factory=dict)
    fires: dict[int, dict[str, list[Labels]]] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    def test(self) -> dict[str, object]:
        """As promtool takes it."""
        series = {name: values for name, values in HEALTHY.items() if not any(part in name for part in self.without)}
        series |= self.changes
        cases = [
            {
                "eval_time": f"{minute}m",
                "alertname": name,
                "exp_alerts": [
                    {"exp_labels": {"severity": alert.severity, **labels}} for labels in firing.get(name, [])
                ],
            }
            for minute, firing in self.fires.items()
            for name, alert in ALERTS.items()
        ]
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": cases,
        }


EVIDENCE = {"measurement": "feed", "level": "1m", "metric": "tpr", "score_bin": "all", "group": "black",
            "reference": "white"}  # fmt: skip
RESTARTED = {
    **until(60, 'instance="p"'),
    # As another instance, ten minutes later: what it counts comes back at its height.
    **{name: " ".join(["_x70", *minutes(values)[70:]]) for name, values in publish("q").items()},
}

SCENARIOS = {
    "nothing happens": Scenario(fires={5: {}, 60: {}, 90: {}}),
    "an alarm, and then a void window": Scenario(
        # The window's values vanish with it; alarms and breaches are state, and stay.
        changes={
            **every("edetector_alarm", "0x59 1x140"),
            **every("breach_windows", "1x59 4x140"),
            **every("group_suppressed", "1x70 stale"),
            **every("windows_total", "2x70 3x130", beside='level="1m", instance="p", status="void"'),
        },
        fires={
            59: {},
            65: {"EvenstreamUnequalTreatment": [EVIDENCE], "EvenstreamGapBeyondThreshold": [EVIDENCE]},
            80: {
                "EvenstreamUnequalTreatment": [EVIDENCE],
                "EvenstreamGapBeyondThreshold": [EVIDENCE],
                "EvenstreamWindowVoid": [{"measurement": "feed", "level": "1m", "reason": "coverage_differs"}],
            },
        },
    ),
    "no window closes any more": Scenario(
        changes={
            **every("window_end_timestamp_seconds", "0+60x60 3600x140"),
            **every("release_age_seconds", "70x60 70+60x140"),
        },
        fires={60: {}, 72: {"EvenstreamMetricsStale": [{"measurement": "feed", "level": "1m"}]}},
    ),
    "publish starts again": Scenario(
        changes=RESTARTED,
        # An absence longer than three minutes is one; what it rebuilds is nothing new.
        fires={59: {}, 62: {}, 68: {"EvenstreamRoleDown": [{"role": "publish"}]}, 75: {}, 90: {}, 120: {}},
    ),
    "party b is killed": Scenario(
        changes={
            **until(60, 'role="b"'),
            **every("window_end_timestamp_seconds", "0+60x60 3600x140", beside='level="1m"'),
            **every("window_end_timestamp_seconds", "0x60 3600x140", beside='level="1h"'),
            **every("release_age_seconds", "70x60 70+60x140", beside='party="b"'),
        },
        # That windows stay away and that the parties are apart follows from it: Alertmanager holds both back. Seal,
        # attach and a read on, and nothing is void.
        fires={
            60: {},
            62: {},
            75: {
                "EvenstreamRoleDown": [{"role": "b"}],
                "EvenstreamMetricsStale": [{"measurement": "feed", "level": "1m"}],
                "EvenstreamPartiesApart": [{"measurement": "feed", "party": "b"}],
            },
        },
    ),
    "party b hangs": Scenario(
        changes={
            **every("progress", "0+60x60 3600x140", beside='role="b"'),
            **every("lag_seconds", "1x60 1+60x140", beside='role="b"'),
        },
        fires={
            61: {},
            70: {
                "EvenstreamPartitionStalled": [
                    {"role": "b", "topic": "shares", "partition": "0"},
                    {"role": "b", "topic": "shares", "partition": "1"},
                ]
            },
        },
    ),
    "the first hour of a new measurement": Scenario(
        # Before its first window its end is its activation, in an hour from its approval; one of the first is void.
        changes={
            **{name: f"_x60 {values}" for name, values in publish(measurement="new").items()},
            'evenstream_window_end_timestamp_seconds{measurement="new", level="1m", instance="p"}': "_x60 "
            "7200x60 7260+60x80",
            'evenstream_window_end_timestamp_seconds{measurement="new", level="1h", instance="p"}': "_x60 7200x140",
            'evenstream_release_age_seconds{measurement="new", party="a", instance="p"}': "_x120 0 60x80",
            'evenstream_release_age_seconds{measurement="new", party="b", instance="p"}': "_x120 0 60x80",
            'evenstream_windows_total{measurement="new", level="1m", instance="p", status="void", '
            'reason="coverage_differs"}': "_x60 0x63 1x76",
        },
        fires={
            61: {},
            119: {},
            122: {},
            125: {"EvenstreamWindowVoid": [{"measurement": "new", "level": "1m", "reason": "coverage_differs"}]},
        },
    ),
    "a measurement that never starts": Scenario(
        changes={
            **every("window_end_timestamp_seconds", "3600x200"),
            **every("release_age_seconds", "_x60 0+60x140"),
        },
        fires={62: {}, 75: {"EvenstreamMetricsStale": [{"measurement": "feed", "level": "1m"}]}},
    ),
    "hardly any traffic, and one error in it": Scenario(
        # One window in twenty minutes, one of them void and shown late: it is told once, and is no fire.
        changes={
            **every("windows_total", "0x20 1x20 2x20 3x20 4x120", beside="published"),
            **every("windows_total", "0x60 1x140", beside='level="1m", instance="p", status="void"'),
            **every("publish_delay_seconds_bucket", "0x200", beside='le="2.0"'),
            **every("publish_delay_seconds_bucket", "0x60 1x140", beside='le="+Inf"'),
            **every("publish_delay_seconds_count", "0x60 1x140"),
        },
        fires={
            60: {},
            100: {"EvenstreamWindowVoid": [{"measurement": "feed", "level": "1m", "reason": "coverage_differs"}]},
            160: {},
        },
    ),
    "a measurement is deleted": Scenario(
        # Even one that was behind: what nobody measures any more is not stale, not apart and not suppressed.
        changes={**until(60, 'measurement="feed"'), **every("edetector_alarm", "1x59 stale")},
        fires={59: {"EvenstreamUnequalTreatment": [EVIDENCE]}, 130: {}},
    ),
    "a Prometheus of party b's own": Scenario(
        # It sees one role; the others' absence must be switched off by values, as here nothing else is.
        without=(
            'role="seal"',
            'role="attach"',
            'role="a"',
            "measurement=",
            "period=",
            "log_retention",
            'role="publish"',
        ),
        fires={60: {"EvenstreamRoleDown": [{"role": role} for role in ("seal", "attach", "a", "publish")]}},
    ),
}


@needs("promtool")
def test_only_the_right_alerts_fire(tmp_path: Path) -> None:
    """In each scenario precisely the alerts fire that it names."""
    document = yaml.safe_load(render())
    for group in document["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(document))
    files = []
    for name, scenario in SCENARIOS.items():
        path = tmp_path / f"{name}.yaml"
        test = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [scenario.test()]}
        path.write_text(yaml.safe_dump(test, sort_keys=False))
        files.append(str(path))
    run("promtool", "test", "rules", *files)


def test_the_healthy_deployment_has_every_metric_that_rules_read() -> None:
    """A scenario in which a series is missing would prove nothing of the alerts that read it."""
    named = {name.partition("{")[0] for name in HEALTHY}
    read = set(re.findall(r"\bevenstream_\w+", render()))
    assert read - named == {"evenstream_records_refused_total", "evenstream_review_deadline_timestamp_seconds"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_says_when(name: str) -> None:
    """Each looks at two moments at least, or it would not tell a change."""
    assert len(SCENARIOS[name].fires) >= (1 if SCENARIOS[name].without else 2)
