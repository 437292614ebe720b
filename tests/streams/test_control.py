"""The control plane: what is not approved by the governance keys, or not signed by its role, has no effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from known_records import DEPLOYMENT, TRUSTED, brief, identity
from reviewed import EXPIRES_MS, REVIEW, REVIEWED

from privacy import (
    Limits,
    Measurement,
    RegistryBudgetError,
    SignedMeasurement,
    approve,
    key_id,
    parse_measurement,
    revoke,
)
from secure_agg import EpochPublicKey, Trusted
from secure_agg.envelopes import KEM_PUBLIC_BYTES
from streams.control import ControlPlane
from streams.errors import SettingsError
from streams.records.header import source_digest
from streams.records.keys import WrappedKey, sign_epoch_key, sign_wrapped_key
from streams.records.layout import Layout, sign_layout
from streams.settings import Settings

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS
REVIEWERS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2)]
SPEC = """
id: {id}
revision: {revision}
purpose: {purpose}
source: {{topic: {topic}, arrival: {arrival}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [1m], lateness: 1s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: {rho}, cap_rule: first}}
"""


def spec(start_ms: int = START_MS, *, more: str = "", **changes: Any) -> Measurement:
    """A measurement that takes effect at ``start_ms``."""
    fields = {"id": "feed", "revision": 1, "purpose": "x", "topic": "events", "arrival": "live", "rho": 0.1} | changes
    reviewed = "" if "test_only" in more else REVIEW if "expires" in more else REVIEWED
    return parse_measurement(SPEC.format(**fields) + reviewed + more, origin="test").with_effective_from(start_ms)


def make(*, test_cluster: bool = False, rho_limit: float = 0.25, threshold: int = 1) -> ControlPlane:
    """A role's view of empty control topics, with two reviewers' keys pinned."""
    trusted = Trusted(DEPLOYMENT, TRUSTED, tuple(key.public_key() for key in REVIEWERS))
    return ControlPlane(trusted, test_cluster=test_cluster, limits=Limits.of_day(rho_limit), threshold=threshold)


def signed(measurement: Measurement, *, deployment: str = DEPLOYMENT, reviewer: int = 0) -> SignedMeasurement:
    """A measurement with one reviewer's signature."""
    return approve(measurement, deployment, REVIEWERS[reviewer])


def apply(control: ControlPlane, *measurements: Measurement) -> list[str]:
    """Put approved measurements on the topic, one after the other; the revisions that are approved now."""
    for measurement in measurements:
        control.apply_measurement(control.measurements_offset, signed(measurement).encode())
    return [f"{entry.measurement.id}/{entry.measurement.revision}" for entry in control.approved()]


# -- measurements -------------------------------------------------------------------------------------------------


def test_an_approved_measurement_is_known_by_its_digest() -> None:
    """It is found by SHA-256 of the signed bytes, with its source, its time and its place on the topic."""
    control = make()
    value = signed(spec())
    control.apply_measurement(7, value.encode())
    found = control.find(value.spec_digest())
    assert found is not None
    assert (found.measurement, found.source, found.offset) == (spec(), source_digest("events"), 7)
    assert (found.from_ms, found.until_ms) == (START_MS, EXPIRES_MS)
    assert (control.version, control.refused, control.measurements_offset) == (1, 0, 8)


def _unsigned(value: SignedMeasurement) -> bytes:
    return replace(value, signatures=()).encode()


def _by_a_stranger(value: SignedMeasurement) -> bytes:
    return approve(spec(), DEPLOYMENT, Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)).encode()


def _by_a_stranger_in_a_reviewers_name(value: SignedMeasurement) -> bytes:
    stranger = approve(spec(), DEPLOYMENT, Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32))
    forged = replace(stranger.signatures[0], key_id=value.signatures[0].key_id)
    return replace(value, signatures=(forged,)).encode()


