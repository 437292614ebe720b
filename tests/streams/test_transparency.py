"""The public page says what the topics hold, says what it could not read, and lets nothing of a spec be markup."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from alarmed import ALARM_MS, record, result
from public_facts import MemoryTopics

from privacy import Ledger, Measurement, Revocation, approve, key_id, parse_measurement, revoke
from privacy.decisions import Contents, Forecast, Propose, Reject, Revoke, answer_of, approval_of
from privacy.dispositions import Disposition
from secure_agg import EpochPublicKey, Identity
from secure_agg.keyring import create, load_governance, load_role, load_trusted
from streams.cli import main
from streams.control import limits_of
from streams.governance import empty_log
from streams.kafka.topics import input_plan, plan
from streams.records.debit import SignedDebit
from streams.records.keys import sign_epoch_key
from streams.report.transparency import document
from streams.settings import Settings, load_settings
from streams.transparency import KEPT_TOPICS, ApprovalFacts, Facts, Unread, gather, outcome_of

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS + 3_600_000
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> </td> | [x](javascript:alert(3)) & `code`"

SPEC = """
id: {id}
revision: 1
purpose: {purpose}
source: {{topic: ev, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [1m], lateness: 1s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: {rho}, rotation: {{days_in_30: 5}}}}
review:
  owner: Fairness office
  harm_considered: {harm}
  data_used: names and places
  retention: a year
expires: {expires}
"""


def spec(
    name: str, first_day: int, *, purpose: str = "to compare", expires: str = "2026-01-01T00:00:00Z"
) -> Measurement:
    """A measurement that begins so many days after the page's."""
    rho = 0.1 if name == "live" else 0.01
    texts = {"purpose": json.dumps(purpose), "harm": json.dumps(HOSTILE), "expires": json.dumps(expires)}
    text = SPEC.format(id=name, rho=rho, **texts)
    return parse_measurement(text, origin="test").with_effective_from((20_000 + first_day) * DAY_MS)


@dataclass
class World:
    """A deployment's public topics, with the keys behind them."""

    settings: Settings
    topics: MemoryTopics
    folder: Path

    @cached_property
    def facts(self) -> Facts:
        """What can be read of it; worked out once, since a forecast of 400 days takes a moment."""
        return gather(self.topics, NOW_MS)

    def html(self) -> str:
        """The page."""
        return document(self.facts).html()

    def markdown(self) -> str:
        """The same as Markdown."""
        return document(self.facts).markdown()

    def identity(self, role: str) -> Identity:
        """A role's own."""
        return load_role(self.folder, role, self.settings.deployment).identity


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four measurements in every state, a ledger of each party, windows, epoch keys; to be read."""
    folder = tmp_path_factory.mktemp("transparency") / "keys"
    create(folder, "public", reviewers=3)
    overrides = ["deployment=public", f"keys.dir={folder}", "keys.governance_threshold=2", "privacy.rho_year_limit=20"]
    settings = load_settings(None, overrides, environment={})
    trusted = load_trusted(folder / "governance")
    keys = [load_governance(folder / "governance" / f"reviewer-{number}.key") for number in (1, 2, 3)]
    topics = MemoryTopics(settings, trusted, written_ms=NOW_MS - 5 * DAY_MS)
    specs = {
        "live": spec("live", -2, purpose=HOSTILE),
        "scheduled": spec("scheduled", 3),
        "ended": spec("ended", -9, expires="2024-10-02T00:00:00Z"),
        "revoked": spec("revoked", -4),
    }
    records = []
    for measurement in specs.values():
        signatures = tuple(approve(measurement, "public", key).signatures[0] for key in keys[:2])
        records.append(replace(approve(measurement, "public", keys[0]), signatures=signatures).encode())
    stopped = revoke(specs["revoked"], "public", keys[2], at_ms=NOW_MS - DAY_MS, reason="<b>it harmed</b>")
    assert isinstance(stopped, Revocation)
    topics.held["measurements"] = [(None, record) for record in [*records, stopped.encode()]]
    topics.held["decisions"] = []
    for party in ("a", "b"):
        identity = load_role(folder, party, "public").identity
        ledger = Ledger(party, limits_of(settings))
        values = []
        for day in (19_998, 19_999, 20_000):
            terms = specs["live"].privacy
            record = ledger.debit(
                day=f"2024-10-0{day - 19_996}",
                measurement="live",
                revision=1,
                spec_sha256=specs["live"].digest().hex(),
                rho=terms.rho_member_day,
                days_in_30=terms.days_in_30,
                days_in_year=terms.days_in_year,
                at_ms=day * DAY_MS,
            )
            assert record is not None
            values.append(SignedDebit.signed(identity, record).encode())
        topics.held[f"ledger-{party}"] = [(None, value) for value in values]
    digest = specs["live"].digest().hex()
    same = {"spec_sha256": digest, "level": "10s", "table": [[1.5]]}
    outcomes = [("published", None)] * 3 + [
        ("void", "coverage_differs"), ("void", "budget_exceeded_day"), ("suppressed", "no_group_says_anything"),
    ]  # fmt: skip
    publish = load_role(folder, "publish", "public").identity
    for number, (status, why) in enumerate(outcomes):
        value = json.dumps({**same, "status": status, "reason": why}).encode()
        topics.publish(publish, f"live/10s/{number}".encode(), value)
    topics.held["keys"] = []
    for role in ("attach", "a"):
        public = EpochPublicKey(role, 7, NOW_MS + 3_600_000, bytes(1216))
        record = sign_epoch_key(load_role(folder, role, "public").identity, public)
        topics.held["keys"].append((record.key, record.value))
    topics.configured = {
        "sealed": {"cleanup.policy": "delete", "retention.ms": "604800000"},
        "ledger-a": {"cleanup.policy": "delete", "retention.ms": "-1"},
        "keys": {"cleanup.policy": "compact"},
        "fairness-metrics": {"cleanup.policy": "compact,delete", "retention.ms": "7200000"},
    }
    return World(settings, topics, folder)


@pytest.fixture
def spoiled(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same, to be changed; with a short forecast, which no change is about, as each is gathered anew."""
    monkeypatch.setattr("privacy.ledger.FORECAST_DAYS", 20)
    held = {name: list(records) for name, records in world.topics.held.items()}
    return World(world.settings, replace(world.topics, held=held, read={}), world.folder)


