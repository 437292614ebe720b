"""The log of decisions: what holds, what has no effect, and that anyone comes to the same state."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from reviewed import REVIEWED

from privacy import DecisionRefused, Measurement, approve, epsilon, key_id, parse_measurement, revoke, verify
from privacy.approvals import Approval
from privacy.decisions import (
    GENESIS,
    KINDS,
    Answer,
    Approve,
    Close,
    Contents,
    Decision,
    DecisionLog,
    Forecast,
    Propose,
    Reject,
    Revoke,
    record_digest,
)

DEPLOYMENT = "prod"
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 6)]
IDS = [key_id(key.public_key()) for key in KEYS]
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x77" * 32)
TEXT = """
id: {id}
revision: {revision}
purpose: {purpose}
source: {{topic: rec-events, member: m, time: ts}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: 0.1}}
effective_from: 2026-11-24T00:00:00Z
"""


def spec(name: str = "feed", revision: int = 1, purpose: str = "fair?") -> Measurement:
    """A measurement that can be reviewed."""
    return parse_measurement(TEXT.format(id=name, revision=revision, purpose=purpose) + REVIEWED, origin="x")


SPEC = spec()


def empty(*, reviewers: int = 3, threshold: int = 2) -> DecisionLog:
    """A log of nothing."""
    return DecisionLog(DEPLOYMENT, {key_id(k.public_key()): k.public_key() for k in KEYS[:reviewers]}, threshold)


def propose(measurement: Measurement = SPEC) -> Propose:
    """Asks for it."""
    return Propose(measurement.canonical_bytes().decode(), Forecast.of(measurement))


def yes(key: Ed25519PrivateKey, measurement: Measurement = SPEC, deployment: str = DEPLOYMENT) -> Approve:
    """One reviewer's approval."""
    signature = approve(measurement, deployment, key).encode()
    encoded = json.loads(signature)["approvals"][0]["signature"]
    return Approve(measurement.id, measurement.revision, measurement.digest().hex(), encoded)


def no(measurement: Measurement = SPEC, reason: str = "too costly") -> Reject:
    """A rejection."""
    return Reject(measurement.id, measurement.revision, measurement.digest().hex(), reason)


def stop(key: Ed25519PrivateKey, measurement: Measurement = SPEC) -> Revoke:
    """A revocation."""
    return Revoke(revoke(measurement, DEPLOYMENT, key, at_ms=9, reason="harm").encode().decode())


def write(log: DecisionLog, *decisions: tuple[Contents, Ed25519PrivateKey]) -> list[bytes]:
    """Append decisions, each of which must have its effect; their records."""
    records = []
    for contents, key in decisions:
        records.append(log.sign(contents, key, 1000 + len(log.chain)))
        assert log.apply(len(log.chain), records[-1]) is None
    return records


def replayed(records: list[bytes], log: DecisionLog | None = None) -> DecisionLog:
    """What records come to."""
    log = empty() if log is None else log
    for offset, record in enumerate(records):
        log.apply(offset, record)
    return log


def state(log: DecisionLog, measurement: Measurement = SPEC) -> str:
    """Of a revision."""
    proposal = log.current(measurement.id, measurement.revision)
    assert proposal is not None
    return proposal.state


WHOLE: list[tuple[Contents, Ed25519PrivateKey]] = [
    (propose(), KEYS[0]),
    (yes(KEYS[0]), KEYS[0]),
    (yes(KEYS[1]), KEYS[1]),
    (Answer("c-1", "We looked."), KEYS[2]),
    (Close("c-1", "Done."), KEYS[2]),
    (stop(KEYS[2]), KEYS[2]),
]


def test_a_measurement_comes_to_be_with_the_kth_approval_and_ends_with_one_revocation() -> None:
    """Proposed, approved by two of three, revoked by one; its record satisfies every role."""
    log = empty()
    write(log, *WHOLE[:2])
    assert state(log) == "proposed"
    write(log, WHOLE[2])
    proposal = log.current("feed", 1)
    assert proposal is not None
    assert (proposal.state, proposal.approved_at_ms, proposal.proposer) == ("approved", 1002, IDS[0])
    keys = {name: key.public_key() for name, key in zip(IDS, KEYS, strict=True)}
    signed = proposal.signed(DEPLOYMENT)
    assert verify(signed, deployment=DEPLOYMENT, governance_keys=keys, threshold=2, test_cluster=False) == SPEC
    write(log, *WHOLE[3:])
    assert state(log) == "revoked"
    assert proposal.revocation is not None
    assert proposal.revocation.reason == "harm"
    assert (log.concerns["c-1"].answers, log.concerns["c-1"].closed) == (["We looked."], "Done.")


