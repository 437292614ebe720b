"""Governance on a real cluster, by the commands: from proposal to revocation, and all that is refused on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alarmed import ALARM_MS, record, result
from click.testing import CliRunner, Result
from reviewed import REVIEWED
from signed_windows import headers_over

from privacy import Measurement, SignedMeasurement, approve, parse_measurement, revoke
from privacy.decisions import Revoke
from privacy.dispositions import Disposition
from secure_agg.keyring import create, load_governance, load_role, load_trusted
from streams import governance as module
from streams.cli import main
from streams.errors import InputError, KafkaUnavailable, SettingsError
from streams.governance import Governance, Outgoing, check_in_time, discrepancies, starting
from streams.kafka import topics
from streams.kafka.clients import make_producer, read_to_end
from streams.registry import approved_measurement
from streams.reviews import Reviews
from streams.settings import Settings

pytestmark = pytest.mark.kafka

DAY_MS = 86_400_000
SPEC = """
id: {id}
revision: {revision}
purpose: {purpose}
source: {{topic: events, member: m, time: ts}}
cells: {{score: {{field: s, bins: [0.5]}}, decision: {{field: r}}, outcome: {{field: o}}}}
windows: {{base: 10s, rollups: [1m]}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: {rho}}}
"""


def text(
    name: str = "feed", *, revision: int = 1, rho: float = 0.1, purpose: str = "fair?", more: str = REVIEWED
) -> str:
    """A spec that does not say when it begins."""
    return SPEC.format(id=name, revision=revision, rho=rho, purpose=purpose) + more


def spec(name: str = "feed", *, revision: int = 1, rho: float = 0.1, now_ms: int | None = None) -> Measurement:
    """The same, with a beginning."""
    found = parse_measurement(text(name, revision=revision, rho=rho), origin="test")
    return starting(found, time.time_ns() // 1_000_000 if now_ms is None else now_ms)


class Team:
    """Three reviewers of one deployment, two of whom must agree, and their command line."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.keys = [settings.keys.dir / "governance" / f"reviewer-{number}.key" for number in (1, 2, 3)]
        self.config = folder / "evenstream.yaml"
        self.config.write_text(settings.model_dump_json())

    def run(self, *arguments: str, group: str = "measurement") -> Result:
        """One command."""
        return CliRunner().invoke(main, ["--config", str(self.config), group, *arguments])

    def ok(self, *arguments: str, group: str = "measurement") -> str:
        """One command that succeeds: what it prints."""
        result = self.run(*arguments, group=group)
        assert result.exit_code == 0, result.output
        return result.output

    def fails(self, *arguments: str, group: str = "measurement") -> str:
        """One command that is refused, with a message and no traceback."""
        result = self.run(*arguments, group=group)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return result.output

    def file(self, content: str) -> str:
        """A spec's file."""
        path = self.folder / "spec.yaml"
        path.write_text(content)
        return str(path)

    def propose(self, content: str | None = None) -> str:
        """By the first reviewer."""
        return self.ok("propose", self.file(content or text()), "--key", str(self.keys[0]), "--notice", "10m")

    def approve(self, reviewer: int, name: str = "feed") -> str:
        """By a reviewer."""
        return self.ok("approve", name, "--key", str(self.keys[reviewer]), "--yes")

    def state(self, name: str = "feed") -> str:
        """What `status --json` says of the newest revision."""
        return str(json.loads(self.ok("status", name, "--json"))[-1]["status"])

    def written(self, topic: str) -> list[bytes]:
        """Values on a topic."""
        return [r.value() or b"" for r in read_to_end(self.settings, self.settings.topic(topic))]

    def write(self, topic: str, *records: tuple[bytes | None, bytes | None]) -> None:
        """Put records on a topic, as whoever may write to it can."""
        producer = make_producer(self.settings, None)
        for key, value in records:
            producer.produce(self.settings.topic(topic), key=key, value=value, partition=0)
        assert producer.flush(10) == 0

    def publish(self, *records: tuple[bytes, bytes]) -> None:
        """Put records on `fairness-metrics`, as publish does."""
        identity = load_role(self.settings.keys.dir, "publish", self.settings.deployment).identity
        producer = make_producer(self.settings, None)
        for key, value in records:
            headers: Any = headers_over(identity, key, value)
            producer.produce(self.settings.topic("fairness-metrics"), key=key, value=value, headers=headers)
        assert producer.flush(10) == 0

    def reviews(self) -> list[dict[str, Any]]:
        """What `review list --json` says."""
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json", group="review").stdout)["reviews"]
        return found


