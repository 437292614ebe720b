"""Alerting rules: Prometheus reads them, they fire when they should, and each leads to a page that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from monitoring import needs, run

from streams.watch.rules import ALERTS, GROUPS, RECORDINGS, Alert, Recording, Values, read_values, render

ROOT = Path(__file__).parents[4]
FOLDER = Path(__file__).parent
GOLDEN = FOLDER / "golden"
METRICS = sorted((FOLDER.parent / "golden").glob("*_metrics.txt"))
PARTS = ["Meaning", "Impact", "Commands", "Fix", "Never", "Escalation"]
TUNED = Values(
    selector={"deployment": "prod"},
    labels={"deployment": "prod", "team": "fairness"},
    runbooks="https://example.org/runbooks/",
    alerts={
        "EvenstreamMetricsStale": {"threshold": 5, "for": "10m", "severity": "warning", "labels": {"page": "no"}},
        "EvenstreamGroupSuppressed": {"enabled": False},
        "EvenstreamWindowVoid": {"window": "30m", "keep_firing_for": "0s"},
        "EvenstreamRoleDown": {"roles": ["b", "attach"]},
    },
)


def with_summaries(names: set[str]) -> str:
    """The alerts of these names, and what is recorded, with no text but the summary.

    promtool compares all texts, and one shows that labels and values are in; and it evaluates every rule at every
    moment, which for days of minutes takes it a while.
    """
    document = yaml.safe_load(render())
    for group in document["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert") in {*names, None}]
        for rule in group["rules"]:
            if "annotations" in rule:
                rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    document["groups"] = [group for group in document["groups"] if group["rules"]]
    return yaml.safe_dump(document, sort_keys=False)


@needs("promtool")
@pytest.mark.parametrize(("values", "scale"), [(None, 1.0), (None, 60.0), (TUNED, 1.0)], ids=["plain", "fast", "tuned"])
def test_prometheus_reads_the_rules(tmp_path: Path, values: Values | None, scale: float) -> None:
    """The file is valid, no expression is one that Prometheus refuses, and no rule is there twice."""
    path = tmp_path / "rules.yaml"
    path.write_text(render(values, time_scale=scale))
    said = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", str(path))
    switched_off = sum(alert.get("enabled") is False for alert in values.alerts.values()) if values else 0
    assert f"{len(ALERTS) + len(RECORDINGS) - switched_off} rules found" in said


@needs("promtool")
@pytest.mark.parametrize("subject", ["detection", "windows", "promises", "pipeline"])
def test_alerts_fire_when_they_should(tmp_path: Path, subject: str) -> None:
    """Each alert fires on the series that mean it and on no others, with its labels and its text."""
    files = []
    for number, test in enumerate(yaml.safe_load((FOLDER / f"{subject}_test.yaml").read_text())["tests"]):
        rules, cases = tmp_path / f"rules-{number}.yaml", tmp_path / f"cases-{number}.yaml"
        rules.write_text(with_summaries({case["alertname"] for case in test["alert_rule_test"]}))
        document = {"rule_files": [str(rules)], "evaluation_interval": test["interval"], "tests": [test]}
        cases.write_text(yaml.safe_dump(document, sort_keys=False))
        files.append(str(cases))
    run("promtool", "test", "rules", *files)


def test_every_alert_is_tested() -> None:
    """For each alert there is a case in which it fires, and one in which it does not."""
    cases = [
        case
        for path in FOLDER.glob("*_test.yaml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(ALERTS)


@pytest.mark.parametrize("output", ["prometheus", "prometheusrule"])
def test_golden_rules(output: str) -> None:
    """What is rendered is what is on file, as it stands and tuned."""
    assert render(output=output) == (GOLDEN / f"{output}.yaml").read_text()  # type: ignore[arg-type]


def test_golden_tuned_rules() -> None:
    """What values set is where it should be."""
    assert render(TUNED) == (GOLDEN / "tuned.yaml").read_text()


def test_a_manifest_holds_the_same_rules() -> None:
    """The PrometheusRule has the rules of the plain file, under its metadata."""
    manifest = yaml.safe_load(render(output="prometheusrule"))
    assert manifest["spec"] == yaml.safe_load(render())
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")


def test_a_time_scale_divides_spans_and_nothing_else() -> None:
    """Sixty times as fast: every span is a sixtieth, and every threshold that is no span what it was."""
    plain, fast = yaml.safe_load(render()), yaml.safe_load(render(time_scale=60))
    rules = {rule["alert"]: rule for group in plain["groups"] for rule in group["rules"] if "alert" in rule}
    quick = {rule["alert"]: rule for group in fast["groups"] for rule in group["rules"] if "alert" in rule}
    assert rules["EvenstreamBudgetLow"]["for"] == "6h"
    assert quick["EvenstreamBudgetLow"]["for"] == "6m"
    assert quick["EvenstreamBudgetLow"]["expr"] == rules["EvenstreamBudgetLow"]["expr"]
    assert quick["EvenstreamWindowVoid"]["keep_firing_for"] == "1m"
    assert "[15s]" in quick["EvenstreamWindowVoid"]["expr"]
    assert "> 2\n" in quick["EvenstreamPartitionStalled"]["expr"]
    assert "< 20160\n" in quick["EvenstreamApprovalExpiring"]["expr"]


RULES = [*ALERTS.values(), *RECORDINGS.values()]


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_every_alert_has_a_page(rule: Alert) -> None:
    """There is a page under the alert's own name, with all that a person on call needs."""
    page = (ROOT / "docs" / "runbooks" / f"{rule.name}.md").read_text()
    assert page.startswith(f"# {rule.name}\n\n{rule.severity.capitalize()}. ")
    assert re.findall(r"^## (\w+)", page, re.MULTILINE) == PARTS