def test_anyone_comes_to_the_same_state() -> None:
    """From the records alone, another reader has the same chain, the same head and the same states."""
    log = empty()
    records = write(log, *WHOLE)
    other = replayed(records)
    assert (other.head, other.proposals, other.misfits) == (log.head, log.proposals, [])


def test_the_layout_is_pinned() -> None:
    """A verifier can be written from this: what is signed is the record without its last 104 bytes, closed again."""
    log = empty()
    first, second = write(log, WHOLE[0], WHOLE[1])
    assert first[-104:].startswith(b',"signature":"')
    message = b"evenstream/1/decision\0\x04\x00prod" + first[:-104] + b"}"
    KEYS[0].public_key().verify(Decision.decode(first).signature, message)
    content = json.loads(second)
    assert content["previous"] == record_digest(first) == log.chain[1].decision.previous
    assert json.loads(first)["previous"] == GENESIS
    assert list(content) == [
        "at_ms", "contents", "deployment", "key_id", "kind", "previous", "sequence", "signature",
    ]  # fmt: skip
    assert second == json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def test_a_forecast_is_of_the_days_on_which_a_member_can_count() -> None:
    """Rotation and a short life both bound it; delta and epsilon belong to each rho."""
    rotated = TEXT.replace("rho_member_day: 0.1", "rho_member_day: 0.1, rotation: {{days_in_30: 3, days_in_year: 20}}")
    long = Forecast.of(parse_measurement(rotated.format(id="a", revision=1, purpose="p") + REVIEWED, origin="x"))
    assert (long.rho_member_day, long.rho_30_days, long.rho_year) == pytest.approx((0.1, 0.3, 2.0))
    assert long.epsilon_year == epsilon(long.rho_year, 1e-9)
    two_days = Forecast.of(
        parse_measurement(
            TEXT.format(id="a", revision=1, purpose="p") + REVIEWED.replace("2100-01-01", "2026-11-26"), origin="x"
        )
    )
    assert (two_days.rho_30_days, two_days.rho_year) == pytest.approx((0.2, 0.2))
    noise = Forecast.of(
        parse_measurement(
            TEXT.format(id="a", revision=1, purpose="p") + "test_only: {noise_scale_units: 1}\n", origin="x"
        )
    )
    assert noise.epsilon_member_day is None


# -- records that are not in the chain --------------------------------------------------------------------------------


def _edited(record: bytes, **changes: object) -> bytes:
    return json.dumps(json.loads(record) | changes, sort_keys=True, separators=(",", ":")).encode()


def _resigned(record: bytes, key: Ed25519PrivateKey, **changes: object) -> bytes:
    """Changed, and signed anew by a key in its own name."""
    body = _edited(record, key_id=key_id(key.public_key()), **changes)
    signature = key.sign(b"evenstream/1/decision\0\x04\x00prod" + body[:-104] + b"}")
    return replace(Decision.decode(body), signature=signature).encode()


BAD: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "no value": (lambda r: None, "no value"),
    "garbage": (lambda r: b"\xff\x00", "no decision"),
    "json": (lambda r: b"{}", "no decision"),
    "a list": (lambda r: b"[" * 100_000, "no decision"),
    "too large": (lambda r: b" " * 800_000, "at most"),
    "another kind": (lambda r: _edited(r, kind="praise"), "no decision"),
    "spaces": (lambda r: r.replace(b":", b": ", 1), "no decision"),
    "a field more": (lambda r: _edited(r, more=1), "no decision"),
    "text for a number": (lambda r: _edited(r, sequence="0"), "no decision"),
    "true for a number": (lambda r: _edited(r, sequence=True), "no decision"),
    "forged": (lambda r: _edited(r, at_ms=5), "did not sign it"),
    "in another's name": (lambda r: _edited(r, key_id=IDS[1]), "did not sign it"),
    "by a stranger": (lambda r: _resigned(r, STRANGER), "none of the 3 governance keys"),
    "for elsewhere": (lambda r: _edited(r, deployment="staging"), "for deployment 'staging', not 'prod'"),
    "out of sequence": (lambda r: _resigned(r, KEYS[0], sequence=1), "record 0 after 0000000000000000 is due"),
    "wrong previous": (lambda r: _resigned(r, KEYS[0], previous="ab" * 32), "removed, repeated or reordered"),
}