@pytest.fixture
def team(kafka: str, make_settings: Callable[..., Settings], tmp_path: Path) -> Iterator[Team]:
    """A deployment with topics and keys."""
    settings = make_settings(kafka, "keys.governance_threshold=2")
    topics.create(settings, topics.plan(settings))
    create(settings.keys.dir, settings.deployment)
    yield Team(settings, tmp_path)


def test_from_proposal_to_revocation(team: Team) -> None:
    """Three lines put it in force; it is on both topics; one line stops it; anyone can verify all of it offline."""
    assert "2 reviewers must approve it" in team.propose()
    assert team.state() == "proposed"
    assert team.written("measurements") == []
    assert "1 of 2 approvals" in team.approve(0)
    assert "is approved and on the topic" in team.approve(1)
    assert team.state() == "scheduled"
    assert approved_measurement(team.settings, None).id == "feed"
    assert "every record holds" in team.ok("verify")
    (standing,) = json.loads(team.ok("status", "--json"))
    assert len(standing["approvals"]) == standing["approvals_needed"] == 2
    assert "days until it expires" in team.ok("status")
    assert "is revoked" in team.ok("revoke", "feed", "--key", str(team.keys[2]), "--reason", "harm", "--yes")
    assert team.state() == "revoked"
    with pytest.raises(InputError, match="approved: none yet"):
        approved_measurement(team.settings, "feed")
    assert "harm" in team.ok("status", "feed")
    assert len(team.written("measurements")) == 2
    assert "every record holds" in team.ok("verify")
    told = team.ok("history", "feed").splitlines()
    assert [line.split()[3] for line in told] == ["proposes", "approves", "approves", "revokes"]
    export = team.folder / "log.jsonl"
    team.ok("history", "--export", str(export))
    assert export.read_bytes().splitlines() == team.written("decisions")
    trusted = team.settings.keys.dir / "governance" / "trusted.json"
    offline = ["--set", "kafka.bootstrap=127.0.0.1:1", "measurement", "verify", str(export)]
    result = CliRunner().invoke(main, [*offline, "--governance", str(trusted)])
    assert result.exit_code == 0, result.output
    assert "feed revision 1: revoked" in result.output
    export.write_bytes(export.read_bytes().replace(b'"kind":"approve"', b'"kind":"apprave"', 1))
    result = CliRunner().invoke(main, [*offline, "--governance", str(trusted)])
    assert result.exit_code == 1
    assert "does not hold, line 2: it is no decision" in result.output
    assert "and 2 more after it" in result.output


def test_two_rejections_of_three_end_a_proposal(team: Team) -> None:
    """The last word counts until then; a changed spec of the same revision can be proposed."""
    team.propose()
    reject = ("reject", "feed", "--reason", "too costly", "--key")
    assert "can still be approved: 1 rejection" in team.ok(*reject, str(team.keys[0]))
    team.approve(0)
    assert "can still be approved: 1 rejection" in team.ok(*reject, str(team.keys[1]))
    assert "is rejected: 2 rejections" in team.ok(*reject, str(team.keys[2]))
    assert team.state() == "rejected"
    assert "too costly" in team.ok("status", "feed")
    assert "is already rejected" in team.fails("approve", "feed", "--key", str(team.keys[1]), "--yes")
    team.propose(text(purpose="cheaper"))
    assert team.state() == "proposed"


def test_a_review_says_it_in_plain_words(team: Team) -> None:
    """Who is measured, what is seen and spent, beside what is approved; the same for a file and a proposal."""
    team.propose(text("other", rho=0.2))
    team.approve(0, "other")
    team.approve(1, "other")
    of_file = " ".join(team.ok("review", team.file(text())).split())
    team.propose()
    of_log = " ".join(team.ok("review", "feed").split())
    for told in (of_file, of_log):
        for words in (
            "the member named in m",
            "s, in 2 bins: below 0.5; 0.5 and above",
            "At most 2 rows of a member count in a UTC day",
            "predictive parity",
            "noise of one number",
            "(rho 0.1 zCDP)",
            "Beside it, other revision 1: rho 0.2 a UTC day",
            "All together at most rho 0.3 in a UTC day, of the registry's 0.6",
            "Owner: the tests",
            "Ends: 2100-01-01",
            "nothing: every role would accept it",
        ):
            assert words in told, words
    assert "asks for rho 0.5" in " ".join(team.ok("review", team.file(text(rho=0.5))).split())