class Cells(HTMLParser):
    """The rows of all tables of a page, and its tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.text = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        """The row with this heading."""
        return next(row for row in self.rows if row[0] == first)


def test_every_state_of_a_measurement_is_told(world: World) -> None:
    """Live, scheduled, ended and revoked ones are there, each with its time, and the revoked one with who and why."""
    page = Cells(world.html())
    assert page.row("live, revision 1") == [
        "live, revision 1", "active: it counts now", "2024-10-02T00:00:00Z", "2026-01-01T00:00:00Z",
    ]  # fmt: skip
    assert page.row("scheduled, revision 1")[1:3] == ["approved, not begun", "2024-10-07T00:00:00Z"]
    assert page.row("ended, revision 1")[1] == "expired: it counts no more"
    assert page.row("revoked, revision 1")[3] == "2024-10-03T01:00:00Z (revoked)"
    third = sorted(world.facts.governance)
    assert any(f"by the governance key {key}: <b>it harmed</b>" in page.text for key in third)


def test_approvals_are_told_with_their_keys(world: World) -> None:
    """The keys that really signed are counted against those that are needed, with the topic that says so."""
    facts = world.facts
    approval = facts.measurements[0].approval
    assert (len(approval.key_ids), approval.needed, approval.keys, approval.source) == (2, 2, 3, "measurements")
    assert set(approval.key_ids) < set(facts.governance)
    text = Cells(world.html()).row("Approved by")[1]
    assert text.startswith("2 of 3 reviewers' keys (2 are needed): ")
    assert "2024-09-29T01:00:00Z" in text


def test_the_log_of_decisions_says_who_approved_and_when(spoiled: World) -> None:
    """Where `decisions` holds a revision's approvals, the page gives the moment of the one that completed them."""
    keys = [load_governance(spoiled.folder / "governance" / f"reviewer-{number}.key") for number in (3, 1)]
    measurement = spec("live", -2, purpose=HOSTILE)
    log = empty_log(spoiled.topics.trusted, 2)
    contents = [Propose(measurement.canonical_bytes().decode(), Forecast.of(measurement))]
    contents += [approval_of(measurement, "public", key) for key in keys]  # type: ignore[list-item]
    for number, (one, key) in enumerate(zip(contents, [keys[0], *keys], strict=True)):
        record = log.sign(one, key, NOW_MS - 3 * DAY_MS + number)
        assert log.apply(number, record) is None
        spoiled.topics.held["decisions"].append((None, record))
    facts = spoiled.facts
    assert not isinstance(facts.measurements, Unread)
    approval = facts.measurements[0].approval
    assert approval == ApprovalFacts(
        tuple(map(key_id, (k.public_key() for k in keys))), 2, 3, approval.at_ms, "decisions"
    )
    assert approval.at_ms == NOW_MS - 3 * DAY_MS + 2
    assert "with the last approval needed on 2024-10-01T01:00:00Z, as decisions says" in spoiled.html()


