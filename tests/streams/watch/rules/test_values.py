"""A values file: what it may say, and what is refused, with the names that there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from streams.cli import main
from streams.errors import InputError
from streams.watch.rules import ALERTS, read_values, render
from streams.watch.rules.alert import Duration, Parameter, Roles
from streams.watch.rules.durations import parse_duration, scaled, shown_duration


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("alerts: {EvenstreamStale: {for: 1m}}", "there is no alert 'EvenstreamStale'; there are EvenstreamUnequal"),
        (
            "alerts: {EvenstreamMetricsStale: {treshold: 4}}",
            "alerts.EvenstreamMetricsStale.treshold: there is no such parameter; there are threshold, for, "
            "keep_firing_for, enabled, severity, labels",
        ),
        ("alerts: {EvenstreamMetricsStale: {threshold: many}}", "expected a number, got 'many'"),
        ("alerts: {EvenstreamMetricsStale: {threshold: .nan}}", "expected a number, got nan"),
        ("alerts: {EvenstreamMetricsStale: {threshold: true}}", "expected a number, got True"),
        ("alerts: {EvenstreamMetricsStale: {for: 10 minutes}}", "expected a duration such as 90s, 15m or 1h30m, got"),
        ("alerts: {EvenstreamMetricsStale: {for: 10}}", "expected a duration such as 90s, 15m or 1h30m, got 10"),
        ("alerts: {EvenstreamWindowVoid: {window: 0s}}", "expected a duration above 0, got '0s'"),
        ("alerts: {EvenstreamWindowVoid: {severity: page}}", "expected one of critical, warning, info, got 'page'"),
        ("alerts: {EvenstreamWindowVoid: {enabled: maybe}}", "expected true or false, got 'maybe'"),
        ("alerts: {EvenstreamWindowVoid: {labels: {severity: x}}}", "not alertname, severity"),
        ("alerts: {EvenstreamWindowVoid: {labels: {team: 7}}}", "put it between quotes"),
        ("alerts: {EvenstreamRoleDown: {roles: [c]}}", "expected a list of roles out of seal, attach, a, b, publish"),
        ("alerts: {EvenstreamRoleDown: {roles: []}}", "expected a list of roles"),
        ("alerts: {EvenstreamRoleDown: 3}", "alerts.EvenstreamRoleDown"),
        ("alarms: {}", "there is no alarms; there are selector, labels, runbooks, manifest, alerts"),
        ("manifest: {title: x}", "there is no manifest.title; there are name, namespace, labels"),
        ("labels: {'a-b': x}", "expected a label's name"),
        ("[1, 2]", "is not a file of values"),
        ("a: [", "is not YAML"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """The message says where, and what there is instead; nothing is rendered half."""
    path = tmp_path / "values.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_values(path, ALERTS)
    assert problem in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that is not there is the user's mistake, and told as one."""
    with pytest.raises(InputError, match=r"values\.yaml cannot be read: No such file"):
        read_values(tmp_path / "values.yaml", ALERTS)


def test_nothing_set_is_nothing_changed(tmp_path: Path) -> None:
    """An empty file of values, and none, render the same."""
    (tmp_path / "empty.yaml").write_text("")
    runner = CliRunner()
    plain = runner.invoke(main, ["alerts", "render"])
    empty = runner.invoke(main, ["alerts", "render", "--values", str(tmp_path / "empty.yaml")])
    assert plain.exit_code == 0
    assert plain.output == empty.output


def written(parameter: Parameter) -> object:
    """A default as a values file has it."""
    if isinstance(parameter, Duration):
        return parameter.shown(parameter.default)
    return list(parameter.default) if isinstance(parameter, Roles) else parameter.default


@pytest.mark.parametrize("name", ALERTS)
def test_any_alert_can_be_tuned_and_switched_off(tmp_path: Path, name: str) -> None:
    """Each parameter of each alert takes the value that it has, and the rule is gone once it is switched off."""
    path, plain = tmp_path / "values.yaml", render()
    defaults = {key: written(parameter) for key, parameter in ALERTS[name].tunable().items()}
    path.write_text(yaml.safe_dump({"alerts": {name: defaults}}))
    assert render(read_values(path, ALERTS)) == plain
    path.write_text(yaml.safe_dump({"alerts": {name: {"enabled": False}}}))
    assert f"alert: {name}\n" in plain
    assert f"alert: {name}\n" not in render(read_values(path, ALERTS))


def test_what_is_switched_off_is_listed_as_such(tmp_path: Path) -> None:
    """By the commands: the rules go to the file that is named, and the list tells what is off."""
    path, out = tmp_path / "values.yaml", tmp_path / "rules.yaml"
    path.write_text("alerts: {EvenstreamGroupSuppressed: {enabled: false}}")
    runner = CliRunner()
    assert runner.invoke(main, ["alerts", "render", "--values", str(path), "--out", str(out)]).exit_code == 0
    assert "EvenstreamGroupSuppressed" not in out.read_text()
    listed = json.loads(runner.invoke(main, ["alerts", "list", "--json", "--values", str(path)]).output)
    assert [row["name"] for row in listed["alerts"] if not row["enabled"]] == ["EvenstreamGroupSuppressed"]
    assert {row["name"] for row in listed["alerts"]} == set(ALERTS)


def test_the_list_says_what_each_means() -> None:
    """Every alert and every recorded series is in the table, with the spans that are in force."""
    output = CliRunner().invoke(main, ["alerts", "list"]).output
    assert all(name in output for name in ALERTS)
    assert "keep_firing_for: 1h" in output
    assert "evenstream:window_age:windows" in output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--out", "nowhere/rules.yaml"], "there is no folder"),
        (["--values", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--time-scale", "0.5"], "0.5 is not in the range"),
        (["--format", "helm"], "is not one of 'prometheus', 'prometheusrule'"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(arguments: list[str], problem: str) -> None:
    """What the user named, and what is wrong with it."""
    result = CliRunner().invoke(main, ["alerts", "render", *arguments])
    assert result.exit_code != 0
    assert problem in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


@given(st.integers(0, 10**12))
def test_durations_come_back(milliseconds: int) -> None:
    """What is written as Prometheus writes it is read as the same span."""
    assert parse_duration(shown_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize("text", ["", "1", "1.5h", "1h 30m", "30m1h", "-1h", "1hour", "١s"])
def test_other_spellings_are_refused(text: str) -> None:
    """Prometheus would refuse them too, later and elsewhere."""
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_a_span_does_not_scale_to_nothing() -> None:
    """A `for` that is there stays there, however fast time goes; none stays none."""
    assert (scaled(10, 86_400.0), scaled(0, 60.0), scaled(3_600_000, 60.0)) == (1, 0, 60_000)
