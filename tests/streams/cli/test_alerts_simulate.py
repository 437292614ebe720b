"""`evenstream alerts simulate`: what it prints, and how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from audit_examples import ROOT
from click.testing import CliRunner, Result

from estimator.detection import Detectors
from streams.alert_simulation.tasks import QUICK
from streams.cli import alerts_simulate, main

FEED = str(ROOT / "examples" / "simulated-feed" / "measurement.yaml")
SMALL = ("--quick", "--runs", "8", "--false-alarm-windows", "20")


@pytest.fixture(autouse=True)
def _soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays are not waited for as long as a quick run waits."""
    monkeypatch.setattr(alerts_simulate, "QUICK", replace(QUICK, delay_horizon=60))


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ("alerts", "simulate", *arguments))


def test_a_measurement_is_simulated_with_its_own_terms() -> None:
    """Its detectors, its levels at their own A; the tables are followed by a line for each promise."""
    result = run("--spec", FEED, *SMALL)
    assert result.exit_code == 0, result.output
    for text in ("8,640", "1,440", "e-detector", "CUSUM, same run length", "3 in a row", "holds: "):
        assert text in result.stdout
    assert "45 detectors: the first false alarm comes after 20 windows or more" in " ".join(result.stdout.split())
    assert "simulations: " in result.stderr


def test_json_has_every_figure() -> None:
    """With censoring, errors and promises; no infinity, no NaN."""
    result = run("--spec", FEED, *SMALL, "--json", "--seed", "3")
    assert result.exit_code == 0, result.output

    def no_constant(name: str) -> None:
        pytest.fail(f"{name} in JSON")

    found = json.loads(result.stdout, parse_constant=no_constant)
    assert found["terms"]["detectors"] == [45]
    assert len(found["terms"]["tolerated"]) == 45
    assert found["seed"] == 3
    assert {one["section"] for one in found["figures"]} == {"false alarms", "delays", "levels", "ends"}
    assert all(one["given_up"] <= one["runs"] for one in found["figures"])
    assert all(promise["holds"] for promise in found["promises"])


def test_a_promise_that_does_not_hold_is_an_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the detectors' own threshold at next to nothing, there are more false alarms than were promised."""
    monkeypatch.setattr(Detectors, "threshold_steps", 10)
    result = run("--spec", FEED, *SMALL)
    assert result.exit_code == 1
    assert "DOES NOT HOLD: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--spec", FEED, "--detectors", "3"), "leave out --spec"),
        (("--spec", "nowhere.yaml"), "nowhere.yaml"),
        (("--runs", "1"), "2<=x"),
        (("--false-alarm-windows", "3"), "20<=x"),
        (("--detectors", "0"), "1<=x"),
        (("--seed", "-1"), "x>=0"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    """What was expected, without a traceback."""
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert told in result.output
    assert "Traceback" not in result.output