def test_an_approval_that_was_taken_back_is_not_told_as_one(spoiled: World) -> None:
    """What the log rejected has no approval there, also once it is revoked: only the record's signatures are told."""
    keys = [load_governance(spoiled.folder / "governance" / f"reviewer-{number}.key") for number in (1, 2, 3)]
    measurement = spec("revoked", -4)
    digest = measurement.digest().hex()
    stopped = revoke(measurement, "public", keys[2], at_ms=NOW_MS, reason="not approved").encode().decode()
    log = empty_log(spoiled.topics.trusted, 2)
    contents: list[tuple[Contents, int]] = [
        (Propose(measurement.canonical_bytes().decode(), Forecast.of(measurement)), 0),
        (approval_of(measurement, "public", keys[0]), 0),
        (Reject("revoked", 1, digest, "no"), 0),
        (Reject("revoked", 1, digest, "no"), 1),
        (Revoke(stopped), 2),
    ]
    for number, (one, place) in enumerate(contents):
        record = log.sign(one, keys[place], NOW_MS - DAY_MS)
        assert log.apply(number, record) is None
        spoiled.topics.held["decisions"].append((None, record))
    assert [proposal.state for proposal in log.proposals] == ["revoked"]
    facts = spoiled.facts
    assert not isinstance(facts.measurements, Unread)
    (fact,) = (fact for fact in facts.measurements if fact.approved.measurement.id == "revoked")
    assert isinstance(fact.approval, ApprovalFacts)
    assert fact.approval.source == "measurements"


def test_what_was_spent_is_the_ledgers_sum(world: World) -> None:
    """Three days at rho .1: the day, the 30 days and the year of each party's ledger, with relation and delta."""
    page = world.html()
    cells = Cells(page)
    rows = [row for row in cells.rows if row[0].startswith(("one UTC day: 2024-10-04", "30 days: 2024-09-05"))]
    assert len(rows) == 4  # both parties
    assert rows[0][1].endswith("(rho 0.1)") and rows[1][1].endswith("(rho 0.3)")
    assert rows[1][3] == "0.7"
    assert rows[1][4] == "live 0.3"
    assert "Ledger of party a: 3 debits; relation: replacement; delta 1e-09" in page


def test_a_broken_ledger_shows_no_figure(spoiled: World) -> None:
    """Where a ledger's chain or signature does not hold, the page says so in place of a sum."""
    spoiled.topics.held["ledger-a"].pop(1)
    foreign = SignedDebit.signed(spoiled.identity("a"), SignedDebit.decode(spoiled.topics.held["ledger-b"][0][1]).debit)
    spoiled.topics.held["ledger-b"][0] = (None, foreign.encode())
    page = Cells(spoiled.html())
    for party in ("a", "b"):
        assert f"The ledger of party {party} could not be read: ledger-{party} offset" in page.text
        assert f"Ledger of party {party}:" not in page.text


def test_windows_are_counted_by_outcome(world: World) -> None:
    """Published, void, suppressed, refused and withdrawn windows of each level, zero where there is none."""
    page = Cells(world.html())
    assert page.row("10s") == ["10s", "3", "1", "1", "1", "0"]
    assert page.row("1m") == ["1m", "0", "0", "0", "0", "0"]
    assert outcome_of("withdrawn", "revoked") == "withdrawn"
    assert outcome_of("void", "budget_exceeded_year") == "refused"


