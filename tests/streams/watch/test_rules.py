"""Alerting rules: Prometheus reads them, they fire when they should, and each leads to a page that says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import streams.watch

ROOT = Path(__file__).parents[3]
RULES = sorted((Path(streams.watch.__file__).parent / "rules").glob("*.yaml"))
METRICS = [Path(__file__).parent / "golden" / f"{name}_metrics.txt" for name in ("collector", "health")]
ALERTS = [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
PARTS = ["Meaning", "Impact", "Commands", "Fix", "Never", "Escalation"]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here; `apt-get install prometheus` brings it"
)


def promtool(*arguments: str) -> None:
    """Run promtool, and show what it says where it fails."""
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.stem)
def test_prometheus_reads_the_rules(rules: Path) -> None:
    """The file is valid, and no expression is one that Prometheus refuses."""
    promtool("check", "rules", str(rules))


@needs_promtool
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.stem)
def test_alerts_fire_when_they_should(tmp_path: Path, rules: Path) -> None:
    """Each alert fires on the series that mean it and on no others."""
    cases = tmp_path / "cases.yaml"
    text = (Path(__file__).parent / "rules" / f"{rules.stem}_test.yaml").read_text()
    cases.write_text(text.replace("- RULES", f"- {rules}"))
    promtool("test", "rules", str(cases))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_page(rule: dict[str, dict[str, str]]) -> None:
    """It names a page that is there, under the alert's own name, with all that a person on call needs."""
    name = str(rule["alert"])
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    page = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (\w+)", page, re.MULTILINE) == PARTS
    assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_metric_of_an_alert_exists(rule: dict[str, str]) -> None:
    """An alert on a series that nobody exports would stay silent for ever."""
    known = {name for file in METRICS for name in re.findall(r"evenstream_\w+", file.read_text())}
    used = set(re.findall(r"evenstream_\w+", rule["expr"]))
    assert used
    assert used <= known