FORGED: dict[str, Callable[[SignedMeasurement], bytes]] = {
    "unsigned": _unsigned,
    "signed by a stranger": _by_a_stranger,
    "in a reviewer's name": _by_a_stranger_in_a_reviewers_name,
    "another deployment": lambda value: signed(spec(), deployment="elsewhere").encode(),
    "renamed deployment": lambda value: replace(signed(spec(), deployment="elsewhere"), deployment=DEPLOYMENT).encode(),
    "changed afterwards": lambda value: replace(
        value, spec=value.spec.replace(b'"rho_member_day":0.1', b'"rho_member_day":0.2')
    ).encode(),
    "over budget": lambda value: signed(spec(rho=0.26)).encode(),
    "test_only": lambda value: signed(spec(more="test_only: {noise_scale_units: 0.01}\n")).encode(),
    "not JSON": lambda value: value.encode()[:-1],
    "JSON of something else": lambda value: b'{"spec": 7, "deployment": [], "approvals": {}}',
    "empty": lambda value: b"",
    "not UTF-8": lambda value: value.encode().replace(b"feed", b"\xff\xfe\xfd\xfc"),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_is_not_in_order_is_inert(how: str) -> None:
    """It is counted and has no effect, the topic is read on past it, and a proper approval after it counts."""
    control = make()
    value = FORGED[how](signed(spec()))
    assert value != signed(spec()).encode()
    control.apply_measurement(0, value)
    assert list(control.approved()) == []
    assert (control.refused, control.version, control.measurements_offset) == (1, 0, 1)
    assert apply(control, spec()) == ["feed/1"]


@given(start=st.integers(0, 700), value=st.binary(max_size=30))  # too little to complete a record
@pytest.mark.parametrize("record", [b"", signed(spec()).encode()], ids=brief)
def test_arbitrary_bytes_raise_nothing(record: bytes, start: int, value: bytes) -> None:
    """Whatever lies on `measurements`, alone or after the beginning of a record, no role ends by it."""
    control = make()
    control.apply_measurement(0, record[:start] + value)
    assert list(control.approved()) == []
    assert control.refused == 1


def test_test_only_counts_in_a_test_cluster() -> None:
    """Noise that protects nobody is let in where the operator has said that this is a test, and only there."""
    assert apply(make(test_cluster=True), spec(more="test_only: {noise_scale_units: 0.01}\n")) == ["feed/1"]


def test_the_threshold_counts_different_reviewers() -> None:
    """With two of two, one reviewer's signature is not enough, not even twice; both together are."""
    control = make(threshold=2)
    one, other = signed(spec()), signed(spec(), reviewer=1)
    twice = replace(one, signatures=one.signatures * 2)
    for value in (one, twice):
        control.apply_measurement(0, value.encode())
    assert control.refused == 2
    control.apply_measurement(0, replace(one, signatures=one.signatures + other.signatures).encode())
    assert len(list(control.approved())) == 1


def test_the_budget_is_for_all_measurements_together() -> None:
    """What does not fit beside the others is refused and leaves them as they were; what fits still goes in."""
    control = make(rho_limit=0.25)
    assert apply(control, spec(), spec(id="other"), spec(id="third")) == ["feed/1", "other/1"]
    assert control.refused == 1
    assert apply(control, spec(id="small", rho=0.05)) == ["feed/1", "other/1", "small/1"]
    with pytest.raises(RegistryBudgetError, match="'fourth'"):
        control.admit(spec(id="fourth"), bytes(32), 9)


def test_a_new_revision_spends_instead_of_the_old_one() -> None:
    """A day is one revision's: the one that takes over needs no budget beside the one that it replaces."""
    control = make(rho_limit=0.15)
    assert apply(control, spec(), spec(START_MS + DAY_MS, revision=2)) == ["feed/1", "feed/2"]
    assert apply(control, spec(START_MS + 2 * DAY_MS, revision=3, rho=0.2)) == ["feed/1", "feed/2"]


def test_one_topic_has_one_notion_of_arrival() -> None:
    """Two measurements on one topic cannot take arrival from different clocks; on two topics they can."""
    control = make()
    assert apply(control, spec(), spec(id="logged", arrival="record_time")) == ["feed/1"]
    assert control.refused == 1
    assert apply(control, spec(id="logged", arrival="record_time", topic="log")) == ["feed/1", "logged/1"]


def test_a_revision_is_taken_over_at_one_point() -> None:
    """Each window belongs to one revision: the old one's until the new one begins, and none is in both or neither."""
    control = make()
    switch = START_MS + DAY_MS
    apply(control, spec(), spec(switch, revision=2, purpose="better"))
    old, new = control.approved()
    assert (old.from_ms, old.until_ms) == (START_MS, switch)
    assert (new.from_ms, new.until_ms) == (switch, EXPIRES_MS)
    for start in (START_MS - 10_000, START_MS, switch - 10_000, switch, switch + 10 * DAY_MS):
        assert [old.covers(start), new.covers(start)] == [START_MS <= start < switch, switch <= start]


def test_revisions_may_arrive_in_any_order() -> None:
    """The number decides which revision is newer, not the place on the topic; every role comes to the same windows."""
    revisions = [spec(START_MS + number * DAY_MS, revision=number + 1) for number in range(3)]
    windows = []
    for order in ([0, 1, 2], [2, 0, 1]):
        control = make()
        apply(control, *(revisions[number] for number in order))
        windows.append({entry.measurement.revision: (entry.from_ms, entry.until_ms) for entry in control.approved()})
    assert windows[0] == windows[1]
    assert windows[0][1] == (START_MS, START_MS + DAY_MS)


def test_a_measurement_ends_when_it_expires() -> None:
    """No window that starts at or after ``expires`` is counted."""
    control = make()
    apply(control, spec(more="expires: 2024-10-05T00:00:00Z\n"))
    (entry,) = control.approved()
    assert entry.until_ms == 20_001 * DAY_MS
    assert not entry.covers(entry.until_ms)


def test_a_revision_cannot_be_rewritten() -> None:
    """The same revision with other contents is refused; with the same contents it is a repeat, and changes nothing."""
    control = make()
    apply(control, spec())
    assert apply(control, spec(purpose="another one")) == ["feed/1"]
    assert control.refused == 1
    apply(control, spec())
    assert (control.refused, control.version) == (1, 1)


def test_a_tombstone_changes_nothing_but_the_offset() -> None:
    """What compaction leaves of a deleted record is read past: an approval cannot be taken back by deleting it."""
    control = make()
    apply(control, spec())
    control.apply_measurement(5, None)
    assert len(list(control.approved())) == 1
    assert (control.measurements_offset, control.refused) == (6, 0)


def test_unknown_specs_are_looked_for_before_none_is_said() -> None:
    """A role that lags behind reads on before it calls a spec unknown, and asks only when it has to."""
    control = make()
    value = signed(spec())
    reads = []

    def catch_up() -> None:
        reads.append(1)
        control.apply_measurement(0, value.encode())

    control.catch_up = catch_up
    assert control.find(value.spec_digest()) is not None
    assert control.find(value.spec_digest()) is not None
    assert len(reads) == 1
    assert control.find(bytes(32)) is None


# -- revocation ---------------------------------------------------------------------------------------------------


def revoked(measurement: Measurement, *, at_ms: int = START_MS + 5, deployment: str = DEPLOYMENT, by: int = 1) -> bytes:
    """A record that revokes a measurement, by one reviewer."""
    return revoke(measurement, deployment, REVIEWERS[by], at_ms=at_ms, reason="harm").encode()


@pytest.mark.parametrize("first", ["spec", "revocation"])
def test_one_key_revokes_whatever_comes_first(first: str) -> None:
    """Where approval needs two keys, one stops; also before the spec is there; and its windows stay its own."""
    control = make(threshold=2)
    one, other = signed(spec()), signed(spec(), reviewer=1)
    records = [replace(one, signatures=one.signatures + other.signatures).encode(), revoked(spec())]
    for offset, value in enumerate(records if first == "spec" else reversed(records)):
        control.apply_measurement(offset, value)
    (entry,) = control.approved()
    assert (entry.revoked, entry.revoked_at_ms) == (True, START_MS + 5)
    assert (entry.from_ms, entry.until_ms) == (START_MS, EXPIRES_MS)
    assert (control.refused, control.measurements_offset) == (0, 2)
    revocation = control.revocation(entry.spec)
    assert revocation is not None
    assert revocation.reason == "harm"


FAR_MS = 253_402_300_799_999


@pytest.mark.parametrize("moments", list(permutations((FAR_MS, START_MS + 5, START_MS + 9))), ids=str)
def test_the_earliest_revocation_of_a_spec_stands(moments: tuple[int, ...]) -> None:
    """In whatever order they come: one dated far ahead leaves nothing published that another is to withdraw."""
    control = make()
    apply(control, spec(), spec(id="other"))
    for offset, at_ms in enumerate(moments, start=2):
        control.apply_measurement(offset, revoked(spec(), at_ms=at_ms))
    apply(control, spec())  # an approval told again brings nothing back
    stopped, other = control.approved()
    assert (stopped.revoked_at_ms, other.revoked_at_ms, control.refused) == (START_MS + 5, None, 0)
    assert control.revocation_moments(stopped.spec) == sorted(moments)
    revocation = control.revocation(stopped.spec)
    assert revocation is not None
    assert revocation.at_ms == START_MS + 5


def test_a_revocation_told_again_changes_nothing() -> None:
    """Of two of the same moment the first on the topic names who and why; roles have nothing new to look at."""
    control = make()
    apply(control, spec())
    for offset, by in enumerate((1, 0, 1), start=1):
        control.apply_measurement(offset, revoked(spec(), by=by))
    revocation = control.revocation(spec().digest())
    assert revocation is not None
    assert (revocation.key_id, control.version) == (key_id(REVIEWERS[1].public_key()), 2)


def test_a_window_that_ends_as_it_is_revoked_is_published() -> None:
    """The border: what was complete at that very millisecond stands, a millisecond later it is withdrawn."""
    control = make()
    apply(control, spec())
    (standing,) = control.approved()
    assert not standing.withdraws(FAR_MS)
    control.apply_measurement(1, revoked(spec(), at_ms=START_MS + 10_000))
    (entry,) = control.approved()
    ends = [START_MS + 9_999, START_MS + 10_000, START_MS + 10_001]
    assert [entry.withdraws(end_ms) for end_ms in ends] == [False, False, True]


HOSTILE_REVOCATIONS: dict[str, Callable[[bytes], bytes]] = {
    "by a stranger": lambda value: revoke(
        spec(), DEPLOYMENT, Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32), at_ms=5, reason="x"
    ).encode(),
    "another deployment": lambda value: revoked(spec(), deployment="elsewhere"),
    "changed afterwards": lambda value: value.replace(b'"harm"', b'"none"'),
    "not canonical": lambda value: value.replace(b",", b", "),
    "cut": lambda value: value[:-1],
    "one more field": lambda value: value[:-1] + b',"zz":1}',
}


