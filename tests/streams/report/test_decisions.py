"""Where measurements stand, in words and for machines, at every time of their lives."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from known_records import DEPLOYMENT, TRUSTED
from reviewed import REVIEW

from privacy import Limits, Measurement, SignedMeasurement, approve, key_id, parse_measurement, revoke
from privacy.decisions import Answer, Close, Contents, DecisionLog, Forecast, Propose, Reject, Revoke, approval_of
from secure_agg import Trusted
from streams.control import ControlPlane
from streams.report.decisions import history, standings

DAY_MS = 86_400_000
BEGIN_MS = 20_000 * DAY_MS
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2)]
IDS = [key_id(key.public_key()) for key in KEYS]


def spec(revision: int, begin_ms: int, *, arrival: str = "live", name: str = "feed") -> Measurement:
    """Ends ten days after it began."""
    text = f"""
id: {name}
revision: {revision}
purpose: p
source: {{topic: {name}, arrival: {arrival}, member: m, time: ts}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: 0.1}}
{REVIEW}
"""
    return parse_measurement(text, origin="x").with_effective_from(begin_ms).with_expires(begin_ms + 10 * DAY_MS)


class House:
    """A log and the roles' registry, by two reviewers, both of whom must agree."""

    def __init__(self, rho_limit: float = 1.0) -> None:
        self.log = DecisionLog(DEPLOYMENT, {key_id(k.public_key()): k.public_key() for k in KEYS}, 2)
        trusted = Trusted(DEPLOYMENT, TRUSTED, tuple(key.public_key() for key in KEYS))
        self.control = ControlPlane(trusted, test_cluster=False, limits=Limits.of_day(rho_limit), threshold=2)

    def propose(self, measurement: Measurement) -> None:
        self._write(Propose(measurement.canonical_bytes().decode(), Forecast.of(measurement)), 0)

    def approve(self, measurement: Measurement) -> None:
        self.propose(measurement)
        for place, key in enumerate(KEYS):
            self._write(approval_of(measurement, DEPLOYMENT, key), place)
        proposal = self.log.current(measurement.id, measurement.revision)
        assert proposal is not None
        self.control.apply_measurement(self.control.measurements_offset, proposal.signed(DEPLOYMENT).encode())

    def _write(self, contents: object, place: int) -> None:
        assert self.log.apply(0, self.log.sign(contents, KEYS[place], BEGIN_MS)) is None  # type: ignore[arg-type]

    def statuses(self, now_ms: int) -> list[str]:
        return [standing.status for standing in standings(self.log, self.control, now_ms)]


@pytest.mark.parametrize(
    ("days", "statuses"),
    [
        (-1, ["scheduled", "scheduled"]),
        (0, ["active", "scheduled"]),
        (4.9, ["active", "scheduled"]),
        (5, ["superseded", "active"]),
        (15, ["superseded", "expired"]),
    ],
)
def test_an_approved_measurement_has_its_times(days: float, statuses: list[str]) -> None:
    """Scheduled, active, superseded by a later revision, expired: by the clock alone."""
    house = House()
    house.approve(spec(1, BEGIN_MS))
    house.approve(spec(2, BEGIN_MS + 5 * DAY_MS))
    assert house.statuses(BEGIN_MS + round(days * DAY_MS)) == statuses


def test_a_proposal_lapses_when_it_should_have_begun() -> None:
    """Unless it is of a log that keeps its own times."""
    house = House()
    house.propose(spec(1, BEGIN_MS))
    house.propose(spec(1, BEGIN_MS, arrival="record_time", name="logged"))
    assert house.statuses(BEGIN_MS - 1) == ["proposed", "proposed"]
    assert house.statuses(BEGIN_MS) == ["lapsed", "proposed"]


def test_what_the_roles_refuse_all_the_same_says_so() -> None:
    """Approved by the reviewers, over the roles' limit: not scheduled, not active."""
    house = House(rho_limit=0.01)
    house.approve(spec(1, BEGIN_MS))
    assert house.statuses(BEGIN_MS) == ["refused"]


def test_what_is_in_force_past_the_log_says_so() -> None:
    """Old signatures on `measurements`: the roles count it, so its standing says that before what the log says."""
    house = House()
    first, unknown = spec(1, BEGIN_MS), spec(1, BEGIN_MS, name="unknown")
    house.propose(first)
    house._write(approval_of(first, DEPLOYMENT, KEYS[0]), 0)
    house._write(Reject("feed", 1, first.digest().hex(), "no"), 0)
    for measurement in (first, unknown):
        signatures = tuple(approve(measurement, DEPLOYMENT, key).signatures[0] for key in KEYS)
        record = SignedMeasurement(measurement.canonical_bytes(), DEPLOYMENT, signatures).encode()
        house.control.apply_measurement(house.control.measurements_offset, record)
    found = standings(house.log, house.control, BEGIN_MS)
    assert [(standing.status, standing.why) for standing in found] == [
        ("unfounded", "in force (active), though the log says rejected: revoke it"),
        ("unfounded", "in force (active), though the log says nothing of it: revoke it"),
    ]
    assert "unknown revision 1: unfounded; in force (active), though" in str(found[1])
    assert json.loads(json.dumps(found[1].as_json()))["approvals"] == []
    house._write(Propose(spec(1, BEGIN_MS + DAY_MS).canonical_bytes().decode(), Forecast.of(first)), 0)
    assert sorted(house.statuses(BEGIN_MS)) == ["proposed", "unfounded", "unfounded"]
    for measurement in (first, unknown):
        stopped = revoke(measurement, DEPLOYMENT, KEYS[1], at_ms=BEGIN_MS, reason="past the log").encode()
        house._write(Revoke(stopped.decode()), 1)
        house.control.apply_measurement(house.control.measurements_offset, stopped)
    assert sorted(house.statuses(BEGIN_MS)) == ["proposed", "revoked", "revoked"]


