"""A spec that is not in order is refused by each role for itself, though every other role has been taken in by it.

One role checks as it always does; the other four are made to believe the spec, as five roles on five machines could be
by five different faults. Whatever they send it, the honest role makes no rows, no shares, no release, no number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from reviewed import EXPIRES_MS, REVIEW, REVIEWED

from privacy import Limits, Measurement, SignedMeasurement, approve, parse_measurement
from secure_agg.keyring import load_governance
from streams.control import ControlPlane
from streams.inprocess import InProcessPipeline
from streams.records.batches import SealedBatch
from streams.records.frame import Kind, kind_of

pytestmark = pytest.mark.slow

ROLES = ("seal", "attach", "a", "b", "publish")
START_MS = 20_000 * 86_400_000
LIMITS = Limits(0.2, 1.0, 2.0)
SPEC = """
id: feed
purpose: hostile specs
source: {{topic: ev, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, lateness: 1s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: {rho}, cap_rule: first, rotation: {{{rotation}}}}}
"""
ROTATION = "days_in_30: 8, days_in_year: 15"

Made = tuple[bytes, Measurement, bytes]
"""The record on `measurements`, what the roles that are taken in believe, and SHA-256 of the spec's bytes."""


class House:
    """Five roles outside a test cluster, of which two reviewers' approvals are demanded."""

    def __init__(self, folder: Path) -> None:
        self.pipeline = InProcessPipeline(
            folder / "keys", partitions=1, sources={"ev": 1}, start_ms=START_MS, limits=LIMITS, test_cluster=False
        )
        for control in self.pipeline.controls.values():
            control._threshold = 2
        self.keys = [load_governance(folder / "keys" / "governance" / f"reviewer-{n}.key") for n in (1, 2)]
        for number in range(30):
            member = b"m%d" % number
            attributes = json.dumps({"family_name": "Garcia", "state": "CA"}).encode()
            self.pipeline.write_attributes(member, attributes)

    def sign(self, spec: Measurement, *, deployment: str = "inprocess", reviewers: int = 2) -> SignedMeasurement:
        """A spec with so many approvals."""
        signed = [approve(spec, deployment, key) for key in self.keys[:reviewers]]
        return SignedMeasurement(signed[0].spec, deployment, tuple(s.signatures[0] for s in signed))

    def run(self) -> None:
        """Half a minute of events."""
        for second in range(32):
            self.pipeline.log.clock_ms = START_MS + 1000 * second
            for member in range(second % 3, 30, 3):
                event = {"m": f"m{member}", "ts": self.pipeline.log.clock_ms, "r": bool(member % 2)}
                self.pipeline.log.append("ev", 0, json.dumps(event).encode())
            self.pipeline.run()

    def batches(self, topic: str) -> int:
        """How many batches lie on a topic."""
        return sum(kind_of(value) is not Kind.PUNCTUATION for value in self.pipeline.log.values(topic))


def spec(*, rho: float = 0.1, rotation: str = ROTATION, more: str = REVIEWED) -> Measurement:
    """A measurement; as it comes it is in order."""
    return parse_measurement(SPEC.format(rho=rho, rotation=rotation) + more, origin="test").with_effective_from(
        START_MS
    )


def made(signed: SignedMeasurement, measurement: Measurement) -> Made:
    return signed.encode(), measurement, signed.spec_digest()


def _tampered(house: House) -> Made:
    signed = house.sign(spec())
    changed = signed.spec.replace(b'"contribution_cap":2', b'"contribution_cap":9')
    assert changed != signed.spec
    return made(SignedMeasurement(changed, signed.deployment, signed.signatures), Measurement.from_canonical(changed))


def _of(**changes: object) -> Callable[[House], Made]:
    def make(house: House) -> Made:
        measurement = spec(**changes)  # type: ignore[arg-type]
        return made(house.sign(measurement), measurement)

    return make


