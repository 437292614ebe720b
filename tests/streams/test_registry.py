"""Signing and submitting on a real cluster: what would have no effect is said at once, and nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from privacy import (
    ApprovalError,
    Measurement,
    RegistryBudgetError,
    SignedMeasurement,
    approve,
    parse_measurement,
)
from secure_agg.keyring import create, load_governance
from streams import registry
from streams.errors import InputError
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.settings import Settings

pytestmark = pytest.mark.kafka

DAY_MS = 86_400_000
SPEC = """
id: {id}
revision: {revision}
purpose: registry
source: {{topic: events, member: m, time: ts}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [1m]}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: {rho}}}
"""


def spec(name: str = "feed", *, revision: int = 1, rho: float = 0.1) -> Measurement:
    """A measurement that does not say when it begins."""
    return parse_measurement(SPEC.format(id=name, revision=revision, rho=rho), origin="test")


@pytest.fixture
def settings(kafka: str, make_settings: Callable[..., Settings]) -> Settings:
    """A deployment with topics and keys."""
    settings = make_settings(kafka)
    topics.create(settings, topics.plan(settings))
    create(settings.keys.dir, settings.deployment)
    return settings


def sign(settings: Settings, measurement: Measurement, now_ms: int) -> SignedMeasurement:
    """Sign with the one reviewer's key."""
    return registry.sign(measurement, settings, settings.keys.dir / "governance" / "reviewer-1.key", now_ms)


def written(settings: Settings) -> int:
    """How many records are on `measurements`."""
    return len(list(read_to_end(settings, settings.topic("measurements"))))


def test_a_measurement_is_found_after_it_was_submitted(settings: Settings) -> None:
    """It begins at the next boundary of its longest level, and commands find it by its name or as the only one."""
    now_ms = time.time_ns() // 1_000_000
    accepted = registry.submit(settings, sign(settings, spec(), now_ms), now_ms)
    assert accepted.effective_from_ms == (now_ms // 60_000 + 1) * 60_000
    assert registry.approved_measurement(settings, None) == accepted
    registry.submit(settings, sign(settings, spec("other"), now_ms), now_ms)
    assert registry.approved_measurement(settings, "feed") == accepted
    with pytest.raises(InputError, match="approved: feed, other"):
        registry.approved_measurement(settings, None)


def test_what_has_no_effect_is_not_written(settings: Settings) -> None:
    """Over the budget, altered after signing, or for another deployment: refused, and the topic is as it was."""
    now_ms = time.time_ns() // 1_000_000
    registry.submit(settings, sign(settings, spec(rho=0.4), now_ms), now_ms)
    with pytest.raises(RegistryBudgetError, match=r"only 0\.2 of 0\.6 is left"):
        registry.submit(settings, sign(settings, spec("second", rho=0.3), now_ms), now_ms)
    signed = sign(settings, spec("third"), now_ms)
    tampered = SignedMeasurement.decode(signed.encode().replace(b"registry", b"whatever"))
    with pytest.raises(ApprovalError, match="changed after signing"):
        registry.submit(settings, tampered, now_ms)
    key = load_governance(settings.keys.dir / "governance" / "reviewer-1.key")
    foreign = approve(spec("fourth").with_effective_from(now_ms // 60_000 * 60_000), "elsewhere", key)
    with pytest.raises(ApprovalError, match="deployment 'elsewhere'"):
        registry.submit(settings, foreign, now_ms)
    assert written(settings) == 1


def test_a_later_revision_takes_over_at_a_day_and_in_time(settings: Settings) -> None:
    """It begins at the next UTC day, and one that would take over within two minutes is refused."""
    now_ms = time.time_ns() // 1_000_000
    registry.submit(settings, sign(settings, spec(), now_ms), now_ms)
    midnight = (now_ms // DAY_MS + 1) * DAY_MS
    signed = sign(settings, spec(revision=2), now_ms)
    with pytest.raises(InputError, match="next UTC day"):
        registry.submit(settings, signed, midnight - 60_000)
    assert registry.submit(settings, signed, midnight - 180_000).effective_from_ms == midnight
    with pytest.raises(ApprovalError, match="raise the revision"):
        registry.submit(settings, sign(settings, spec(revision=2, rho=0.2), now_ms), now_ms)
    assert written(settings) == 2