@pytest.mark.parametrize("how", HOSTILE_REVOCATIONS)
def test_a_revocation_that_no_reviewer_signed_is_inert(how: str) -> None:
    """It is counted and has no effect: else anyone who may write to the topic could stop a measurement."""
    control = make()
    apply(control, spec())
    value = HOSTILE_REVOCATIONS[how](revoked(spec()))
    assert value != revoked(spec())
    control.apply_measurement(1, value)
    assert [entry.revoked for entry in control.approved()] == [False]
    assert (control.refused, control.version, control.measurements_offset) == (1, 1, 2)


def test_only_the_revision_that_is_named_stops() -> None:
    """A revocation names exact bytes: neither another revision nor another start of the same measurement stops."""
    control = make()
    apply(control, spec(), spec(START_MS + DAY_MS, revision=2))
    control.apply_measurement(2, revoked(spec(START_MS + 60_000)))
    assert [entry.revoked for entry in control.approved()] == [False, False]
    control.apply_measurement(3, revoked(spec(START_MS + DAY_MS, revision=2)))
    assert [(entry.revoked, entry.until_ms) for entry in control.approved()] == [
        (False, START_MS + DAY_MS),  # the revision before it does not come back
        (True, EXPIRES_MS),
    ]


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        (
            "live",
            [("scheduled", "scheduled"), ("active", "scheduled"), ("superseded", "active"), ("superseded", "expired")],
        ),
        ("record_time", [("active", "active")] * 4),
    ],
)
def test_where_a_revision_stands(arrival: str, expected: list[tuple[str, str]]) -> None:
    """By the clock, but for a replayed log, whose times are its own; revoked whenever that is."""
    control = make()
    two = spec(START_MS + DAY_MS, revision=2, arrival=arrival)
    apply(control, spec(arrival=arrival), two)
    moments = (START_MS - 1, START_MS, START_MS + DAY_MS, EXPIRES_MS)
    assert [tuple(entry.state(now_ms) for entry in control.approved()) for now_ms in moments] == expected
    control.apply_measurement(2, revoked(two))
    for now_ms in moments:
        assert [entry.state(now_ms) for entry in control.approved()][1] == "revoked"