def test_alarms_are_told_with_what_was_decided(spoiled: World) -> None:
    """An open one with its deadline, a decided one with every word on it; and that it could not be read, where so."""
    assert "There has been none in the windows that are still kept." in Cells(spoiled.html()).text
    key = load_governance(spoiled.folder / "governance" / "reviewer-2.key")
    held, measurement = spoiled.topics.held, spec("live", -2, purpose=HOSTILE)
    alarming = record(
        result(metric="recommendation_rate"),
        result("api", metric="recommendation_rate"),
        measurement="live",
        spec=measurement.digest(),
        end_ms=ALARM_MS,
    )
    spoiled.topics.publish(spoiled.identity("publish"), *alarming)
    log = empty_log(spoiled.topics.trusted, 2)
    said = Disposition(f"live/10s/recommendation_rate/all/black/{ALARM_MS}", "input", "change", HOSTILE)
    held["decisions"].append((None, log.sign(answer_of(said), key, ALARM_MS)))
    page = Cells(World(spoiled.settings, spoiled.topics, spoiled.folder).html())
    rows = [row for row in page.rows if row[0].startswith("live, in windows of 10s")]
    assert [row[1] for row in rows] == ["open: to be decided by 2025-12-01T16:00:10Z", "decided: change"]
    assert rows[0][2] == "nothing yet"
    assert rows[1][2].endswith(f"cause input, decision change; follow-up: {HOSTILE}")
    del held["decisions"]
    page = Cells(World(spoiled.settings, spoiled.topics, spoiled.folder).html())
    assert "Alarms could not be read: topic" in page.text


@pytest.mark.parametrize("digest", ["zz", "", "AB" * 32, "ab " * 32, "\u0663" * 64])
def test_a_window_of_no_spec_is_not_ours(spoiled: World, digest: str) -> None:
    """Not even publish can end the page, or take a window's place on it, with one."""
    content = {"spec_sha256": digest, "level": "10s", "status": "published", "reason": None}
    held, value = spoiled.topics.held["fairness-metrics"], json.dumps(content).encode()
    for key in (b"else", held[0][0]):
        assert key is not None
        spoiled.topics.publish(spoiled.identity("publish"), key, value)
    facts = spoiled.facts
    assert not isinstance(facts.measurements, Unread)
    assert facts.measurements[0].windows == {"10s": {"published": 3, "void": 1, "refused": 1, "suppressed": 1}}


def test_what_publish_has_not_signed_is_not_counted(spoiled: World) -> None:
    """Whoever may write to fairness-metrics adds no window, no alarm, and takes none away."""
    digest, held = spec("live", -2, purpose=HOSTILE).digest(), spoiled.topics.held["fairness-metrics"]
    alarming = record(result(metric="recommendation_rate"), measurement="live", spec=digest, end_ms=ALARM_MS)
    withdrawn = {"spec_sha256": digest.hex(), "level": "10s", "status": "withdrawn", "reason": "revoked"}
    value = json.dumps(withdrawn).encode()
    held += [alarming, (held[0][0], value), (held[1][0], b"")]
    spoiled.topics.headers[held[0][0], value] = spoiled.topics.headers[held[0]]  # a genuine record's own signature
    facts = spoiled.facts
    assert not isinstance(facts.measurements, Unread)
    assert facts.measurements[0].windows == {"10s": {"published": 3, "void": 1, "refused": 1, "suppressed": 1}}
    assert facts.reviews == ()


def test_retention_is_the_clusters_own(world: World) -> None:
    """What a topic keeps is what the cluster says, and not what the settings would have it be."""
    page = Cells(world.html())
    assert page.row("sealed")[2] == "7 days"
    assert page.row("ledger-a")[2] == "for ever"
    assert page.row("keys")[2] == "the latest record of each key"
    assert page.row("fairness-metrics")[2] == "the latest record of each key, for 2 hours"
    assert page.row("shares")[2].startswith("could not be read: ")
    assert page.row("attach")[1] == "2024-10-04T02:00:00Z"
    assert page.row("b")[1] == "it has no valid key now"


