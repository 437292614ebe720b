"""`evenstream doctor --as ROLE` on a secured Kafka, each role with its own credentials: all well, and what is not.

One deployment, before any role has run; each fault is made and mended by its test.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AclBinding,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from privacy import parse_measurement
from secure_agg.keyring import create
from streams import acl
from streams.cli import main
from streams.doctor.findings import Finding, exit_status
from streams.doctor.readiness.examination import examine
from streams.doctor.readiness.subject import Subject
from streams.kafka import acls, topics
from streams.kafka.clients import admin
from streams.kafka.dev_broker import DevBroker
from streams.kafka.dev_security import BrokerSecurity
from streams.settings import PRINCIPALS, Settings
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SPEC = """
id: feed
purpose: readiness
source: {{topic: {topic}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 1s, lateness: 1s, max_future: 1s}}
reference: white
privacy: {{contribution_cap: 24, cap_rule: first, rho_member_day: 0.1}}
review: {{owner: the tests, harm_considered: none, data_used: made up, retention: until the test ends}}
test_only: {{noise_scale_units: 0.01}}
"""

ROLES = ("seal", "attach", "a", "b", "publish", "retention", "operator", "governance", "company")


@pytest.fixture(scope="module")
def security(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, BrokerSecurity]]:
    """A secured broker: its address, and who may reach it."""
    broker = DevBroker(tmp_path_factory.mktemp("readiness-kafka") / "kafka", secure=True)
    try:
        process = broker.start(progress=print)
        assert broker.security is not None
        yield process.bootstrap, broker.security
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def trial(security: tuple[str, BrokerSecurity], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A deployment with its topics, keys and a measurement in force; no role has ever run."""
    overrides = [
        "topics.partitions=2",
        "test_cluster=true",
        "keys.governance_threshold=1",
        "http.port=0",
        "privacy.rho_member_day_limit=1",
        "privacy.rho_30_days_limit=100",
        "privacy.rho_year_limit=1000",
    ]
    made = Trial(tmp_path_factory.mktemp("readiness"), print, name="t", overrides=overrides, secure=True)
    try:
        made.start_kafka(*security)
        source = made.settings.topic("rec-events")
        made.prepare([source])
        now_ms = time.time_ns() // 1_000_000
        spec = parse_measurement(SPEC.format(topic=source), origin="test")
        made.approve(spec.with_effective_from((now_ms // 1000 + 1) * 1000), now_ms)
        yield made
    finally:
        made.stop()


def asked(settings: Settings, role: str) -> list[Finding]:
    """What the checks say."""
    return examine(Subject(settings, role))


def wrong(findings: list[Finding]) -> list[Finding]:
    """What is not ok."""
    return [finding for finding in findings if finding.verdict != "ok"]


@pytest.mark.parametrize("role", ROLES)
def test_all_is_well_before_a_role_has_run(trial: Trial, role: str) -> None:
    """Every principal of the table has all that it needs and nothing else, by the command, as JSON and in lines."""
    config = ["--config", str(trial.config_of(role))]
    result = CliRunner().invoke(main, [*config, "doctor", "--as", role])
    print(result.output)
    assert result.exit_code == 0, result.output