# -- keys ---------------------------------------------------------------------------------------------------------


def announced(role: str, epoch: int, not_after_ms: int, *, by: str | None = None) -> bytes:
    """An epoch key's record, signed by ``by`` where that is not the role itself."""
    public = EpochPublicKey(role, epoch, not_after_ms, bytes(KEM_PUBLIC_BYTES))
    if by is None:
        return sign_epoch_key(identity(role), public).value
    return sign_epoch_key(replace(identity(by), role=role), public).value


def test_the_newest_epoch_that_has_not_ended_is_used() -> None:
    """An ended epoch is not, a newer one that has ended already does not hide an older one, and roles are apart."""
    control = make()
    for epoch, not_after in ((1, 100), (2, 300), (3, 200)):
        control.apply_key(announced("a", epoch, not_after))
    found = {now: control.epoch_public("a", now) for now in (0, 199, 200, 299, 300)}
    assert {now: key.epoch if key else None for now, key in found.items()} == {0: 3, 199: 3, 200: 2, 299: 2, 300: None}
    assert control.epoch_public("b", 0) is None
    assert control.epoch_public("a", 195, margin_ms=10).epoch == 2  # type: ignore[union-attr]
    assert control.epoch_public("a", 295, margin_ms=10) is None


@pytest.mark.parametrize("by", ["seal", "attach", "b", "publish"])
def test_a_forged_epoch_key_is_not_used(by: str) -> None:
    """A key that its role did not sign is counted and never handed to a sender, nor does it replace the true one."""
    control = make()
    control.apply_key(announced("a", 1, 100))
    control.apply_key(announced("a", 1, 10**9, by=by))
    control.apply_key(announced("a", 2, 10**9, by=by))
    assert control.refused == 2
    key = control.epoch_public("a", 0)
    assert key is not None
    assert (key.epoch, key.not_after_ms) == (1, 100)


