"""`evenstream ledger` and `evenstream transparency` as commands, on what five real processes have left on a real Kafka.

The noise is real, so what each release costs is held against what was debited.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from in_force import put_in_force
from reviewed import REVIEWED

from privacy import parse_measurement
from secure_agg.keyring import create as create_keys
from secure_agg.keyring import load_role
from streams.feed import Feed
from streams.free_ports import free_port
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.records.debit import SignedDebit
from streams.records.metric import FairnessMetric
from streams.roles.seal import END_OF_LOG
from streams.roles.supervisor import COMMANDS, Supervisor
from streams.settings import Settings, load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

START_MS = 1_700_006_370_000  # half a minute before the UTC day 2023-11-15
END_MS = START_MS + 62_000
WINDOWS = 6 + 2

SPEC = """
id: feed
purpose: to try <b>commands</b>
source: {{topic: {topic}, arrival: record_time, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [30s], lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 3, cap_rule: first, rho_member_day: 0.1}}
"""


@dataclass
class Run:
    """A finished run: its settings, its arguments, and what party a showed in /metrics."""

    settings: Settings
    arguments: list[str]
    metrics: str

    def evenstream(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call the command as a person does."""
        command = [sys.executable, "-m", "streams.cli", *self.arguments, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def run(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Six windows over the end of a UTC day, by five processes."""
    folder = tmp_path_factory.mktemp("ledger")
    overrides = [
        f"deployment=t-{os.urandom(4).hex()}",
        f"kafka.bootstrap={kafka}",
        "topics.replication_factor=1",
        "topics.min_insync_replicas=1",
        f"keys.dir={folder / 'keys'}",
        "http.port=0",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    settings = load_settings(None, overrides, environment={})
    source = settings.topic("rec-events")
    config = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    inputs = (*topics.input_plan(settings, ()), topics.TopicPlan(source, 1, 1, config))
    topics.create(settings, (*topics.plan(settings), *inputs))
    create_keys(settings.keys.dir, settings.deployment)
    spec = parse_measurement(SPEC.format(topic=source) + REVIEWED, origin="test").with_effective_from(START_MS)
    put_in_force(settings, spec, END_MS)
    feed = Feed(settings)
    feed.send_all(settings.topic("member-attributes"), [(b"m1", b'{"family_name": "Smith", "state": "MA"}')])
    for second in range(60):
        at_ms = START_MS + 1000 * second
        event = json.dumps({"m": "m1", "ts": at_ms, "r": second % 2 == 0}).encode()
        feed.send(source, b"m1", event, timestamp_ms=at_ms, partition=0)
    feed.send(source, None, None, timestamp_ms=END_MS, partition=0, headers=[(END_OF_LOG, b"1")])
    feed.flush()
    arguments = [part for override in overrides for part in ("--set", override)]
    ports = dict.fromkeys(COMMANDS, 0) | {"a": free_port()}
    supervisor = Supervisor(arguments, folder / "logs", ports)
    supervisor.start()
    try:
        _await_windows(settings, supervisor)
        metrics = _await_debits(ports["a"])
    finally:
        supervisor.stop()
    yield Run(settings, arguments, metrics)


def _await_windows(settings: Settings, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        supervisor.watch()
        time.sleep(0.5)
        if sum(1 for _ in read_to_end(settings, settings.topic("fairness-metrics"))) >= WINDOWS:
            return
    raise AssertionError(f"not all {WINDOWS} windows were published in time")


def _await_debits(port: int) -> str:
    """Party a's /metrics as soon as they tell of both debits, which follows their release by a turn of the loop."""
    deadline = time.monotonic() + 15
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            metrics = str(answer.read().decode())
        if 'evenstream_ledger_debits_total{role="a"} 2.0' in metrics or time.monotonic() > deadline:
            return metrics
        time.sleep(0.2)


def test_ledger_show(run: Run) -> None:
    """What was spent of a member-day, of 30 days and of a year, with relation and delta, as text and as JSON."""
    shown = run.evenstream("ledger", "show", "--party", "a", "--day", "2023-11-15")
    assert shown.returncode == 0, shown.stderr
    assert "on replacement; epsilon at delta 1e-09" in " ".join(shown.stdout.split())
    found = json.loads(run.evenstream("ledger", "show", "--party", "b", "--day", "2023-11-15", "--json").stdout)
    assert [period["rho_spent"] for period in found["periods"]] == pytest.approx([0.1, 0.2, 0.2])
    assert [period["rho_limit"] for period in found["periods"]] == [0.6, 100, 1000]
    assert [debit["day"] for debit in found["last_debits"]] == ["2023-11-15", "2023-11-14"]


@pytest.mark.parametrize("party", ["a", "b"])
def test_ledger_verify(run: Run, party: str, tmp_path: Path) -> None:
    """Both parties' ledgers are in order, and it takes nothing but public keys to see that."""
    public = tmp_path / "trusted.json"
    public.write_bytes((run.settings.keys.dir / "publish" / "trusted.json").read_bytes())
    verified = run.evenstream("ledger", "verify", "--party", party, "--trusted", str(public))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "2 debits, windows: 8 released" in verified.stdout
    assert "; in order" in verified.stdout


def test_a_number_is_followed_to_its_payment(run: Run) -> None:
    """The debits that a published window names lie in the two ledgers, signed by their parties."""
    values = [record.value() or b"" for record in read_to_end(run.settings, run.settings.topic("fairness-metrics"))]
    windows = [FairnessMetric.decode(value) for value in values]
    for party in ("a", "b"):
        ledger = [
            SignedDebit.decode(record.value() or b"")
            for record in read_to_end(run.settings, run.settings.topic(f"ledger-{party}"))
        ]
        days = {debit.digest.hex(): json.loads(debit.debit)["day"] for debit in ledger}
        for window in windows:
            day = time.strftime("%Y-%m-%d", time.gmtime(window.window.start_ms / 1000))
            assert days[getattr(window.checks, f"debit_{party}")] == day


def test_a_party_shows_its_budget(run: Run) -> None:
    """Party a's own /metrics hold its debits and what is spent; today's member-day is not that of the log."""
    assert 'evenstream_ledger_debits_total{role="a"} 2.0' in run.metrics
    assert 'evenstream_ledger_spent_ratio{period="member-day",role="a"} 0.0' in run.metrics


def test_transparency(run: Run, tmp_path: Path) -> None:
    """The page and its Markdown are written from the live topics, configurations and keys; nothing is missing on it."""
    done = run.evenstream("transparency", "--out", str(tmp_path / "page"))
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "page" / "transparency.html").read_text()
    markdown = (tmp_path / "page" / "transparency.md").read_text()
    assert "could not be read:" not in html
    assert "to try &lt;b&gt;commands&lt;/b&gt;" in html
    assert "<b>" not in html and "<b>" not in markdown
    for text in ("feed, revision 1", "2 debits", "for ever", "7 days", run.settings.topic("member-attributes")):
        assert text in html and text in markdown
    assert "2 of 3 reviewers" in html and "as decisions says" in html
    windows = next(line for line in html.splitlines() if '<th scope="row">10s</th>' in line)
    assert sum(int(count) for count in re.findall(r"<td>(\d+)</td>", windows)) == 6


def test_a_forged_debit_is_found(run: Run) -> None:
    """Last, since it spoils the ledger: a debit that the other party signed makes verify fail and show refuse."""
    settings = run.settings
    last = list(read_to_end(settings, settings.topic("ledger-a")))[-1]
    debit = SignedDebit.decode(last.value() or b"").debit
    other = load_role(settings.keys.dir, "b", settings.deployment).identity
    feed = Feed(settings)
    feed.send(settings.topic("ledger-a"), None, SignedDebit.signed(other, debit).encode(), partition=0)
    feed.flush()
    verified = run.evenstream("ledger", "verify", "--party", "a")
    assert verified.returncode == 1
    assert "is no debit that party a signed" in verified.stdout
    assert "1 problem(s) in the ledger and the releases of party a" in verified.stderr
    assert "Traceback" not in verified.stderr
    shown = run.evenstream("ledger", "show", "--party", "a")
    assert shown.returncode == 1
    assert "No figure of a broken ledger can be trusted" in shown.stderr
