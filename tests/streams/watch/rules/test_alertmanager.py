"""The Alertmanager example: it is valid, and each alert goes to whoever can do something about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from monitoring import needs, run

from streams.watch.rules import ALERTS, render

FOLDER = Path(__file__).parent
EXAMPLES = Path(__file__).parents[4] / "examples" / "alertmanager"
CONFIG = EXAMPLES / "alertmanager.yaml"
REVIEWERS = {f"Evenstream{name}" for name in
             ("UnequalTreatment", "GapBeyondThreshold", "EstimatorsDisagree", "ReviewOverdue")}  # fmt: skip
OWNERS = {f"Evenstream{name}" for name in ("ApprovalExpiring", "BudgetLow", "GroupSuppressed")}


def receiver(name: str) -> str:
    """Who should hear of an alert."""
    if name in REVIEWERS or name in OWNERS:
        return "reviewers" if name in REVIEWERS else "measurement-owners"
    return "on-call" if ALERTS[name].severity == "critical" else "team"


@needs("amtool")
def test_alertmanager_reads_it() -> None:
    """The file is valid, with its routes, inhibitions and receivers."""
    said = run("amtool", "check-config", str(CONFIG))
    assert "7 inhibit rules" in said
    assert "4 receivers" in said


@needs("amtool")
def test_each_alert_reaches_whoever_can_act() -> None:
    """Findings go to reviewers, approvals to owners, what is urgent to whoever is on call."""
    for name, alert in ALERTS.items():
        labels = (f"alertname={name}", f"severity={alert.severity}")
        run(
            "amtool",
            "config",
            "routes",
            "test",
            f"--config.file={CONFIG}",
            f"--verify.receivers={receiver(name)}",
            *labels,
        )


def labels_of_alerts() -> dict[str, set[str]]:
    """The labels that each alert has, as the cases of the rules' own tests show it."""
    found: dict[str, set[str]] = {}
    for path in FOLDER.glob("*_test.yaml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                for alert in case["exp_alerts"]:
                    found.setdefault(case["alertname"], set()).update(alert["exp_labels"])
    return found


def test_inhibition_names_alerts_and_labels_that_exist() -> None:
    """One that names what is not there holds nothing back, and a label that both lack is equal for all of them."""
    labels = labels_of_alerts()
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        sides = (str(rule["source_matchers"]), str(rule["target_matchers"]))
        source, target = (set(re.findall(r"Evenstream\w+", side)) for side in sides)
        assert source
        assert target
        assert not source & target
        for name in source | target:
            assert set(rule["equal"]) - {"deployment"} <= labels[name], (name, rule["equal"])


@needs("promtool")
def test_prometheus_reads_the_example(tmp_path: Path) -> None:
    """With the rules in the place where the file says that they are."""
    (tmp_path / "prometheus.yaml").write_text((EXAMPLES / "prometheus.yaml").read_text())
    (tmp_path / "evenstream-rules.yaml").write_text(render())
    assert "SUCCESS" in run("promtool", "check", "config", str(tmp_path / "prometheus.yaml"))


@pytest.mark.parametrize("name", ["MetricsStale", "PartitionStalled", "PartiesApart"])
def test_a_role_that_is_down_holds_back_what_follows_from_it(name: str) -> None:
    """The three alerts of the contract are among the targets of RoleDown."""
    rules = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    targets = [str(rule["target_matchers"]) for rule in rules if "EvenstreamRoleDown" in str(rule["source_matchers"])]
    assert any(f"Evenstream{name}" in target for target in targets)