def test_what_would_have_no_effect_is_refused_before_it_is_written(team: Team) -> None:
    """Each refusal says why; nothing is on either topic."""
    first, stranger = str(team.keys[0]), team.folder / "elsewhere"
    create(stranger, team.settings.deployment)
    foreign = str(stranger / "governance" / "reviewer-1.key")
    propose = lambda content, key=first: team.fails("propose", team.file(content), "--key", key)  # noqa: E731
    assert "has no review and no expires" in propose(text(more=""))
    assert "asks for rho 0.7" in propose(text(rho=0.7))
    assert "none of the 3 governance keys" in propose(text(), foreign)
    assert "must come after effective_from" in propose(text(more=REVIEWED.replace("2100", "2001")))
    past = "effective_from: 2025-01-01T00:00:00Z\n"
    assert "which has passed: its windows until now would be void" in propose(text() + past)
    assert "less than 2 minutes away" in propose(text(revision=2) + past)
    assert "write a whole number and a unit" in team.fails(
        "propose", team.file(text()), "--key", first, "--notice", "soon"
    )
    assert "no measurement 'feed' was ever proposed; on the log: none" in team.fails("review", "feed")
    assert "cannot be read as text" in team.fails("review", "feeed.yaml")
    assert "was ever proposed" in team.fails("status", "feed")
    assert "no measurement has been proposed yet" in team.ok("status")
    assert team.written("decisions") == team.written("measurements") == []


def test_what_does_not_fit_the_log_is_refused(team: Team) -> None:
    """A reviewer's second approval, other bytes than those reviewed, nobody to ask, a revision that is not there."""
    team.propose()
    team.approve(0)
    key = str(team.keys[0])
    assert "must come from other reviewers" in team.fails("approve", "feed", "--key", key, "--yes")
    other = str(team.keys[1])
    assert "it is not what was reviewed" in team.fails(
        "approve", "feed", "--key", other, "--yes", "--spec-sha256", "ab" * 32
    )
    assert "this is no terminal" in team.fails("approve", "feed", "--key", other)
    assert "revision 2 of 'feed' was never proposed" in team.fails(
        "approve", "feed", "--key", other, "--yes", "--revision", "2"
    )
    assert "has 1 to 2000 characters" in team.fails("reject", "feed", "--key", key, "--reason", "")
    assert "proposed before with the same contents" in team.fails(
        "propose", team.file(_proposed_text(team)), "--key", key
    )
    assert len(team.written("decisions")) == 2
    (standing,) = json.loads(team.ok("status", "--json"))
    team.ok("approve", "feed", "--key", other, "--yes", "--spec-sha256", standing["spec_sha256"])
    assert "raise the revision number" in team.fails("propose", team.file(text(purpose="else")), "--key", key)
    assert "is already approved; to stop it, revoke it" in team.fails(
        "reject", "feed", "--key", key, "--reason", "too late"
    )


def _proposed_text(team: Team) -> str:
    """The spec that is on the log, as YAML (JSON is YAML)."""
    return str(json.loads(team.written("decisions")[0])["contents"]["spec"])


def test_an_approval_that_comes_too_late_is_refused(team: Team) -> None:
    """Windows before it would be void, so it has to be proposed anew, which replaces the old proposal."""
    governance = Governance(team.settings)
    first, second, _ = (load_governance(path) for path in team.keys)
    now_ms = time.time_ns() // 1_000_000
    early = governance.propose(spec(), first, now_ms)
    begin_ms = early.measurement.effective_from_ms or 0
    governance.approve(early, first, now_ms)
    with pytest.raises(InputError, match="Propose it anew"):
        governance.approve(early, second, begin_ms)
    assert len(team.written("decisions")) == 2
    again = governance.propose(spec(now_ms=begin_ms + 60_000), first, begin_ms)
    assert again.approvals == ()
    assert [p.state for p in governance.view().log.proposals] == ["replaced", "proposed"]