def test_every_page_has_an_alert() -> None:
    """No page is left of an alert that is gone, and the list of them names each."""
    folder = ROOT / "docs" / "runbooks"
    assert {path.stem for path in folder.glob("Evenstream*.md")} == set(ALERTS)
    assert re.findall(r"^\| \[(\w+)\]\(\1\.md\)", (folder / "README.md").read_text(), re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_metric_of_a_rule_exists(rule: Alert | Recording) -> None:
    """An alert on a series that nobody exports would stay silent for ever."""
    known = {name for file in METRICS for name in re.findall(r"evenstream_\w+", file.read_text())}
    text = rule.expr.replace("$absent_roles", 'absent(evenstream_build_info{role="a"})')
    assert set(re.findall(r"evenstream_\w+", text)) <= known
    assert set(re.findall(r"evenstream:[\w:]+", text)) <= set(RECORDINGS)
    assert re.search(r"evenstream[_:]", text)


def test_recorded_series_are_worked_out_before_they_are_read() -> None:
    """Within a group Prometheus goes from top to bottom: an alert must not read what is recorded below it."""
    seen: set[str] = set()
    for group in GROUPS:
        seen |= {recording.name for recording in group.recordings}
        for alert in group.alerts:
            assert set(re.findall(r"evenstream:[\w:]+", alert.expr)) <= seen


def test_instances_are_aggregated_away() -> None:
    """Where a role has moved it is the same alert: no rule's result has the labels of a scrape target."""
    for rule in RULES:
        for metric in re.finditer(r"evenstream_\w+", rule.expr):
            before = rule.expr[: metric.start()]
            inside = before.rpartition(" by (")[2] if " by (" in before else ""
            assert inside or "sum(" in before or "max(" in before, (rule.name, metric[0])


def row(alert: Alert) -> str:
    """An alert in the table of docs/metrics.md."""
    known = alert.tunable()
    shown = {name: parameter.shown(parameter.default) for name, parameter in known.items()}  # type: ignore[arg-type]
    spans = f"{shown.pop('for')} | {shown.pop('keep_firing_for')}"
    parameters = "; ".join(f"`{name}` {value}" for name, value in shown.items()) or "-"
    return f"| [{alert.name}](runbooks/{alert.name}.md) | {alert.severity} | {alert.meaning} | {parameters} | {spans} |"


def test_metrics_page_has_every_alert() -> None:
    """The tables of docs/metrics.md are the rules, line by line."""
    lines = (ROOT / "docs" / "metrics.md").read_text().partition("\n## Alerts\n")[2].splitlines()
    assert [line for line in lines if line.startswith("| [")] == [row(alert) for alert in ALERTS.values()]
    recorded = [f"| `{rule.name}` | {rule.meaning} |" for rule in RECORDINGS.values()]
    assert [line for line in lines if line.startswith("| `")] == recorded


def test_the_values_on_the_page_are_values(tmp_path: Path) -> None:
    """The example of a values file can be used as it stands."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    (tmp_path / "values.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    values = read_values(tmp_path / "values.yaml", ALERTS)
    assert 'evenstream_build_info{job="evenstream-prod", role="b"}' in render(values)
    assert "GroupSuppressed" not in render(values)
