"""Real Prometheus and Alertmanager watch the real pipeline: what people are told, when, and what they are spared.

The rules are the rendered ones, sixty times as fast, and Alertmanager has the routes and inhibitions of the examples.
One deployment lives through it all. `make observe` prints how long each alert took from its cause.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its API
from monitoring import Monitoring, await_true, needs
from runbooks import PROGRAMS, Shell, missing, read_lines

from bench.live_page.traffic import Traffic
from privacy import parse_measurement
from streams.kafka.clients import admin
from streams.simulate import RECOMMENDED_RATIO
from streams.trial import Trial
from streams.watch.rules import Values, render

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
observe = pytest.mark.observe

ROOT = Path(__file__).parents[2]
WINDOW_MS = 2_000
RATE = 2_000
MEMBERS = 80_000
PATIENCE_SECONDS = 60.0
SPEC = """
id: feed
purpose: alerts, end to end
source: {{topic: {topic}, member: member_id, time: shown_at, time_format: epoch_ms}}
cells: {{decision: {{field: recommended}}}}
windows: {{base: 2s, lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 2, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
test_only: {{noise_scale_units: 0.01}}
"""
VALUES = Values(
    labels={"deployment": "observed"},
    alerts={
        # An hour, which is a minute here, is longer than a test should wait to see an alert begin or end.
        "EvenstreamUnequalTreatment": {"keep_firing_for": "5m"},
        "EvenstreamGapBeyondThreshold": {"keep_firing_for": "5m"},
        "EvenstreamApprovalExpiring": {"for": "5m"},
        # A machine that runs other tests besides is slow, and that is not what is tested.
        "EvenstreamPublishSlow": {"enabled": False},
        "EvenstreamPartitionStalled": {"threshold": "10m"},
    },
)


class House:
    """The deployment and its traffic."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.source = source = trial.settings.topic("rec-events")
        trial.prepare([source])
        begin = (time.time_ns() // 1_000_000 // WINDOW_MS + 1) * WINDOW_MS
        spec = parse_measurement(SPEC.format(topic=source), origin="test").with_effective_from(begin)
        trial.approve(spec, begin - WINDOW_MS)
        self.traffic = Traffic(trial, source, members=MEMBERS, rate=RATE, gap=RECOMMENDED_RATIO)
        trial.start_roles()
        self.traffic.start()
        self.killed = False

    def approve_another(self) -> None:
        """A measurement that begins in an hour or two, and ends three hours later."""
        now_ms = time.time_ns() // 3_600_000_000_000 * 3_600_000
        text = SPEC.format(topic=self.source).replace("id: feed", "id: brief")
        spec = parse_measurement(text, origin="test").with_effective_from(now_ms + 2 * 3_600_000)
        self.trial.approve(spec.with_expires(now_ms + 5 * 3_600_000), now_ms)

    def grow_source(self) -> None:
        """Give the source topic another partition, of which seal learns after rows could have come."""
        client = admin(self.trial.settings)
        count = len(client.list_topics(self.source, timeout=10).topics[self.source].partitions)
        client.create_partitions([NewPartitions(self.source, count + 1)])[self.source].result(10)

    def has_published(self) -> bool:
        """Whether a window's numbers are shown."""
        return "evenstream_gap_ratio{" in self.trial.scrape()


@pytest.fixture(scope="module")
def house(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One deployment for all tests here."""
    overrides = ["test_cluster=true", "privacy.rho_30_days_limit=100", "privacy.rho_year_limit=1000"]
    trial = Trial(tmp_path_factory.mktemp("observed"), print, name="observed", overrides=overrides)
    try:
        trial.start_kafka(kafka)
        made = House(trial)
        yield made
        made.traffic.stop()
    finally:
        trial.stop()


@pytest.fixture(scope="module")
def monitoring(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    """Prometheus and Alertmanager, watching it."""
    targets = [f"127.0.0.1:{port}" for port in house.trial.ports.values()]
    config = yaml.safe_load((ROOT / "examples" / "alertmanager" / "alertmanager.yaml").read_text())
    with Monitoring(tmp_path_factory.mktemp("monitoring"), targets, render(VALUES, time_scale=60), config) as made:
        await_true("Prometheus scrapes all five roles", lambda: made.targets_up() == len(targets), 30.0)
        await_true("a window is published", house.has_published, PATIENCE_SECONDS)
        yield made


class Times:
    """From cause to firing, for the table that `make observe` prints."""

    def __init__(self, monitoring: Monitoring) -> None:
        self._monitoring = monitoring

    def tell(self, cause: str, at: float, name: str, **labels: str) -> None:
        """One line: when Prometheus had it firing, and when a receiver heard of it."""
        fired = self._monitoring.fired(name, at, **labels)
        told = self._monitoring.told(name, at, **labels)
        assert fired is not None
        heard = f"{told[0].receiver} heard after {told[0].at - at:.1f} s" if told else "held back by another alert"
        self._write(f"{name:30} {fired - at:5.1f} s after: {cause}; {heard}")

    def tell_over(self, cause: str, at: float, name: str, **labels: str) -> None:
        """One line: when a receiver heard that it is over."""
        told = self._monitoring.told(name, at, "resolved", **labels)
        self._write(f"{name:30} over, {told[0].receiver} heard {told[0].at - at:.1f} s after: {cause}")

    def _write(self, line: str) -> None:
        print(line)
        if path := os.environ.get("OBSERVED"):
            with Path(path).open("a") as out:
                out.write(line + "\n")


@pytest.fixture
def times(monitoring: Monitoring) -> Times:
    """The table."""
    return Times(monitoring)


BLACK = {
    "measurement": "feed",
    "level": "2s",
    "metric": "recommendation_rate",
    "score_bin": "all",
    "group": "black",
    "reference": "white",
}


# -- in this order: what one leaves behind, the next one begins with ------------------------------------------------


@observe
@needs("prometheus", "prometheus-alertmanager")
def test_unfair_traffic_is_told_and_fair_traffic_ends_it(house: House, monitoring: Monitoring, times: Times) -> None:
    """The alert names the group and the statistic, reaches the reviewers, and is over once traffic is fair."""
    name, also = "EvenstreamUnequalTreatment", "EvenstreamGapBeyondThreshold"
    await_true("no alert fires", lambda: not monitoring.firing(), PATIENCE_SECONDS)
    time.sleep(4 * WINDOW_MS / 1000)  # fair windows: none of them alerts
    assert not {name, also} & {told.name for told in monitoring.notifications}
    began = house.traffic.turn(unfair=True)
    await_true("reviewers hear of it", lambda: monitoring.told(name, began, **BLACK), PATIENCE_SECONDS)
    await_true("so many breaches", lambda: monitoring.fired(also, began, **BLACK), PATIENCE_SECONDS)
    first = monitoring.told(name, began, **BLACK)[0]
    assert first.receiver == "reviewers"
    assert first.labels == {"alertname": name, "severity": "warning", "deployment": "observed", **BLACK}
    assert "recommendation_rate of black members, next to white ones" in first.annotations["summary"]
    ended = house.traffic.turn(unfair=False)
    await_true("it is over", lambda: monitoring.told(name, ended, "resolved", **BLACK), PATIENCE_SECONDS)
    await_true("no alert fires", lambda: not monitoring.firing(), PATIENCE_SECONDS)
    times.tell("black members are recommended nothing", began, name, **BLACK)
    times.tell("black members are recommended nothing", began, also, **BLACK)
    times.tell_over("traffic is fair again", ended, name, **BLACK)


@observe
@needs("prometheus", "prometheus-alertmanager")
def test_what_people_do_is_told(house: House, monitoring: Monitoring, times: Times) -> None:
    """What strangers, colleagues and mistakes do to the topics: one alert each, and no other."""
    settings = house.trial.settings
    keys = settings.topic("keys")
    causes = {
        "EvenstreamReleaseRefused": ("a record on releases-a that no party signed", {"party": "a"}),
        "EvenstreamMembersMisplaced": ("a member's record in a wrong partition", {}),
        "EvenstreamControlHeldBack": ("an open transaction on keys", {"topic": keys}),
        "EvenstreamWindowVoid": ("a source is given a partition", {"reason": "measurement_applied_late"}),
        "EvenstreamApprovalExpiring": ("a measurement is approved for three hours", {"measurement": "brief"}),
    }
    began = time.time()
    house.approve_another()
    house.grow_source()
    plain = Producer({"bootstrap.servers": settings.kafka.bootstrap})
    plain.produce(settings.topic("releases-a"), b"no release", b"feed/2s/0")
    for partition in (0, 1):  # one of the two is wrong, whichever it is
        members = settings.topic("member-attributes")
        plain.produce(members, b'{"family_name": "Garcia"}', b"m000000001", partition=partition)
    plain.flush(10)
    held = {"transactional.id": "held", "transaction.timeout.ms": 60_000}
    holding = Producer({"bootstrap.servers": settings.kafka.bootstrap, **held})
    holding.init_transactions(10)
    holding.begin_transaction()
    holding.produce(keys, b"nothing", b"nothing")
    holding.flush(10)
    for name, (cause, labels) in causes.items():
        await_true(cause, lambda name=name, labels=labels: monitoring.told(name, began, **labels), PATIENCE_SECONDS)
    holding.abort_transaction(10)
    for name, (cause, labels) in causes.items():
        times.tell(cause, began, name, **labels)
    assert {one.name for one in monitoring.notifications if one.at >= began} == set(causes)
    await_true("nothing is held back", lambda: "EvenstreamControlHeldBack" not in monitoring.firing(), PATIENCE_SECONDS)


NOT_HERE = {
    "evenstream_estimators_disagree",  # the check needs Self-ID
    "evenstream_review_deadline_timestamp_seconds",  # there while a review is open
}


@observe
@needs("prometheus", "prometheus-alertmanager")
def test_every_series_that_rules_read_is_scraped(monitoring: Monitoring) -> None:
    """A rule on a series that no role shows would be silent, and nobody would notice."""
    read = set(re.findall(r"\bevenstream[_:][\w:]+", render(VALUES)))
    assert read - monitoring.series() <= NOT_HERE


def test_the_commands_of_the_runbooks_run(house: House, request: pytest.FixtureRequest) -> None:
    """Each line that a page has a person read with ends as it should, and ours say something."""
    assert missing() == set()
    here = shutil.which("prometheus") and shutil.which("prometheus-alertmanager")
    prometheus = request.getfixturevalue("monitoring").prometheus if here else ""
    roles = {role: f"127.0.0.1:{port}" for role, port in house.trial.ports.items()}
    settings = house.trial.settings
    variables = {role.upper(): f"http://{address}" for role, address in roles.items()}
    variables |= {"PROMETHEUS": prometheus, "MEASUREMENT": "feed"}
    variables |= {"DEPLOYMENT": settings.deployment, "KAFKA": settings.kafka.bootstrap}
    shell = Shell(house.trial.arguments, roles, variables)
    await_true("a window is published", house.has_published, PATIENCE_SECONDS)
    installed = {program for program in PROGRAMS if program == "evenstream" or shutil.which(program)}
    lines = [line for line in read_lines() if set(line.programs) <= installed and (here or "$PROM" not in line.text)]
    problems = [problem for line in lines if (problem := shell.problem(line))]
    assert problems == []


@observe
@needs("prometheus", "prometheus-alertmanager")
def test_a_party_that_is_killed_is_the_one_alert(house: House, monitoring: Monitoring, times: Times) -> None:
    """Whoever is on call hears that b is down; what follows from it fires, and is held back."""
    earlier = monitoring.firing()
    began = time.time()
    os.kill(house.trial.supervisor.pid("b"), signal.SIGKILL)
    await_true("on call hears of it", lambda: monitoring.told("EvenstreamRoleDown", began), PATIENCE_SECONDS)
    follow = ("EvenstreamMetricsStale", "EvenstreamPartiesApart")
    for name in follow:
        await_true(f"{name} fires", lambda name=name: monitoring.fired(name, began), PATIENCE_SECONDS)
    time.sleep(3)  # in which Alertmanager would have told of them
    times.tell("party b is killed", began, "EvenstreamRoleDown", role="b")
    for name in follow:
        times.tell("party b is killed", began, name)
    told = [one for one in monitoring.notifications if one.at >= began and one.status == "firing"]
    assert {(one.name, one.receiver) for one in told if one.name not in earlier} == {("EvenstreamRoleDown", "on-call")}
    assert monitoring.firing() - earlier == {"EvenstreamRoleDown", *follow}
    assert monitoring.fired("EvenstreamPartiesApart", began, party="b")
    assert not monitoring.fired("EvenstreamPartiesApart", began, party="a")