def test_forged_and_malformed_data_keys_are_not_used() -> None:
    """Wrapped keys count under their sender's signature only; garbage and tombstones leave everything as it was."""
    control = make()
    key = WrappedKey("seal", b"process1", "a", 12, "cells", b"wrapped")
    forged = sign_wrapped_key(replace(identity("attach"), role="seal"), key)
    for value in (forged.value, b"", b"garbage", b"\xff" * 40, sign_wrapped_key(identity("seal"), key).value[:-1]):
        control.apply_key(value)
    assert control.refused == 5
    control.apply_key(None)
    assert control.wrapped("seal", b"process1", "cells", "a", 12) is None
    control.apply_key(sign_wrapped_key(identity("seal"), key).value)
    assert control.wrapped("seal", b"process1", "cells", "a", 12) == key


def test_wrapped_keys_are_found_by_all_that_names_them() -> None:
    """Process, purpose, recipient and epoch all tell keys apart; those of one purpose come newest first."""
    control = make()
    for epoch in (3, 5, 4):
        control.apply_key(
            sign_wrapped_key(identity("a"), WrappedKey("a", b"process1", "b", epoch, "coverage", b"w")).value
        )
    assert [key.epoch for key in control.wrapped_for("coverage", "b")] == [5, 4, 3]
    assert list(control.wrapped_for("coverage", "a")) == []
    for wrong in (("a", b"process2", "coverage", "b", 3), ("a", b"process1", "cells", "b", 3)):
        assert control.wrapped(*wrong) is None
    for wrong in (("a", b"process1", "coverage", "a", 3), ("a", b"process1", "coverage", "b", 6)):
        assert control.wrapped(*wrong) is None


