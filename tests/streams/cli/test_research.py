"""`evenstream audit`, `plan` and `probabilities check`: what they print, and how they end."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_examples import PRIMARIES, ROOT
from click.testing import CliRunner, Result

from streams.cli import main

pytestmark = pytest.mark.slow

EVENTS, MEMBERS, SPEC = (str(PRIMARIES / name) for name in ("events.jsonl", "members.jsonl", "measurement.yaml"))
FEED = str(ROOT / "examples" / "simulated-feed" / "measurement.yaml")


def audit_of(*, events: str = EVENTS, members: str = MEMBERS, measurement: str = SPEC) -> tuple[str, ...]:
    """An audit's command line."""
    return "audit", "--events", events, "--members", members, "--measurement", measurement


AUDIT = audit_of()
PLAN = ("plan", "--measurement", FEED, "--rate", "2000", "--epsilon", "4")
CHECK = ("probabilities", "check", "--members", MEMBERS)


def run(*arguments: str) -> Result:
    """Run a command, without any Kafka."""
    return CliRunner().invoke(main, arguments, env={"KAFKA_BOOTSTRAP": None})


def personal() -> Iterator[str]:
    """Ids, and family names that are no words of ours, of everyone in the sample."""
    for line in (PRIMARIES / "members.jsonl").read_text().splitlines():
        member = json.loads(line)
        yield member["member_id"]
        if len(member["family_name"]) > 5:
            yield f"{member['given_name']} {member['family_name']}"
            yield member["family_name"]


def test_the_real_log_is_audited_in_seconds() -> None:
    """One table a statistic, what was counted, and loudly that it is not private."""
    begun = time.process_time()
    result = run(*AUDIT)
    assert result.exit_code == 0, result.output
    assert time.process_time() - begun < 10
    assert result.stdout.splitlines()[1].startswith("EXACT AND NOT PRIVATE")
    for text in ("2,669  rows that count", "recommendation_rate", "precision", "corrected", "white+native+multiple"):
        assert text in result.stdout


def test_an_audit_as_json_has_everything() -> None:
    """Each result with its interval; exact, so with counts and without a promise."""
    content = json.loads(run(*AUDIT, "--json").stdout)
    assert content["private"] is False
    assert content["statement"].startswith("EXACT AND NOT PRIVATE")
    assert content["counted"]["counted"] == 2669
    black = next(
        r for r in content["windows"][0]["results"]
        if (r["metric"], r["group"], r["estimator"]) == ("recommendation_rate", "black", "weighted")
    )  # fmt: skip
    assert black["value"]["lower"] < black["value"]["estimate"] < black["value"]["upper"]


def test_a_private_audit_states_its_promise_and_no_exact_count(tmp_path: Path) -> None:
    """With --epsilon the statement has unit, relation, epsilon and delta; exact counts go to standard error only."""
    file = tmp_path / "audit.html"
    result = run(*AUDIT, "--epsilon", "2", "--json", "--html", str(file))
    content = json.loads(result.stdout)
    assert content["private"] is True
    assert content["counted"] is None
    assert {"unit", "relation", "epsilon", "delta", "rho", "period", "noise_sigma_rows"} == content["privacy"].keys()
    assert content["privacy"]["epsilon"] == pytest.approx(2, rel=1e-3)
    for text in ("epsilon 2 ", "delta 1e-06", "one member's rows of one UTC day", "replacing"):
        assert text in content["statement"]
        assert text in file.read_text().replace("&#x27;", "'")
    assert "2,669" in result.stderr
    for shown in (result.stdout, file.read_text(), run(*AUDIT, "--epsilon", "2").stdout):
        assert re.search(r"(?<![\d.])2,?669(?![\d.])", shown) is None
        assert "NOT PRIVATE" not in shown


def test_a_page_holds_plots_tables_and_the_notice(tmp_path: Path) -> None:
    """The same bytes in a second run, with a plot a statistic."""
    pages = []
    for name in ("one.html", "two.html"):
        assert run(*AUDIT, "--html", str(tmp_path / name)).exit_code == 0
        pages.append((tmp_path / name).read_text())
    assert pages[0] == pages[1]
    assert "EXACT AND NOT PRIVATE" in pages[0]
    assert pages[0].count("<svg ") == pages[0].count("<h3>") == 5


def test_a_plan_is_a_table_for_each_level_and_estimator(tmp_path: Path) -> None:
    """Assumptions are stated; suppressed groups have their reason; page, plot and JSON say the same."""
    html, plot = tmp_path / "plan.html", tmp_path / "plan.svg"
    result = run(*PLAN, "--html", str(html), "--plot", str(plot))
    assert result.exit_code == 0, result.output
    for text in (
        "Assumed: 2,000 rows a second",
        "10s, weighted",
        "1m, weighted",
        "epsilon 4",
        "(spec)",
        "too few rows",
    ):
        assert text in result.stdout
    assert "<svg" in html.read_text()
    assert plot.read_text().startswith("<?xml")
    content = json.loads(run(*PLAN, "--json").stdout)
    assert {level["level"] for level in content["levels"]} == {"10s", "1m"}
    assert content["assumptions"]["counted_share"] == 1
    assert {"unit", "relation", "delta"} <= content.keys()