@pytest.mark.parametrize("kind", BAD)
def test_garbage_changes_nothing(kind: str) -> None:
    """Whoever can write to the topic cannot break the log: what is not in its place is reported, and all else holds."""
    records = write(empty(), *WHOLE)
    damage, why = BAD[kind]
    log = replayed([damage(records[0]), *records])  # type: ignore[list-item]  # one of them is None
    assert [(misfit.offset, misfit.in_chain) for misfit in log.misfits] == [(0, False)]
    assert why in log.misfits[0].why
    assert (log.head, state(log)) == (record_digest(records[-1]), "revoked")


@given(st.integers(0, len(WHOLE) - 1), st.data())
def test_no_byte_can_be_changed(place: int, data: st.DataObject) -> None:
    """One byte altered, added or taken away, anywhere: the record is out of the chain, and nothing else happens."""
    records = write(empty(), *WHOLE)
    where = data.draw(st.integers(0, len(records[place]) - 1))
    byte = data.draw(st.binary(max_size=2).filter(lambda b: b != records[place][where : where + 1]))
    log = replayed([*records[:place], records[place][:where] + byte + records[place][where + 1 :]])
    assert [(misfit.offset, misfit.in_chain) for misfit in log.misfits] == [(place, False)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["at_ms", "contents", "kind", "signature", "forecast", "spec"]), x)
        ),
    )
)
def test_any_json_is_read_or_refused(value: object) -> None:
    """Whatever JSON lies on the topic, in whatever field, reading it ends in one kind of error."""
    good = json.loads(write(empty(), WHOLE[0])[0])
    for record in (value, *({**good, name: value} for name in good)):
        with pytest.raises(DecisionRefused):
            Decision.decode(json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b" ")


@pytest.mark.parametrize("place", range(len(WHOLE)))
def test_a_changed_record_shows(place: int) -> None:
    """With one record altered, none after it is in the chain."""
    records = write(empty(), *WHOLE)
    records[place] = _edited(records[place], at_ms=77)
    assert [misfit.offset for misfit in replayed(records).misfits] == list(range(place, len(WHOLE)))


@pytest.mark.parametrize("place", range(len(WHOLE) - 1))
def test_a_removed_record_shows(place: int) -> None:
    """Without it, none of the later ones is in the chain."""
    records = write(empty(), *WHOLE)
    del records[place]
    assert [misfit.offset for misfit in replayed(records).misfits] == list(range(place, len(WHOLE) - 1))


@given(st.permutations(range(len(WHOLE))))
def test_reordered_records_show(order: list[int]) -> None:
    """Records have an effect only in the order in which they were decided; those that come too early are lost."""
    records = write(empty(), *WHOLE)
    log = replayed([records[place] for place in order])
    due = 0
    for place in order:
        due += place == due
    assert (len(log.chain), len(log.misfits)) == (due, len(WHOLE) - due)
    if order == sorted(order):
        assert log.misfits == []


def test_a_cut_log_has_another_head() -> None:
    """A chain cannot show what was cut off its end; its head does, to whoever has noted it."""
    records = write(empty(), *WHOLE)
    cut = replayed(records[:-1])
    assert cut.misfits == []
    assert cut.head == record_digest(records[-2]) != replayed(records).head


def test_a_record_counts_once() -> None:
    """Written again, it is out of its place."""
    records = write(empty(), *WHOLE[:2])
    log = replayed([*records, records[1]])
    assert [misfit.offset for misfit in log.misfits] == [2]
    assert state(log) == "proposed"


# -- records of the chain without effect ------------------------------------------------------------------------------


def approved(log: DecisionLog) -> None:
    """Two of three have approved."""
    write(log, *WHOLE[:3])


def rejected(log: DecisionLog) -> None:
    """Two of three have rejected."""
    write(log, WHOLE[0], (no(), KEYS[0]), (no(), KEYS[1]))