def test_every_topic_is_told(world: World) -> None:
    """What each topic of evenstream's own holds, and those of the company that hold something of members."""
    planned = {topic.name for topic in (*plan(world.settings), *input_plan(world.settings))}
    assert {world.settings.topic(name) for name in KEPT_TOPICS} == planned
    page = Cells(world.html())
    for name in KEPT_TOPICS:
        assert len(page.row(name)) == 3
    assert "in their own words" in page.row("concerns")[1]


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "on the page /concerns of the publish service"),
        ("0.0.0.0", "on the page /concerns of the publish service"),
        ("fair.example.org", "on the page http://fair.example.org:{port}/concerns"),
        ("2001:db8::1", "on the page http://[2001:db8::1]:{port}/concerns"),
    ],
)
def test_where_to_raise_a_concern(world: World, host: str, told: str) -> None:
    """Its address, unless publish listens where nobody else gets to: then what it is, and who knows the address."""
    settings = world.settings.model_copy(update={"http": world.settings.http.model_copy(update={"host": host})})
    page = Cells(document(replace(world.facts, settings=settings)).html())
    assert told.format(port=settings.port("publish")) in page.text


def test_how_to_opt_out_names_the_topic(world: World) -> None:
    """Topic, record and a command that is evenstream's own."""
    text = Cells(world.html()).text
    assert "on the topic public.member-attributes" in text
    assert '{"opt_out": true}' in text
    assert "evenstream members opt-out FILE" in text
    assert main.get_command(click.Context(main), "members").get_command(click.Context(main), "opt-out") is not None


def test_the_page_says_from_where_it_is(world: World) -> None:
    """Every topic that was read is listed with its offset, and the keys with their whole fingerprints."""
    page = Cells(world.html())
    for name, offset in (("measurements", "5"), ("fairness-metrics", "6"), ("ledger-b", "3"), ("keys", "2")):
        assert page.row(f"public.{name}")[1] == offset
    facts = world.facts
    for name, fingerprint in {**facts.identities, **facts.governance}.items():
        assert len(fingerprint) == 64
        assert any(row == [name, fingerprint] for row in page.rows)


@pytest.mark.parametrize("gone", ["measurements", "decisions", "fairness-metrics", "ledger-a", "ledger-b", "keys"])
def test_what_cannot_be_read_is_said_to_be_missing(spoiled: World, gone: str) -> None:
    """A topic that may not be read makes its figures missing, with the reason, and nothing else."""
    del spoiled.topics.held[gone]
    page = Cells(spoiled.html())
    reason = f"topic 'public.{gone}' does not exist (or may not be read)"
    if gone != "decisions":  # then the approvals are those on the specs
        assert reason in page.text
    assert page.row("Approved by" if gone != "measurements" else "sealed")
    assert "How to opt out" in page.text
    assert not any(row[0] == f"public.{gone}" for row in page.rows)


def test_without_a_registry_nothing_is_guessed(spoiled: World) -> None:
    """Where `measurements` cannot be read, nothing is said to be measured, and no ledger is judged by other terms."""
    del spoiled.topics.held["measurements"]
    facts = spoiled.facts
    assert isinstance(facts.measurements, Unread)
    assert all(isinstance(view, Unread) for view in facts.ledgers.values())


def test_a_hostile_spec_is_inert(world: World) -> None:
    """Tags and scripts in a purpose, a harm or a revocation are shown as text, in HTML and in Markdown."""
    html, markdown = world.html(), world.markdown()
    cells = Cells(html)
    assert set(cells.tags).isdisjoint({"script", "img", "b", "a", "link", "iframe", "form", "svg"})
    assert cells.row("Why")[1] == HOSTILE
    assert "<" not in markdown
    assert "\\](javascript" in markdown  # no link: its bracket is escaped


def test_markdown_holds_every_figure_of_the_page(world: World) -> None:
    """Both are made from one document: each cell of a table of the page is in the Markdown too."""
    plain = world.markdown().replace("\\", "").replace("&#58;", ":").replace("&#64;", "@")
    plain = plain.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    for row in Cells(world.html()).rows:
        for cell in row:
            assert " ".join(cell.split()).replace("\\", "") in plain


@pytest.mark.slow
def test_a_browser_shows_it(world: World, tmp_path: Path) -> None:
    """Chromium renders the page as it stands: every heading is there, and no script of a spec has run."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install -y chromium")
    path = tmp_path / "transparency.html"
    path.write_text(world.html())
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60)
    shown = Cells(done.stdout)
    assert shown.rows == Cells(world.html()).rows
    assert "script" not in shown.tags
    for heading in ("What is measured", "What it has cost", "How to opt out", "Public keys"):
        assert heading in shown.text