def test_a_plan_of_the_companys_own_members() -> None:
    """--members takes the mix of probabilities, and the share of Self-IDs, from a file."""
    content = json.loads(run("plan", "--measurement", SPEC, "--rate", "1", "--members", MEMBERS, "--json").stdout)
    assert content["assumptions"]["self_id_share"] == pytest.approx(288 / 2669)
    assert content["assumptions"]["members"].startswith("those of members.jsonl")


def test_a_number_of_members_is_a_size(tmp_path: Path) -> None:
    """What it takes comes after the plan, in text, page and JSON; without a number there is nothing of it."""
    page = tmp_path / "plan.html"
    result = run(*PLAN, "--members", "5e6", "--html", str(page))
    assert result.exit_code == 0, result.output
    assert result.stdout.index("10s, weighted") < result.stdout.index("What it takes: 2,000 rows a second, 5 million")
    for text in ("cores", "of memory", "4 partitions (1 would do)", "state-attach", "the parties, one worker each"):
        assert text in result.stdout
    assert "What it takes: 2,000 rows a second" in page.read_text()
    content = json.loads(run(*PLAN, "--members", "5_000_000", "--json").stdout)
    assert content["size"]["members"] == 5_000_000
    assert {"cores", "memory_bytes", "partitions", "kafka_written_bytes_per_second"} <= content["size"].keys()
    assert content["measurement"] == "simulated-feed"  # the plan itself is where it was
    assert "What it takes" not in run(*PLAN).stdout
    assert "size" not in json.loads(run(*PLAN, "--json").stdout)


def test_a_size_is_of_the_partitions_that_there_are() -> None:
    """Those of the settings, or those that are given; of events that are lists each gives many rows."""
    sized = (*PLAN, "--members", "1000000", "--json")
    assert json.loads(run("--set", "topics.partitions=8", *sized).stdout)["size"]["partitions"] == 8
    fixed = json.loads(run(*sized, "--partitions", "6", "--source-partitions", "12", "--rows-per-event", "25").stdout)
    size = fixed["size"]
    assert (size["partitions"], size["source_partitions"], size["events_per_second"]) == (6, 12, 80)


def test_own_members_and_a_number_of_them() -> None:
    """--members twice: the mix of a file, for so many members."""
    content = json.loads(
        run("plan", "--measurement", SPEC, "--rate", "1", "--members", MEMBERS, "--members", "1e9", "--json").stdout
    )
    assert content["assumptions"]["members"].startswith("those of members.jsonl")
    assert content["size"]["members"] == 1_000_000_000


def test_several_measurements_are_planned_one_after_the_other(tmp_path: Path) -> None:
    """Each has its plan, and one size is of all."""
    page = tmp_path / "plan.html"
    both = ("plan", "--measurement", FEED, "--measurement", SPEC, "--rate", "100", "--members", "1e5", "--epsilon", "2")
    result = run(*both, "--html", str(page))
    assert result.exit_code == 0, result.output
    assert result.stdout.index("Plan of simulated-feed") < result.stdout.index("Plan of primaries-2022")
    assert "What it takes: 200 rows a second for 2 measurements" in result.stdout
    assert "Plan of 2 measurements" in page.read_text()
    assert page.read_text().count("<svg ") == 2
    content = json.loads(run(*both, "--json").stdout)
    assert [one["measurement"] for one in content["measurements"]] == ["simulated-feed", "primaries-2022"]
    assert content["size"]["rows_per_second"] == 200


def test_the_check_prints_aggregates() -> None:
    """Match rates, places, group shares, Self-ID and calibration."""
    result = run(*CHECK)
    assert result.exit_code == 0, result.output
    for text in ("2,383", "89.3 %", "group shares", "Self-ID: 288 members (10.8 %)", "log-loss", "< 20"):
        assert text in result.stdout
    assert json.loads(run(*CHECK, "--json").stdout)["members"] == 2669


@pytest.mark.parametrize(
    "command",
    [AUDIT, (*AUDIT, "--json"), (*AUDIT, "--epsilon", "3"), CHECK, (*CHECK, "--json"),
     ("plan", "--measurement", SPEC, "--rate", "1", "--members", MEMBERS)],
)  # fmt: skip
def test_no_output_names_a_person(command: tuple[str, ...], tmp_path: Path) -> None:
    """No id and no name of the sample is in any mode's output, page included."""
    page = tmp_path / "page.html"
    result = run(*command, *(() if "check" in command else ("--html", str(page))))
    assert result.exit_code == 0, result.output
    text = result.output + (page.read_text() if page.exists() else "")
    words = set(re.findall(r"[\w'-]+", text))
    ours = {"Georgia", "statement", "States", "United"}
    assert {who for who in personal() if " " in who and who in text} == set()
    assert words & set(personal()) <= ours


