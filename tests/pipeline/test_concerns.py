"""Concerns on a real Kafka, with the real process of publish: from the form to the reviewers and back to 0."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from alarmed import record, result
from click.testing import CliRunner
from confluent_kafka import TIMESTAMP_CREATE_TIME
from in_force import put_in_force
from reviewed import REVIEWED
from signed_windows import Headers, headers_over

from privacy import parse_measurement
from secure_agg.keyring import create as create_keys
from secure_agg.keyring import load_role
from streams.cli import main
from streams.concerns import open_concerns
from streams.governance import starting
from streams.kafka import topics
from streams.kafka.clients import make_producer, read_to_end
from streams.records.concern import Concern, encode_concern
from streams.roles.supervisor import Supervisor
from streams.settings import Settings, load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

SPEC = """
id: feed
revision: 1
purpose: Does everyone see equally good jobs?
source: {topic: events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
detection: {review_within: 1m}
"""


@dataclass
class Site:
    """A deployment whose publish runs."""

    settings: Settings
    port: int
    folder: Path
    supervisor: Supervisor
    begin_ms: int
    """Of the measurement's first window: some minutes ago."""

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
        """One request to publish."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"User-Agent": "a-browser-to-forget", "Sec-Fetch-Site": "same-origin"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait, and keep publish up, until something holds."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            self.supervisor.watch()
            try:
                if holds():
                    return
            except OSError:  # not listening yet
                pass
            time.sleep(0.1)
        log = (self.folder / "logs" / "publish.log").read_text()[-2000:]
        pytest.fail(f"never: {what}\n{log}")

    def shows(self, count: int) -> None:
        """/metrics comes to show so many open concerns."""
        line = f"\nevenstream_concerns_open {count}.0\n"
        self.until(lambda: line in self.ask("/metrics")[1], f"{count} open concerns")

    def run(self, *arguments: str, status: int = 0, stdin: str | None = None) -> str:
        """One command."""
        config = self.folder / "evenstream.yaml"
        config.write_text(self.settings.model_dump_json())
        result = CliRunner().invoke(main, ["--config", str(config), *arguments], input=stdin)
        assert result.exit_code == status, result.output
        return result.output

    def listed(self, *arguments: str) -> dict[str, list[dict[str, object]]]:
        """`concern list --json`."""
        found: dict[str, list[dict[str, object]]] = json.loads(self.run("concern", "list", "--json", *arguments))
        return found

    def reviews(self, count: int) -> None:
        """/metrics comes to show so many open reviews."""
        line = f'\nevenstream_reviews_open{{measurement="feed"}} {count}.0\n'
        self.until(lambda: line in self.ask("/metrics")[1], f"{count} open reviews")

    def write(
        self, key: bytes | None, value: bytes | None, topic: str = "concerns", headers: Headers | None = None
    ) -> None:
        """Anything at all, by whoever may write the topic."""
        producer = make_producer(self.settings, None)
        producer.produce(self.settings.topic(topic), key=key, value=value, headers=list(headers or ()))
        assert producer.flush(10) == 0


@pytest.fixture
def site(kafka: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Topics, keys, one approved measurement, and publish, ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    overrides = [
        f"deployment=t-{os.urandom(4).hex()}",
        f"kafka.bootstrap={kafka}",
        "topics.replication_factor=1",
        "topics.min_insync_replicas=1",
        f"keys.dir={tmp_path / 'keys'}",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
        *getattr(request, "param", ()),
    ]
    settings = load_settings(None, overrides, environment={})
    topics.create(settings, topics.plan(settings))
    create_keys(settings.keys.dir, settings.deployment)
    then_ms = time.time_ns() // 1_000_000 - 600_000
    spec = starting(parse_measurement(SPEC + REVIEWED, origin="test"), then_ms)
    put_in_force(settings, spec, then_ms)
    arguments = [part for override in overrides for part in ("--set", override)]
    supervisor = Supervisor(arguments, tmp_path / "logs", {"publish": port})
    supervisor.start(["publish"])
    found = Site(settings, port, tmp_path, supervisor, spec.effective_from_ms or 0)
    try:
        found.until(lambda: found.ask("/readyz")[0] == 200, "publish is ready")
        yield found
    finally:
        supervisor.stop()


def test_from_the_form_to_the_reviewers_and_back_to_zero(site: Site) -> None:
    """Form, topic, list, answer, close, metric; nothing of who wrote is kept; rubbish and replays change nothing."""
    reviewer = str(site.settings.keys.dir / "governance" / "reviewer-1.key")
    site.shows(0)
    assert "Does everyone see equally good jobs?" in site.ask("/")[1]
    assert json.loads(site.ask("/pipeline.json")[1])["levels"][0]["measurement"] == "feed"
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as stream:
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = b""
        while b"event: hello\nid: " not in found:
            part = stream.recv(1000)
            assert part, found
            found += part
    assert '<option value="feed"' in site.ask("/concerns")[1]

    before = datetime.now(UTC).date().isoformat()
    status, page = site.ask("/concerns", "POST", urlencode({"measurement": "feed", "text": "Why so few?"}).encode())
    assert status == 200, page
    (name,) = re.findall(r"<code>([0-9a-f]{32})</code>", page)

    # What Kafka has: the record as it is defined, at midnight, and no header.
    (written,) = read_to_end(site.settings, site.settings.topic("concerns"))
    (concern,) = site.listed()["concerns"]
    assert concern["id"] == name
    assert before <= str(concern["day"]) <= datetime.now(UTC).date().isoformat()
    expected = Concern(1, name, "feed", str(concern["day"]), "Why so few?", "page")
    assert (written.key(), written.value(), written.headers()) == (name.encode(), encode_concern(expected), None)
    midnight = datetime.fromisoformat(f"{concern['day']}T00:00:00+00:00").timestamp() * 1000
    assert written.timestamp() == (TIMESTAMP_CREATE_TIME, midnight)

    site.shows(1)
    assert open_concerns(site.settings) == {"feed": 1}
    assert "1 open concern" in site.run("measurement", "status")

    # Whoever may write the topic can write anything.
    site.write(None, b"\xff\xfe")
    site.write(b"k", b"x" * 20_000)
    site.write(name.encode(), encode_concern(Concern(1, name, "feed", "2025-01-01", "replayed", "page")))
    hostile = Concern(1, "f" * 32, "feed", "2025-01-01", "a\x1b[2J\x1b]0;owned\x07", "page")
    site.write(b"f" * 32, encode_concern(hostile))
    site.write(b"e" * 32, encode_concern(Concern(1, "e" * 32, "none", "2025-01-01", "x", "page")))
    shown = site.run("concern", "list")
    assert "  | Why so few?" in shown
    assert "\x1b" not in shown
    assert "replayed" not in shown
    assert site.listed()["left_out"] == {"malformed": 3, "repeated": 1, "unknown_measurement": 1}

    # By command; a mistake names what there is.
    told = site.run("concern", "raise", "--measurement", "feed", "--text", "-", stdin="From a\nterminal\n")
    (second,) = re.findall(r"as ([0-9a-f]{32})", told)
    site.shows(2)
    unknown = site.run("concern", "raise", "--measurement", "fed", "--text", "x", status=1)
    assert "there is no approved measurement 'fed'; approved: feed" in unknown
    assert "is empty" in site.run("concern", "raise", "--measurement", "feed", "--text", " ", status=1)

    # Reviewers.
    site.run("concern", "answer", name, "--key", reviewer, "--text", "We look into it.")
    assert "  > We look into it." in site.run("concern", "list")
    assert "there is no concern" in site.run("concern", "close", "0" * 32, "--key", reviewer, status=1)
    site.run("concern", "close", name, "--key", reviewer, "--text", "Fixed in revision 2.")
    site.shows(1)
    assert "already closed" in site.run("concern", "close", name, "--key", reviewer, status=1)
    assert [entry["id"] for entry in site.listed()["concerns"]] == [second]
    assert [entry["state"] for entry in site.listed("--all")["concerns"]] == ["closed", "open"]
    site.run("concern", "close", second, "--key", reviewer)
    site.shows(0)
    assert "0 open concerns" in site.run("measurement", "status")
    assert "every record holds" in site.run("measurement", "verify")

    # An alarm opens a review, which a new process finds on the topic; that comes to the same count of concerns.
    (standing,) = json.loads(site.run("measurement", "status", "--json"))
    end_ms = site.begin_ms + 10_000
    alarmed = result(metric="recommendation_rate", since_ms=end_ms)
    key, value = record(alarmed, spec=bytes.fromhex(standing["spec_sha256"]), end_ms=end_ms)
    publish = load_role(site.settings.keys.dir, "publish", site.settings.deployment).identity
    site.write(key, value, "fairness-metrics", headers_over(publish, key, value))
    os.kill(site.supervisor.pid("publish"), signal.SIGKILL)
    site.until(lambda: site.supervisor.restarts == 1, "a restart")
    site.shows(0)
    site.reviews(1)
    alarm = f"feed/10s/recommendation_rate/all/black/{end_ms}"
    assert "1 review is open, 1 of them past the deadline" in site.ask("/reviews")[1]
    assert f"evenstream review decide {alarm}" in site.ask(f"/reviews/{alarm}")[1]
    assert "feed, revision 1" in site.ask("/approvals")[1]
    words = ("--cause", "chance", "--decision", "watch", "--follow-up", "none")
    site.run("review", "decide", alarm, *words, "--key", reviewer)
    site.reviews(0)
    site.until(lambda: "decided: watch" in site.ask("/reviews")[1], "the disposition is shown")
    log = (site.folder / "logs" / "publish.log").read_text()
    for secret in ("Why so few", "From a", "a-browser-to-forget", "127.0.0.1 ", name):
        assert secret not in log


@pytest.mark.parametrize("site", [("publish.page=false",)], indirect=True)
def test_without_the_page_there_is_no_form(site: Site) -> None:
    """Switched off, the page's paths do not exist and nothing can be posted; concerns are counted all the same."""
    site.shows(0)
    assert site.ask("/")[0] == site.ask("/concerns")[0] == 404
    assert site.ask("/concerns", "POST", b"measurement=feed&text=x")[0] == 405
    site.run("concern", "raise", "--measurement", "feed", "--text", "by command")
    site.shows(1)