UNFIT: dict[str, tuple[Callable[[DecisionLog], object], Contents, str]] = {
    "approved without a proposal": (lambda log: None, yes(KEYS[0]), "was never proposed"),
    "rejected without a proposal": (lambda log: None, no(), "was never proposed"),
    "approved twice": (lambda log: write(log, *WHOLE[:2]), yes(KEYS[0]), "must come from other reviewers"),
    "rejected twice": (lambda log: write(log, WHOLE[0], (no(), KEYS[0])), no(), "has already rejected"),
    "another's approval": (lambda log: write(log, WHOLE[0]), yes(KEYS[1]), "did not sign the spec's exact bytes"),
    "approval for elsewhere": (
        lambda log: write(log, WHOLE[0]),
        yes(KEYS[0], deployment="staging"),
        "did not sign the spec's exact bytes",
    ),
    "approval of other bytes": (
        lambda log: write(log, WHOLE[0]),
        yes(KEYS[0], spec(purpose="else")),
        "another proposal replaced it",
    ),
    "proposed twice": (lambda log: write(log, WHOLE[0]), propose(), "proposed before with the same contents"),
    "proposed after approval": (approved, propose(spec(purpose="else")), "raise the revision number"),
    "rejected after approval": (approved, no(), "to stop it, revoke it"),
    "approved after rejection": (rejected, yes(KEYS[0]), "is already rejected; propose it anew"),
    "proposed again after rejection": (rejected, propose(), "with the same contents"),
    "revoked twice": (lambda log: write(log, *WHOLE), stop(KEYS[0]), "is already revoked"),
    "proposed after revocation": (
        lambda log: write(log, (stop(KEYS[0]), KEYS[0])),
        propose(),
        "with the same contents",
    ),
    "approved after revocation": (
        lambda log: write(log, WHOLE[0], (stop(KEYS[0]), KEYS[0])),
        yes(KEYS[0]),
        "is already revoked",
    ),
    "another's revocation": (approved, stop(KEYS[1]), "each reviewer signs for themselves"),
    "a stranger's revocation": (approved, stop(STRANGER), "not trusted here"),
    "closed twice": (lambda log: write(log, *WHOLE), Close("c-1", "again"), "already closed"),
    "no spec": (lambda log: None, Propose("{}", Forecast.of(SPEC)), "is missing"),
    "a spec without a start": (
        lambda log: None,
        Propose(SPEC.model_copy(update={"effective_from": None}).canonical_bytes().decode(), Forecast.of(SPEC)),
        "does not say when it takes effect",
    ),
    "a spec without review": (
        lambda log: None,
        Propose(SPEC.model_copy(update={"review": None}).canonical_bytes().decode(), Forecast.of(SPEC)),
        "has no review",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_does_not_fit_has_no_effect(kind: str) -> None:
    """A governance key's word that does not fit is in the chain, is reported, and changes no state."""
    before, contents, why = UNFIT[kind]
    log = empty()
    before(log)
    states = [proposal.state for proposal in log.proposals]
    misfit = log.apply(40, log.sign(contents, KEYS[0], 5))
    assert misfit is not None
    assert (misfit.offset, misfit.in_chain) == (40, True)
    assert why in misfit.why
    assert [proposal.state for proposal in log.proposals] == states
    write(log, (propose(spec("next")), KEYS[1]))  # the chain goes on over it


@pytest.mark.parametrize(
    "contents",
    [no(reason=""), no(reason=" "), no(reason="x" * 2001), Answer("", "x"), Answer("c 1", "x"), Close("c", "")],
)
def test_what_cannot_be_read_is_not_signed(contents: Contents) -> None:
    """An empty reason, or a name that is none, is refused where it is written."""
    with pytest.raises(DecisionRefused, match="cannot be signed"):
        empty().sign(contents, KEYS[0], 5)


def test_a_proposal_is_replaced_by_another_of_its_revision() -> None:
    """Approvals of the earlier bytes are worth nothing for the later ones, and the earlier ones cannot be approved."""
    log, changed = empty(), spec(purpose="else")
    write(log, *WHOLE[:2], (propose(changed), KEYS[1]))
    assert [proposal.state for proposal in log.proposals] == ["replaced", "proposed"]
    assert log.proposals[1].approvals == ()
    misfit = log.apply(9, log.sign(yes(KEYS[1]), KEYS[1], 5))
    assert misfit is not None
    write(log, (yes(KEYS[1], changed), KEYS[1]), (yes(KEYS[2], changed), KEYS[2]))
    assert state(log) == "approved"


def test_a_rejected_revision_can_be_proposed_changed() -> None:
    """A no is to these bytes."""
    log = empty()
    rejected(log)
    write(log, (propose(spec(purpose="else")), KEYS[0]))
    assert [proposal.state for proposal in log.proposals] == ["rejected", "proposed"]


REVOCABLE: dict[str, tuple[Callable[[DecisionLog], object], list[str]]] = {
    "never proposed": (lambda log: None, []),
    "proposed": (lambda log: write(log, WHOLE[0]), ["revoked"]),
    "rejected": (rejected, ["revoked"]),
    "replaced": (
        lambda log: write(log, WHOLE[0], (propose(spec(purpose="else")), KEYS[0])),
        ["revoked", "proposed"],
    ),
    "approved": (approved, ["revoked"]),
}


@pytest.mark.parametrize("before", REVOCABLE)
def test_stopping_is_always_possible(before: str) -> None:
    """One key revokes exact bytes whatever the log says of them; nothing else of the log changes."""
    prepare, states = REVOCABLE[before]
    log = empty()
    prepare(log)
    was_approved = [proposal.approved_at_ms for proposal in log.proposals]
    write(log, (stop(KEYS[2]), KEYS[2]))
    assert [proposal.state for proposal in log.proposals] == states
    assert [proposal.approved_at_ms for proposal in log.proposals] == was_approved
    assert (was_approved == [1002]) == (before == "approved")
    assert log.revocations[SPEC.digest().hex()][-1].reason == "harm"


def test_the_threshold_is_the_readers() -> None:
    """Under a higher threshold the same records are the same chain, and approve less."""
    records = write(empty(threshold=1), *WHOLE[:2])
    log = replayed(records, empty(threshold=2))
    assert (log.misfits, state(log)) == ([], "proposed")
    for threshold in (0, 4):
        with pytest.raises(ValueError, match="threshold of 1 to 3"):
            empty(threshold=threshold)


def test_the_earliest_revocation_stands() -> None:
    """Who has dated theirs far ahead does not keep another from stopping it now; a later one has nothing to stop."""
    log = empty()
    far, now = (
        revoke(SPEC, DEPLOYMENT, KEYS[n], at_ms=at, reason="harm") for n, at in ((0, 253_402_300_799_999), (1, 9))
    )
    write(log, *WHOLE[:3], (Revoke(far.encode().decode()), KEYS[0]), (Revoke(now.encode().decode()), KEYS[1]))
    proposal = log.current("feed", 1)
    assert proposal is not None
    assert (proposal.state, proposal.revocation, proposal.revocations) == ("revoked", now, [far, now])
    misfit = log.apply(9, log.sign(Revoke(far.encode().decode()), KEYS[0], 5))
    assert misfit is not None
    assert "already revoked" in misfit.why


# -- odd fields -------------------------------------------------------------------------------------------------------

ODD: list[object] = [
    "\ud800", "x\udfffy", "", "\0", "x", "zz", "9" * 5000, "\u202e", -1, 0, 1 << 53, 253_402_300_800_000, 10**400,
    1.5, 1e308, float("nan"), True, None, [], {}, [["x"]], "0001-01-01T00:00:00Z",
]  # fmt: skip
EACH_KIND = {type(contents): contents for contents, _ in (*WHOLE, (no(), KEYS[0]))}
NEXT = propose(spec("next"))
FIELDS = [
    (kind, field)
    for kind, contents in EACH_KIND.items()
    for field in (
        *(("contents", name) for name in asdict(contents)),
        *(("contents", "forecast", name) for name in (asdict(Forecast.of(SPEC)) if kind is Propose else ())),
        *((name,) for name in ("at_ms", "deployment", "key_id", "previous", "sequence", "kind", "contents")),
    )
]


def _signed_unread(log: DecisionLog, contents: Contents, path: tuple[str, ...], value: object) -> bytes:
    """A governance key's record with one field replaced: canonical and signed, but not checked before."""
    content = json.loads(log.sign(contents, KEYS[0], 5))
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    body = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    signature = KEYS[0].sign(b"evenstream/1/decision\0\x04\x00prod" + body[:-104] + b"}")
    return body[:-90] + base64.b64encode(signature) + body[-2:]


@pytest.mark.parametrize(("kind", "path"), FIELDS, ids=lambda value: getattr(value, "__name__", None) or value[-1])
def test_no_field_of_a_reviewer_stops_the_log(kind: type[Contents], path: tuple[str, ...]) -> None:
    """Whatever one governance key signs in whatever field, a reader goes on; half a character is never in the chain."""
    for odd in ODD:
        log = empty()
        record = _signed_unread(log, EACH_KIND[kind], path, odd)
        log.apply(0, record)
        if isinstance(odd, str) and any(0xD800 <= ord(character) < 0xE000 for character in odd):
            with pytest.raises(DecisionRefused):
                Decision.decode(record)
            assert log.chain == []
        write(log, (NEXT, KEYS[1]))  # what comes next has its effect


def test_half_a_character_is_not_signed() -> None:
    """A reviewer whose text cannot be shown is told so."""
    for contents in (
        Revoke("\ud800"),
        no(reason="\ud800"),
        Answer("c-1", "\ud800"),
        Propose("\ud800", Forecast.of(SPEC)),
    ):
        with pytest.raises(DecisionRefused, match="text that is not UTF-8"):
            empty().sign(contents, KEYS[0], 5)


def test_an_effect_that_fails_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a spec ever be read into an error that nobody thought of, it is one record without effect."""

    def broken(data: bytes) -> Measurement:
        raise OverflowError("unthought of")

    log = empty()
    record = log.sign(propose(), KEYS[0], 5)
    with monkeypatch.context() as patched:
        patched.setattr(Measurement, "from_canonical", broken)
        misfit = log.apply(0, record)
    assert misfit is not None
    assert (misfit.in_chain, "OverflowError" in misfit.why, "unthought" in misfit.why) == (True, True, False)
    write(log, (propose(spec("next")), KEYS[1]))


@pytest.mark.parametrize(("at_ms", "good"), [(253_402_300_799_999, True), (253_402_300_800_000, False)])
def test_a_decision_is_of_a_time_that_can_be_written(at_ms: int, good: bool) -> None:
    """The last millisecond of the year 9999 is the last that every page can show."""
    log = empty()
    log.apply(0, _signed_unread(log, propose(), ("at_ms",), at_ms))
    assert len(log.chain) == good


# -- an oracle --------------------------------------------------------------------------------------------------------

_KINDS = ("propose", "propose other", "approve", "approve other", "reject", "revoke")
Step = tuple[str, int]


def _oracle(steps: list[Step], n: int, k: int) -> tuple[str, set[int], set[int]]:
    """(state, who says yes, who says no) of the newest proposal, by counting."""
    current, words, result, seen, stopped = "", {}, "none", set(), False
    for kind, who in steps:
        if kind.startswith("propose"):
            wanted = "other" if kind.endswith("other") else "first"
            if result not in ("approved", "revoked") and wanted not in seen and not (stopped and wanted == "first"):
                seen.add(wanted)
                current, words, result = wanted, {}, "proposed"
        elif kind == "revoke":
            stopped, result = True, "revoked" if current == "first" else result
        elif result == "proposed":
            about = "other" if kind.endswith("other") else "first"
            if about == current:
                words[who] = "approve" if kind.startswith("approve") else "reject"
            if sum(word == "approve" for word in words.values()) >= k:
                result = "approved"
            elif n - sum(word == "reject" for word in words.values()) < k:
                result = "rejected"
    return result, {w for w, word in words.items() if word == "approve"}, {w for w, v in words.items() if v == "reject"}


@given(st.integers(1, 5), st.data())
def test_the_state_is_an_oracles(n: int, data: st.DataObject) -> None:
    """Whatever reviewers do in whatever order, the log comes to what counting by hand comes to."""
    k = data.draw(st.integers(1, n))
    steps = data.draw(st.lists(st.tuples(st.sampled_from(_KINDS), st.integers(0, n - 1)), max_size=16))
    log, other = empty(reviewers=n, threshold=k), spec(purpose="else")
    for place, (kind, who) in enumerate(steps):
        key = KEYS[who]
        contents: Contents = {
            "propose": lambda key: propose(),
            "propose other": lambda key: propose(other),
            "approve": lambda key: yes(key),
            "approve other": lambda key: yes(key, other),
            "reject": lambda key: no(),
            "revoke": lambda key: stop(key),
        }[kind](key)
        log.apply(place, log.sign(contents, key, place))
    expected, ayes, noes = _oracle(steps, n, k)
    assert len(log.chain) == len(steps)
    proposal = log.current("feed", 1)
    if proposal is None:
        assert expected == "none"
        return
    assert proposal.state == expected
    assert {approval.key_id for approval in proposal.approvals} == {IDS[who] for who in ayes}
    assert set(proposal.rejections) == {IDS[who] for who in noes}
    assert all(isinstance(approval, Approval) for approval in proposal.approvals)


def test_every_kind_can_be_read_back() -> None:
    """A record of each kind, decoded and encoded again, is the same bytes."""
    records = write(empty(), *WHOLE[:3], (propose(spec("other")), KEYS[0]), (no(spec("other")), KEYS[1]), *WHOLE[3:])
    assert {Decision.decode(record).kind for record in records} == set(KINDS)
    assert [Decision.decode(record).encode() for record in records] == records
