"""`evenstream recompute` on files, and how it and `evenstream tail` end where something is missing."""

from __future__ import annotations

import json
import re
import signal
import time
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from metric_records import SPEC, hour, minute, window, withdrawn
from rich.console import Console

from privacy import approve
from streams.cli import main, tail
from streams.records.metric import FairnessMetric
from streams.subscription import Delivery

DRAFT = Path(__file__).parents[3] / "examples" / "simulated-feed" / "measurement.yaml"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"KAFKA_BOOTSTRAP": None})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two long windows, two short ones, and a withdrawal."""
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    records = (hour(0), minute(hour(0)), hour(1, decided=0.2), minute(hour(0), 1), withdrawn())
    path.write_text("".join(record.encode().decode() + "\n" for record in records))
    return path


def changed(file: Path, folder: Path, record: FairnessMetric, old: str, new: str) -> Path:
    """The file with one text of one record replaced."""
    path = folder / "changed.jsonl"
    line = record.encode().decode()
    assert old in line
    path.write_text(file.read_text().replace(line, line.replace(old, new, 1)))
    return path


@pytest.fixture(scope="module", params=["signed", "text"])
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The approved spec: as it lies on `measurements`, or what is signed in it."""
    path = tmp_path_factory.mktemp("spec") / "spec.json"
    signed = approve(SPEC, "any", Ed25519PrivateKey.generate())
    path.write_bytes(signed.encode() if request.param == "signed" else signed.spec)
    return path


def test_every_window_is_equal(file: Path) -> None:
    """A line a window, and a sum; without specs each line says so, and with 0 it ends all the same."""
    done = run("recompute", "--file", str(file))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("feed 1h 2025-11-24T17:00:00Z  published, equal: ")
    assert "withdrawn (revoked), no number to recompute; not checked: " in lines[4]
    assert all("not checked: terms (windows, groups, " in line for line in lines[:5])
    assert lines[5].startswith("5 windows, 1 of them without numbers; ")
    assert lines[5].endswith(" all equal; in 5 windows not everything could be checked")
    assert "settings of publish, as the records have them: confidence 0.95 and rho_limit 6" in done.stderr


def test_records_are_held_against_a_spec(file: Path, spec: Path, tmp_path: Path) -> None:
    """Its first windows are whole; a cap that is not the spec's ends with 1; of another spec it is told."""
    arguments = ("recompute", "--file", str(file), "--spec", str(spec))
    done = run(*arguments, "--level", "1h")
    assert done.exit_code == 0, done.output
    assert "not checked" not in done.output
    forged = changed(file, tmp_path, hour(0), '"rows_per_member":2', '"rows_per_member":1')
    found = run("recompute", "--file", str(forged), "--spec", str(spec))
    assert found.exit_code == 1
    assert "the first: feed 1h 2025-11-24T17:00:00Z: rows_per_member: published 1, recomputed 2" in found.stderr
    strangers = run(*arguments, "--level", "10s")
    assert strangers.exit_code == 1
    assert f"spec_sha256: published {'ab' * 32!r}, recomputed '{SPEC.digest().hex()}'" in strangers.stderr


def test_parts_that_do_not_fit_end_with_1(file: Path, tmp_path: Path) -> None:
    """They hide no window behind them: all are judged, and the first that is wrong is named."""
    forged = changed(file, tmp_path, hour(0), '"reference":"one"', '"reference":"none"')
    done = run("recompute", "--file", str(forged))
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 5
    assert (
        "the first: feed 1h 2025-11-24T17:00:00Z: record: published 'parts of one window', recomputed " in done.stderr
    )


def test_erased_alarms_are_found_without_the_window_before(file: Path, tmp_path: Path) -> None:
    """The window's own state is in alarm; and what could not be checked is counted, not called equal."""
    path = tmp_path / "one.jsonl"
    record = hour(2, decided=0.4).encode().decode()
    path.write_text(record + "\n")
    whole = run("recompute", "--file", str(path))
    assert whole.exit_code == 0
    assert whole.stdout.endswith("all equal; in 1 windows not everything could be checked\n")
    path.write_text(re.sub(r'"alarm":true,"alarm_since_ms":\d+', '"alarm":false,"alarm_since_ms":null', record) + "\n")
    erased = run("recompute", "--file", str(path))
    assert erased.exit_code == 1
    assert ".alarm: published False, recomputed True" in erased.stderr


