"""``evenstream budget plan``: the figures of the noise that will be drawn, of periods, and of targets."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from privacy import epsilon
from streams.cli import main

SPEC = """
id: ID
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m]}
reference: white
privacy:
  contribution_cap: 2
  rho_member_day: 0.05
  rotation: {days_in_30: 5, days_in_year: 20}
  channel_shares: {table: 0.5, moments: 0.1, rectifier: 0.4}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec with all channels, two levels and rotation."""
    path = tmp_path / "feed.yaml"
    path.write_text(SPEC.replace("ID", "feed"))
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A second one, without rotation."""
    path = tmp_path / "jobs.yaml"
    path.write_text(SPEC.replace("ID", "jobs").replace("  rotation: {days_in_30: 5, days_in_year: 20}\n", ""))
    return path


def plan(*arguments: object, limits: tuple[float, float, float] = (0.6, 1.0, 2.0)) -> Result:
    """Run it under these limits."""
    names = ("rho_member_day_limit", "rho_30_days_limit", "rho_year_limit")
    options = [f"--set=privacy.{name}={limit}" for name, limit in zip(names, limits, strict=True)]
    return CliRunner().invoke(main, [*options, "budget", "plan", *map(str, arguments)])


def found(*arguments: object, **options: Any) -> dict[str, Any]:
    """Its JSON."""
    result = plan(*arguments, "--json", **options)
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.output)
    return content


def test_each_channel_of_each_level_is_shown(spec: Path) -> None:
    """Shares sum to one, sigma is L2 / sqrt(2 rho) on both relations, and what is published has sqrt 2 times it."""
    (one,) = found(spec)["measurements"]
    assert [(c["level"], c["channel"]) for c in one["channels"]] == [
        ("10s", "table"),
        ("10s", "moments"),
        ("1m", "table"),
        ("1m", "rectifier"),
        ("1m", "moments"),
    ]
    assert sum(c["share"] for c in one["channels"]) == pytest.approx(1)
    for c in one["channels"]:
        assert c["rho"] == pytest.approx(0.05 * c["share"], rel=1e-5)
        assert c["sigma_rows"] == pytest.approx(c["l2_rows"] / math.sqrt(2 * c["rho"]), rel=1e-6)
        assert c["sigma_rows"] == pytest.approx(c["l2_rows_add_remove"] / math.sqrt(2 * c["rho_add_remove"]), rel=1e-6)
        assert c["published_sigma_rows"] == pytest.approx(math.sqrt(2) * c["sigma_rows"])
    table = one["channels"][2]
    assert (table["l2_rows"], table["l2_rows_add_remove"]) == (pytest.approx(2 * math.sqrt(2)), pytest.approx(2))


def test_a_member_pays_for_the_days_that_count(spec: Path) -> None:
    """One day, five of 30, twenty of 365; rho and epsilon on both relations with their delta."""
    (one,) = found(spec)["measurements"]
    for statement, (period, days) in zip(
        one["statements"], (("member-day", 1), ("30-days", 5), ("year", 20)), strict=True
    ):
        assert (statement["period"], statement["delta"], statement["relation"]) == (period, 1e-9, "replace")
        assert statement["rho"] == pytest.approx(0.05 * days, rel=1e-5)
        assert statement["epsilon"] == epsilon(statement["rho"], 1e-9)
        assert statement["epsilon_add_remove"] == epsilon(statement["rho_add_remove"], 1e-9)
        assert statement["rho_add_remove"] < statement["rho"]


def test_several_are_added_and_held_against_the_limits(spec: Path, other: Path) -> None:
    """Together: .25 and 1.5 in 30 days. The registry's own words say what does not fit."""
    both = found(spec, other)
    assert [(p["period"], pytest.approx(p["debited"])) for p in both["limits"]] == [
        ("member-day", 0.1),
        ("30-days", 0.25 + 1.5),
        ("year", 1.0 + 18.25),
    ]
    assert both["together"][1]["rho"] == pytest.approx(1.75, rel=1e-5)
    assert "'jobs' asks for rho 1.5 in 30 days, but only 0.75 of 1 is left (feed 0.25)" in both["refusal"]
    assert "1970" not in both["refusal"]
    assert found(spec, other, limits=(0.1, 1.75, 19.25))["refusal"] is None
    assert found(spec)["refusal"] is None