def test_more_approvals_than_keys_is_an_error_at_start(make_settings: Callable[..., Settings]) -> None:
    """A threshold that nobody could reach stops a role before it reads anything."""
    trusted = Trusted(DEPLOYMENT, TRUSTED, tuple(key.public_key() for key in REVIEWERS))
    ControlPlane.of(trusted, make_settings("x:1", "keys.governance_threshold=2"))
    with pytest.raises(SettingsError, match=r"threshold is 3, but trusted\.json pins only 2 governance keys"):
        ControlPlane.of(trusted, make_settings("x:1", "keys.governance_threshold=3"))


# -- layouts ------------------------------------------------------------------------------------------------------


def _layout_record(layout: Layout, shards: int, *, role: str = "attach", signer: str | None = None) -> bytes:
    return sign_layout(identity(signer or role), layout.next(role, shards, START_MS)).value


def test_a_role_without_a_record_is_one_worker() -> None:
    """Generation 0 with one shard needs no record, for every role."""
    control = make()
    for role in ("seal", "attach", "a", "b"):
        assert control.layout(role) == Layout(0, 1, ())


def test_layouts_are_followed_role_by_role() -> None:
    """Each record moves its own role on, and what was before is in its history; one told again changes nothing."""
    control = make()
    for shards in (3, 1, 2):
        value = _layout_record(control.layout("attach"), shards)
        control.apply_key(value)
        control.apply_key(value)
    assert control.layout("attach").generation == 3
    assert [known.shards for known in control.layout("attach").history] == [1, 3, 1]
    assert control.layout("seal") == Layout()
    assert control.refused == 0


def test_a_layout_that_does_not_follow_is_refused() -> None:
    """Another role's signature, an old one, a second one of the same generation, another past: counted, no effect."""
    control = make()
    first = _layout_record(Layout(), 3)
    control.apply_key(first)
    control.apply_key(_layout_record(control.layout("attach"), 1))
    known = control.layout("attach")
    twice = Layout(1, 3, known.history[:1])
    bad = [
        first,
        _layout_record(twice, 2),
        _layout_record(Layout(2, 4, known.history), 2),
        _layout_record(known, 2, signer="seal"),
        _layout_record(known, 2)[:-1],
    ]
    for refused, value in enumerate(bad, 1):
        control.apply_key(value)
        assert control.layout("attach") == known
        assert control.refused == refused
    control.apply_key(_layout_record(known, 2))
    assert control.layout("attach").shards == 2


def test_whoever_comes_late_takes_the_newest_layout() -> None:
    """Compaction leaves one record: it is taken as it is, whatever its generation."""
    control, late = make(), make()
    for shards in (2, 3) * 20:
        control.apply_key(value := _layout_record(control.layout("attach"), shards))
    late.apply_key(value)
    assert late.layout("attach") == control.layout("attach")
    assert late.layout("attach").generation == 40