def test_a_changed_number_is_named_and_ends_with_1(file: Path, tmp_path: Path) -> None:
    """The first difference, both numbers, and exit status 1; a tolerance does not hide it."""
    gap = next(r.gap for r in hour(1, decided=0.2).results if r.gap is not None)
    path = changed(file, tmp_path, hour(1, decided=0.2), f'"estimate":{gap.estimate!r}', '"estimate":0.123')
    for options in ([], ["--tolerance-ulp", "4096"]):
        done = run("recompute", "--file", str(path), *options)
        assert done.exit_code == 1
        assert (
            "1 of 5 windows are not what their tables or specs say; the first: feed 1h 2025-11-24T18:00:00Z: "
            in done.stderr
        )
        assert "gap.estimate: published 0.123, recomputed" in done.stderr
    assert run("recompute", "--file", str(path), "--level", "1m").exit_code == 0


def test_windows_that_were_asked_for(file: Path) -> None:
    """By level, end and measurement; none at all is an error and not a silence."""
    done = run("recompute", "--file", str(file), "--level", "1m", "--window", "2025-11-24T17:02:00Z", "--json")
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["window"]["end_ms"], found["equal"]) == (1_764_003_720_000, True)
    assert [text.partition(" ")[0] for text in found["unchecked"]] == ["terms"]
    none = run("recompute", "--file", str(file), "--measurement", "other")
    assert none.exit_code == 1
    assert "there is no such window; there are windows of feed (" in none.stderr


def test_what_nobody_published(file: Path) -> None:
    """Another reference, confidence and statistic; wider at a higher confidence, and none for a group that is not."""
    window = ("recompute", "--file", str(file), "--window", "1764003600000")
    text = run(*window, "--reference", "two", "--statistic", "top: decision=1 | score=1")
    assert text.exit_code == 0, text.output
    assert "against two, 95 % intervals" in text.stdout
    assert "top" in text.stdout
    widths = []
    for confidence in ("0.9", "0.99"):
        found = json.loads(run(*window, "--confidence", confidence, "--json").stdout)
        value = next(r["value"] for r in found["results"] if r["value"])
        widths.append(value["upper"] - value["lower"])
    assert widths[0] < widths[1]
    wrong = run(*window, "--reference", "nobody")
    assert wrong.exit_code == 1
    assert "expected a reference out of ('one', 'two', 'three'), got 'nobody'" in wrong.stderr
    assert run(*window, "--statistic", "top: rank=1").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("recompute", "--file", "none.jsonl"), 1, "none.jsonl cannot be read"),
        (("recompute", "--window", "yesterday"), 2, "expected a window's end"),
        (("recompute", "--file", "x", "--spec", "none.yaml"), 1, "none.yaml cannot be read as text"),
        (("recompute", "--file", "x", "--spec", str(DRAFT)), 1, "does not say when it takes effect"),
        (("recompute", "--file", "x", "--spec", __file__), 1, "test_subscriber_commands.py"),
        (("tail", "--from", "yesterday"), 2, "expected beginning, now or a time"),
        (("tail", "--count", "0"), 2, "--count"),
    ],
)
def test_mistakes_are_messages(arguments: tuple[str, ...], code: int, message: str) -> None:
    """What was expected, what came, and no traceback."""
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["tail", "recompute"])
def test_without_a_broker_it_ends_and_says_so(command: str) -> None:
    """After the time that requests have, with the address that was tried."""
    begun = time.monotonic()
    options = ("--set", "kafka.bootstrap=127.0.0.1:1", "--set", "kafka.request_timeout_seconds=0.5")
    done = run(*options, command)
    assert done.exit_code == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in done.stderr
    assert time.monotonic() - begun < 10


def test_a_live_table_holds_what_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a window has one row, which its withdrawal takes over; what is wrong with a record stands above."""
    out = StringIO()
    terminal = Console(file=out, force_terminal=True, width=160, height=30)
    monkeypatch.setattr(tail, "console", lambda: terminal)
    table = tail._LiveTable(())
    with table:
        for record in (window(), hour(1, decided=0.4), withdrawn()):
            found = Delivery("demo.fairness-metrics", 0, 7, 1, record.topic_key(), (), record.encode())
            table.show(found, record, ["header ce_id: not there"] if record.status == "withdrawn" else [])
    last = out.getvalue().rpartition("window ends")[2]
    assert last.count("feed") == 2
    assert "withdrawn: revoked" in last
    assert "two recommendation_rate" in last
    assert "offset 7: header ce_id: not there" in out.getvalue()


def test_ctrl_c_is_a_flag_once_records_are_followed() -> None:
    """Within Kafka's client an interrupt could come out as anything; a second one, or an early one, ends it."""
    before = signal.getsignal(signal.SIGINT)
    with tail._Ending() as ending:
        ending.following = True
        signal.raise_signal(signal.SIGINT)
        assert ending.asked
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one ends it at once")  # pragma: no cover
    assert signal.getsignal(signal.SIGINT) is before
    with tail._Ending():
        signal.raise_signal(signal.SIGINT)  # before the first record, as while it waits for a broker
        pytest.fail("it ends at once")  # pragma: no cover