def test_a_later_revision_takes_over_at_a_day_and_in_time(team: Team) -> None:
    """It begins at the next UTC day that leaves two minutes."""
    now_ms = time.time_ns() // 1_000_000
    midnight = (now_ms // DAY_MS + 1) * DAY_MS
    assert spec(revision=2, now_ms=midnight - 180_000).effective_from_ms == midnight
    assert spec(revision=2, now_ms=midnight - 100_000).effective_from_ms == midnight + DAY_MS
    check_in_time(spec(revision=2, now_ms=midnight - 180_000), midnight - 120_000)
    with pytest.raises(InputError, match="less than 2 minutes away"):
        check_in_time(spec(revision=2, now_ms=midnight - 180_000), midnight - 119_000)


def test_two_reviewers_at_once(team: Team) -> None:
    """Both decisions are on the log, in one chain, and the measurement is in force once."""
    governance = Governance(team.settings)
    now_ms = time.time_ns() // 1_000_000
    keys = [load_governance(path) for path in team.keys]
    wanted = spec(now_ms=now_ms + 120_000)
    proposal = governance.propose(wanted, keys[0], now_ms)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(Governance(team.settings).approve, proposal, key, now_ms) for key in keys[:2]]
        states = {future.result().state for future in both}
    assert states == {"proposed", "approved"}
    view = governance.view()
    assert (len(view.log.chain), view.log.misfits, len(view.measurements)) == (3, [], 1)
    assert discrepancies(view, load_trusted(team.settings.keys.dir / "governance")) == []


_DIES = """
import os, signal, sys
from streams.cli import main
from streams.governance import Governance

def dies(self, producer, outgoing):
    assert [record.topic for record in outgoing] == ["decisions", "measurements"]
    producer.begin_transaction()
    for record in outgoing[:count]:
        producer.produce(self._settings.topic(record.topic), key=record.key, value=record.value, partition=0)
    producer.flush(10)
    os.kill(os.getpid(), signal.SIGKILL)

count = int(sys.argv.pop(1))
Governance._write = dies
main()
"""


@pytest.mark.parametrize("records", [0, 1, 2])
def test_a_command_that_dies_leaves_nothing_half_done(team: Team, records: int) -> None:
    """After kill -9 before the commit, whatever was sent, neither topic shows it, and the next command does it all."""
    team.propose()
    team.approve(0)
    second = ("measurement", "approve", "feed", "--key", str(team.keys[1]), "--yes")
    command = [sys.executable, "-c", _DIES, str(records), "--config", str(team.config), *second]
    died = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    team.approve(1)
    assert len(team.written("decisions")) == 3
    assert len(team.written("measurements")) == 1
    assert "every record holds" in team.ok("verify")