def test_probabilities_of_few_are_never_shown(tmp_path: Path) -> None:
    """A sample of nineteen is refused, whoever is in it, and the message names none of them."""
    file = tmp_path / "few.jsonl"
    file.write_text("".join((PRIMARIES / "members.jsonl").read_text().splitlines(keepends=True)[:19]))
    result = run("probabilities", "check", "--members", str(file))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert not set(re.findall(r"\w+", result.stderr)) & set(personal())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (audit_of(events="none.jsonl"), 1, "none.jsonl cannot be read"),
        (audit_of(members="none.jsonl"), 1, "none.jsonl cannot be read"),
        (audit_of(measurement="none.yaml"), 1, "none.yaml cannot be read"),
        (audit_of(members=EVENTS), 1, "events.jsonl:1: expected a member_id"),
        (audit_of(events=MEMBERS), 1, "members.jsonl: none of its 2,669 lines has a time"),
        ((*AUDIT, "--level", "1h"), 1, "has no level '1h'"),
        ((*AUDIT, "--epsilon", "0"), 2, "--epsilon"),
        ((*AUDIT, "--epsilon", "1e-9"), 1, "name an epsilon between"),
        ((*AUDIT, "--html", "no/such/folder.html"), 1, "cannot be written"),
        ((*PLAN, "--plot", "plan.gif"), 2, "ends in .svg or .png"),
        ((*PLAN, "--metric", "nothing"), 1, "only predictive_parity, precision, tpr, fpr, recommendation_rate"),
        (("plan", "--measurement", FEED, "--rate", "0"), 2, "--rate"),
        (("plan", "--measurement", FEED), 2, "--rate"),
        ((*PLAN, "--members", "0"), 2, "expected a whole number from 1 to 100,000,000,000, or a file, got 0"),
        ((*PLAN, "--members", "1e12"), 2, "expected a whole number from 1 to 100,000,000,000, or a file, got 1e12"),
        ((*PLAN, "--members", "1.5"), 2, "expected a whole number"),
        ((*PLAN, "--members", "5", "--members", "6"), 2, "expected one file and one number at most"),
        ((*PLAN, "--members", "many"), 1, "many cannot be read"),
        ((*PLAN, "--partitions", "8"), 2, "give --members a number as well"),
        ((*PLAN, "--members", "5", "--partitions", "0"), 2, "--partitions"),
        ((*PLAN, "--members", "5", "--rows-per-event", "0"), 2, "--rows-per-event"),
        (("plan", "--measurement", FEED, "--rate", "1e12", "--members", "5"), 2, "at most 1,000,000,000 events"),
        ((*PLAN, "--measurement", FEED), 1, "'simulated-feed' is named twice"),
        ((*PLAN, "--measurement", SPEC, "--plot", "plan.svg"), 2, "draws one measurement, got 2"),
    ],
)  # fmt: skip
def test_mistakes_are_messages(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was expected, what came and what to do, with the exit codes of other commands, and no traceback."""
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_malformed_and_empty_files_are_told_by_line(tmp_path: Path) -> None:
    """A broken line is named by file and number; an empty file is called empty."""
    broken, empty = tmp_path / "broken.jsonl", tmp_path / "empty.jsonl"
    broken.write_text((PRIMARIES / "events.jsonl").read_text().splitlines(keepends=True)[0] + "{oops\n")
    empty.write_text("")
    assert f"{broken}:2: expected one JSON object" in run(*audit_of(events=str(broken))).stderr
    assert "holds no events" in run(*audit_of(events=str(empty))).stderr
    assert "holds no members" in run(*audit_of(members=str(empty))).stderr


def test_a_page_without_matplotlib_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message holds the command that installs it, and no file is written; tables need no matplotlib."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(*AUDIT, "--html", str(tmp_path / "page.html"))
    assert result.exit_code == 1
    assert "pip install 'evenstream[plots]'" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert run(*AUDIT).exit_code == 0


@pytest.mark.parametrize("number", ["nan", "inf", "1e9", "0", "-1"])
def test_an_epsilon_is_a_number_that_can_be_promised(number: str) -> None:
    """What no one can spend is refused before anything is read."""
    for command in (["audit", "--events", "none", "--members", "none"], ["plan", "--rate", "10"]):
        done = CliRunner().invoke(main, [*command, "--measurement", "none.yaml", "--epsilon", number])
        assert done.exit_code == 2
        assert "--epsilon" in done.output


def test_numbers_are_finite() -> None:
    """NaN passes every comparison that is written as a refusal, so it is refused by itself."""
    for option in (["--rate", "nan"], ["--rate", "10", "--confidence", "nan"], ["--rate", "inf"]):
        done = CliRunner().invoke(main, ["plan", "--measurement", "none.yaml", *option])
        assert done.exit_code == 2
        assert "finite" in done.output or "range" in done.output