HOSTILE: dict[str, Callable[[House], Made]] = {
    "tampered with": _tampered,
    "under-approved": lambda house: made(house.sign(spec(), reviewers=1), spec()),
    "for another deployment": lambda house: made(house.sign(spec(), deployment="elsewhere"), spec()),
    "over the day's budget": _of(rho=0.25),
    "over the 30 days' budget": _of(rotation="days_in_30: 11, days_in_year: 15"),
    "over the year's budget": _of(rotation="days_in_30: 8, days_in_year: 21"),
    "test noise": _of(more=REVIEWED + "test_only: {noise_scale_units: 0.01}\n"),
    "without review": _of(more="expires: 2100-01-01T00:00:00Z\n"),
    "without an end": _of(more=REVIEW),
}


def take_in(control: ControlPlane, measurement: Measurement, digest: bytes) -> None:
    """Make a role believe a spec that it would not accept."""
    control._specs[measurement.id, measurement.revision] = (measurement, digest, 0)
    control._rebuild()
    control.measurements_offset = 1


def judge(house: House, role: str, hostile: Made) -> ControlPlane:
    """Have one role judge a record for itself, and the others believe it; the one role's view."""
    value, measurement, digest = hostile
    for name, control in house.pipeline.controls.items():
        if name == role:
            house.pipeline.submit(value, roles=(name,))
        else:
            take_in(control, measurement, digest)
    return house.pipeline.controls[role]


def check_refused(house: House, role: str, why: str) -> None:
    """The role has made nothing of it, and says so."""
    log, core = house.pipeline.log, house.pipeline.core
    assert house.pipeline.published == []
    if role == "seal":
        assert house.batches("sealed") == 0
        return
    assert house.batches("sealed") > 0, "the roles before it were not taken in"
    if role == "publish":
        assert log.values("releases-a"), "the roles before it were not taken in"
        assert {reason for _, _, reason in core.refused} == {why}
        return
    (reason,) = house.pipeline.stage(role).stopped().values()
    assert why in reason
    if role == "attach":
        assert house.batches("shares") == 0
    else:
        assert log.values(f"releases-{role}") == []
        assert log.values(f"ledger-{role}") == []


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_each_role_refuses_for_itself(tmp_path: Path, kind: str, role: str) -> None:
    """Seal makes no row; attach and a party stop before they open a batch; publish publishes nothing."""
    house = House(tmp_path)
    control = judge(house, role, HOSTILE[kind](house))
    assert control.refused == 1
    assert list(control.approved()) == []
    house.run()
    check_refused(house, role, "unknown_measurement" if role == "publish" else "is not approved")


@pytest.mark.parametrize("role", ROLES)
def test_each_role_ends_an_expired_measurement_for_itself(tmp_path: Path, role: str) -> None:
    """A batch or release of a window at or after ``expires`` is refused, whenever the others think that it ends."""
    house = House(tmp_path)
    ending = spec(more=REVIEW + "expires: 2024-10-04T00:00:10Z\n")
    assert ending.expires_ms == START_MS + 10_000
    signed = house.sign(ending)
    assert judge(house, role, (signed.encode(), spec(), signed.spec_digest())).refused == 0
    house.run()
    ends = [record.window.end_ms for record in house.pipeline.published]
    if role == "seal":
        values = [v for v in house.pipeline.log.values("sealed") if kind_of(v) is not Kind.PUNCTUATION]
        assert {SealedBatch.decode(value).header.window_end_ms for value in values} == {START_MS + 10_000}
    elif role == "publish":
        assert ends == [START_MS + 10_000]
        assert set(house.pipeline.core.refused) == {("feed", "a", "not_in_spec"), ("feed", "b", "not_in_spec")}
    else:
        assert set(ends) <= {START_MS + 10_000}
        (reason,) = house.pipeline.stage(role).stopped().values()
        assert reason == "at offset 20: a batch names a window that its measurement does not have"


@pytest.mark.parametrize("role", ROLES)
def test_the_same_house_publishes_what_is_in_order(tmp_path: Path, role: str) -> None:
    """Nothing but the spec is at fault: approved by two, with review, an end and room in the budget, it runs."""
    measurement = spec()
    house = House(tmp_path)
    signed = house.sign(measurement)
    judge(house, role, made(signed, measurement))
    house.run()
    assert measurement.expires_ms == EXPIRES_MS
    assert hashlib.sha256(signed.spec).digest() == measurement.digest()
    assert {record.window.end_ms - START_MS for record in house.pipeline.published} == {10_000, 20_000, 30_000}