def test_what_expires_soon_costs_less(other: Path) -> None:
    """Four days of it are four days, in 30 as in 365."""
    other.write_text(other.read_text() + "effective_from: 2026-12-01T00:00:00Z\nexpires: 2026-12-05T00:00:00Z\n")
    (one,) = found(other)["measurements"]
    assert [s["rho"] for s in one["statements"]] == [pytest.approx(0.05 * n, rel=1e-5) for n in (1, 4, 4)]


@pytest.mark.parametrize(("per", "days"), [("member-day", 1), ("30-days", 5), ("year", 20)])
def test_a_target_is_met_by_the_line_that_is_printed(spec: Path, per: str, days: int) -> None:
    """Put into the spec, the printed rho pays just under the target over its period."""
    result = plan(spec, "--epsilon", 2, "--per", per)
    assert result.exit_code == 0
    assert f"epsilon 2 per {per} (replacement, delta 1e-09) is met by this line under privacy:" in result.output
    line = next(line for line in result.output.splitlines() if line.startswith("  rho_member_day: "))
    spec.write_text(spec.read_text().replace("  rho_member_day: 0.05", line))
    assert yaml.safe_load(spec.read_text())["privacy"]["rho_member_day"] > 0
    content = found(spec)
    statement = next(s for s in content["measurements"][0]["statements"] if s["period"] == per)
    assert 2 * (1 - 1e-5) <= statement["epsilon"] <= 2
    assert content["measurements"][0]["rho_member_day"] * days == pytest.approx(statement["rho"], rel=1e-5)
    solved = found(spec, "--epsilon", 2, "--per", per)
    assert solved["solved_for"] == {"epsilon": 2.0, "per": per, "relation": "replace"}


def test_the_tables_are_for_people(spec: Path, other: Path) -> None:
    """Every table has its heading, an epsilon its delta, and what does not fit says NO."""
    text = plan(spec, other).output
    for heading in (
        "feed, revision 1: rho 0.05 a member-day, at most 2 rows of it count (hours), delta 1e-09.",
        "what each level and channel gets",
        "what a member pays, on at most 5 days in 30 and 20 in 365",
        "together: feed, jobs",
        "next to the registry's limits",
        "The registry would refuse it: 'jobs' asks for",
        "at 1e-09",
        " NO ",
    ):
        assert heading in text


def test_test_noise_says_that_it_protects_nobody(spec: Path) -> None:
    """No epsilon, and no target for it."""
    spec.write_text(spec.read_text() + "test_only: {noise_scale_units: 0.01}\n")
    text = plan(spec).output
    assert "TEST NOISE: it protects nobody" in text
    assert "without bound" in text
    result = plan(spec, "--epsilon", 1)
    assert result.exit_code == 1
    assert "'feed' is test_only: its noise does not follow from rho" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epsilon", "50"), "epsilon 50 at delta 1e-09 per member-day is rho"),
        (("--epsilon", "0"), "is not in the range"),
        (("--epsilon", "nan"), "expected a finite number, got nan"),
        (("--per", "week"), "is not one of 'member-day', '30-days', 'year'"),
    ],
)
def test_a_users_mistake_gets_a_message(spec: Path, arguments: tuple[str, ...], message: str) -> None:
    """What was expected, and no traceback."""
    result = plan(spec, *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_one_spec_named_twice_is_an_error(spec: Path) -> None:
    """It would be counted twice."""
    result = plan(spec, spec)
    assert result.exit_code == 1
    assert "revision 1 of 'feed' is named twice" in result.output


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """By its name."""
    result = plan(tmp_path / "none.yaml")
    assert result.exit_code == 1
    assert "none.yaml cannot be read as text" in result.output