def test_a_standing_tells_people_and_machines_the_same() -> None:
    """Who said what, how many approvals are missing, days left, and concerns where somebody has counted them."""
    house = House()
    first = spec(1, BEGIN_MS)
    house.propose(first)
    house._write(approval_of(first, DEPLOYMENT, KEYS[1]), 1)
    (standing,) = standings(house.log, house.control, BEGIN_MS - DAY_MS, {"feed": 2})
    assert str(standing) == (
        "feed revision 1: proposed (1 of 2 approvals); from 2024-10-04T00:00:00Z to 2024-10-14T00:00:00Z; 11.0 days "
        f"until it expires; approved by {IDS[1]}; 2 open concerns"
    )
    found = json.loads(json.dumps(standing.as_json()))
    assert (found["approvals"], found["approvals_needed"]) == ([IDS[1]], 2)
    assert (found["days_left"], found["open_concerns"]) == (11.0, 2)


def test_history_says_who_decided_what() -> None:
    """A line a record, all of them or those of one measurement."""
    house = House()
    first = spec(1, BEGIN_MS)
    house.propose(first)
    house._write(Reject("feed", 1, first.digest().hex(), "too costly"), 1)
    house._write(Answer("c-1", "We looked."), 0)
    house._write(Close("c-1", "Mended."), 1)
    told = list(history(house.log))
    assert [line.split("  ")[-1].split(" (")[0] for line in told] == [
        "proposes feed revision 1",
        "rejects feed revision 1: too costly",
        "answers concern c-1: We looked.",
        "closes concern c-1: Mended.",
    ]
    assert all(IDS[place] in line for place, line in zip((0, 1, 0, 1), told, strict=True))
    assert list(history(house.log, "feed")) == told[:2]


HOSTILE = "ok\n   7  2026-01-01T00:00:00Z  approves \x1b[2J"
SHOWN = r"ok    7  2026-01-01T00:00:00Z  approves \x1b[2J"


def test_what_had_no_effect_is_told_without_reading_it_again() -> None:
    """A key that signs what is no spec, no revocation, or does not fit, ends nobody's history."""
    log, first = House().log, spec(1, BEGIN_MS)
    signed: list[Contents] = [
        Propose("x", Forecast.of(first)),
        Revoke("x"),
        Reject("feed", 1, first.digest().hex(), "too early"),
        Propose(first.canonical_bytes().decode(), Forecast.of(first)),
    ]
    for offset, contents in enumerate(signed, start=5):
        log.apply(offset, log.sign(contents, KEYS[0], BEGIN_MS))
    assert len(log.misfits) == 3
    told = [line.split("  ")[-1] for line in history(log)]
    assert [text.split(": ")[0] for text in told[:3]] == [
        "propose without effect",
        "revoke without effect",
        "reject without effect",
    ]
    assert all(misfit.why in text for misfit, text in zip(log.misfits, told, strict=False))
    assert told[3].startswith("proposes feed revision 1 ")
    assert [line.split("  ")[-1] for line in history(log, "feed")] == told[2:]


def test_no_text_of_a_reviewer_reaches_a_terminal_raw() -> None:
    """Answers and reasons, of rejections and revocations: one line each, with escapes for what would drive it."""
    house = House()
    log = house.log
    first, second = spec(1, BEGIN_MS), spec(1, BEGIN_MS, name="other")
    stop = revoke(second, DEPLOYMENT, KEYS[0], at_ms=BEGIN_MS, reason=HOSTILE)
    decisions: list[tuple[Contents, int]] = [
        (Propose(first.canonical_bytes().decode(), Forecast.of(first)), 0),
        (Reject("feed", 1, first.digest().hex(), HOSTILE), 0),
        (Propose(second.canonical_bytes().decode(), Forecast.of(second)), 0),
        (approval_of(second, DEPLOYMENT, KEYS[0]), 0),
        (approval_of(second, DEPLOYMENT, KEYS[1]), 1),
        (Revoke(stop.encode().decode()), 0),
        (Answer("c-1", HOSTILE), 0),
        (Close("c-1", HOSTILE), 0),
    ]
    for offset, (contents, place) in enumerate(decisions):
        assert log.apply(offset, log.sign(contents, KEYS[place], BEGIN_MS)) is None
    told = list(history(log))
    assert [line.endswith(SHOWN) for line in told] == [False, True, False, False, False, True, True, True]
    shown = [str(standing) for standing in standings(log, house.control, BEGIN_MS)]
    assert all(SHOWN in line for line in shown)
    assert not {"\x1b", "\n"} & set("".join([*told, *shown]))