def test_others_who_never_stop_are_named(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is fenced every time gives up and says so; nothing is written."""
    governance = Governance(team.settings)
    now_ms = time.time_ns() // 1_000_000
    write = Governance._write

    def fenced(self: Governance, producer: object, outgoing: list[Outgoing]) -> None:
        make_producer(team.settings, team.settings.group("governance")).init_transactions(30)
        write(self, producer, outgoing)  # type: ignore[arg-type]

    monkeypatch.setattr(Governance, "_write", fenced)
    monkeypatch.setattr(module, "_ATTEMPTS", 2)
    with pytest.raises(KafkaUnavailable, match="at the same time, 2 times in a row; nothing was written"):
        governance.propose(spec(), load_governance(team.keys[0]), now_ms)
    assert team.written("decisions") == []


def test_whoever_writes_past_the_commands_is_found_out(team: Team) -> None:
    """Garbage on `decisions` breaks nothing and is named; a spec that the log did not approve is named as well."""
    plain = make_producer(team.settings, None)
    plain.produce(team.settings.topic("decisions"), value=b"garbage", partition=0)
    plain.flush(10)
    team.propose()
    team.approve(0)
    team.approve(1)
    assert "does not hold, offset 0: it is no decision" in team.fails("verify")
    export = team.folder / "log.jsonl"
    team.ok("history", "--export", str(export))
    assert "every record holds" in team.ok("verify", str(export))
    value = team.written("measurements")[0]
    plain.produce(team.settings.topic("measurements"), value=value, partition=0)
    plain.produce(team.settings.topic("measurements"), value=value.replace(b"fair?", b"unfair"), partition=0)
    plain.flush(10)
    told = team.fails("verify")
    assert "it is there a second time" in told
    assert "it holds a spec that the log did not approve" in told


def test_an_approval_that_was_taken_back_can_still_be_stopped(team: Team) -> None:
    """One approves, then rejects; a second rejects; a third writes the old signature to `measurements` all the same.

    The roles count it, so everybody is told, and any one reviewer stops it.
    """
    team.propose()
    team.approve(0)
    (proposal,) = Governance(team.settings).view().log.proposals
    old = proposal.approvals
    for place in (0, 1):
        team.ok("reject", "feed", "--key", str(team.keys[place]), "--reason", "no")
    assert team.state() == "rejected"
    third = approve(proposal.measurement, team.settings.deployment, load_governance(team.keys[2])).signatures
    past = SignedMeasurement(proposal.spec, team.settings.deployment, old + third).encode()
    plain = make_producer(team.settings, None)
    plain.produce(team.settings.topic("measurements"), value=past, partition=0)
    plain.flush(10)
    assert team.state() == "unfounded"
    assert "in force (scheduled), though the log says rejected: revoke it" in team.ok("status")
    assert "offset 0: it holds a spec that the log did not approve" in team.fails("verify")
    assert "is revoked" in team.ok("revoke", "feed", "--key", str(team.keys[1]), "--reason", "not approved", "--yes")
    assert team.state() == "revoked"
    assert [entry.revoked for entry in Governance(team.settings).view().control.approved()] == [True]
    assert "did not approve" in team.fails("verify")  # for good: it was in force
    assert "already revoked" in team.fails("revoke", "feed", "--key", str(team.keys[1]), "--reason", "x", "--yes")
    unknown = spec("unknown")
    keys = [load_governance(path) for path in team.keys[:2]]
    signatures = tuple(approve(unknown, team.settings.deployment, key).signatures[0] for key in keys)
    past = SignedMeasurement(unknown.canonical_bytes(), team.settings.deployment, signatures).encode()
    plain.produce(team.settings.topic("measurements"), value=past, partition=0)
    plain.flush(10)
    assert "the log says nothing of it: revoke it" in team.ok("status", "unknown")
    assert "is revoked" in team.ok("revoke", "unknown", "--key", str(team.keys[2]), "--reason", "who?", "--yes")
    assert [entry.revoked for entry in Governance(team.settings).view().control.approved()] == [True, True]


def test_a_revocation_that_is_on_the_log_alone_is_put_in_force(team: Team) -> None:
    """Whoever wrote it past the commands has not made the next one helpless."""
    for step in (team.propose, lambda: team.approve(0), lambda: team.approve(1)):
        step()
    governance, key, now_ms = Governance(team.settings), load_governance(team.keys[2]), time.time_ns() // 1_000_000
    view = governance.view()
    wanted = view.log.proposals[0].measurement
    stopped = revoke(wanted, team.settings.deployment, key, at_ms=now_ms, reason="harm").encode()
    plain = make_producer(team.settings, None)
    record = view.log.sign(Revoke(stopped.decode()), key, now_ms)
    plain.produce(team.settings.topic("decisions"), value=record, partition=0)
    plain.flush(10)
    assert "though the log says revoked" in team.ok("status")
    assert "is revoked" in team.ok("revoke", "feed", "--key", str(team.keys[0]), "--reason", "x", "--yes")
    assert team.written("measurements")[1:] == [stopped]
    assert "every record holds" in team.ok("verify")


def test_more_approvals_than_reviewers_is_an_error_at_once(team: Team) -> None:
    """Nothing could ever be approved: commands and roles say so when they start."""
    settings = team.settings.model_copy(
        update={"keys": team.settings.keys.model_copy(update={"governance_threshold": 4})}
    )
    with pytest.raises(SettingsError, match="only 3 governance keys"):
        Governance(settings)
    assert "4 approvals are demanded" in team.fails("verify", "--threshold", "4")


def test_a_measurement_is_found_by_its_name(team: Team) -> None:
    """Commands that take --measurement find the only one, and name those that there are."""
    for name in ("feed", "other"):
        team.propose(text(name))
        team.approve(0, name)
        team.approve(1, name)
    assert approved_measurement(team.settings, "feed").id == "feed"
    with pytest.raises(InputError, match="approved: feed, other"):
        approved_measurement(team.settings, None)


def test_an_alarm_is_reviewed(team: Team) -> None:
    """It opens a review; a stranger's, a forged or a repeated word decides nothing, a reviewer's does."""
    review: Callable[..., str] = partial(team.ok, group="review")
    fails: Callable[..., str] = partial(team.fails, group="review")
    alarm, other = (f"feed/10s/tpr/all/{group}/{ALARM_MS}" for group in ("black", "api"))
    terms = ("--cause", "input", "--follow-up", "mend the feed", "--key", str(team.keys[0]))
    assert "no alarm has begun so far" in fails("decide", alarm, *terms, "--decision", "change")
    replayed = text(more=f"{REVIEWED}\neffective_from: 2025-11-24T00:00:00Z\n")
    replayed = replayed.replace("time: ts}", "time: ts, arrival: record_time}")
    team.propose(replayed)
    team.approve(0)
    team.approve(1)
    (standing,) = json.loads(team.ok("status", "--json"))
    forged = record(result("hispanic"), spec=bytes.fromhex(standing["spec_sha256"]))
    team.write("fairness-metrics", forged, (alarm.encode(), None))
    assert "no reviews" in review("list")
    told = team.run("list", group="review")
    assert "holds records that publish has not signed (2 unsigned; the first: partition 0 offset 0)" in told.stderr
    team.publish(record(result(), result("api"), spec=bytes.fromhex(standing["spec_sha256"])))

    assert [entry["state"] for entry in team.reviews()] == ["overdue", "overdue"]
    assert f"the nearest: {alarm}" in fails("show", alarm.replace("black", "blak"))
    create(team.folder / "elsewhere", team.settings.deployment)
    stranger = team.folder / "elsewhere" / "governance" / "reviewer-1.key"
    not_ours = (*terms[:-1], str(stranger), "--decision", "watch")
    assert "none of the 3 governance keys" in fails("decide", alarm, *not_ours)
    told = review("show", alarm)
    assert "Nothing changes a ranking automatically" in told
    assert f"evenstream review decide {alarm} --cause" in told

    before = len(team.written("decisions"))
    assert "is still open" in review("decide", alarm, *terms, "--decision", "investigate")
    investigated = team.written("decisions")[-1]
    assert len(team.written("decisions")) == before + 1
    bare = json.loads(investigated) | {"signature": ""}
    team.write(
        "decisions",
        (b"x", investigated),
        (b"x", investigated.replace(b"investigate", b"watchwatchw")),
        (b"x", json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()),
    )
    assert [len(entry["dispositions"]) for entry in team.reviews()] == [0, 1]
    second = ("--decision", "change", "--cause", "input", "--follow-up", "roll on", "--key", str(team.keys[1]))
    assert f"{alarm} is record {before}, by reviewer" in fails("decide", alarm, *second)
    assert f"--after {before} --key" in review("show", alarm)
    looked = Reviews(team.settings)  # by a third reviewer, before the second decides
    assert "is decided" in review("decide", alarm, *second, "--after", str(before))
    late, word = load_governance(team.keys[2]), Disposition(alarm, "chance", "watch", "nothing")
    with pytest.raises(InputError, match=r"decision change\. Whoever has not seen it would sign over it"):
        looked.decide(word, late, time.time_ns() // 1_000_000, before)
    with pytest.raises(InputError, match="clock is before the alarm"):
        looked.decide(word, late, ALARM_MS - 1, before)
    with pytest.raises(InputError, match="record 99 is no word"):
        looked.decide(replace(word, alarm=other), late, time.time_ns() // 1_000_000, 99)
    assert [(entry["alarm"], entry["state"]) for entry in team.reviews()] == [(other, "overdue"), (alarm, "decided")]
    assert alarm not in review("list", "--open")
    assert review("show", alarm).count("reviewer ") == 2
    assert sum(f"decides on alarm {alarm}" in line for line in team.ok("history", "feed").splitlines()) == 2
    verified = team.fails("verify")
    assert f"alarm {alarm}: change, by " in verified
    assert "repeated or reordered" in verified  # what strangers wrote is told, and breaks nothing

    team.ok("revoke", "feed", "--key", str(team.keys[2]), "--reason", "harm", "--yes")
    assert [entry["state"] for entry in team.reviews()] == ["over", "over"]
    assert "the measurement was revoked" in fails("decide", other, *terms, "--decision", "watch")
    with pytest.raises(InputError, match="the measurement was revoked"):  # since that reviewer looked
        looked.decide(replace(word, alarm=other), late, time.time_ns() // 1_000_000)
