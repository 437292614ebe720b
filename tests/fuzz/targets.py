"""What is fuzzed: every decoder of bytes that somebody else may have written, with sound examples to begin from.

A target takes any bytes. It lets the errors pass that its decoder documents and raises whatever else escapes; it also
raises where bytes are accepted that their writer never signed. Both drivers run the same targets: hypothesis within
``make test``, atheris in ``make fuzz``.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from known_records import (
    DEBIT,
    EXTENSION,
    GOLDEN,
    HEADER,
    RELEASE,
    TRUSTED,
    debited,
    golden,
    identity,
    later,
    sections_of,
)
from prometheus_client import CollectorRegistry

from estimator import RaceModel
from privacy import (
    Ledger,
    LedgerBroken,
    Limits,
    Measurement,
    PrivacyError,
    Revocation,
    SignedMeasurement,
    approve,
    is_revocation,
    key_id,
    parse_measurement,
    revoke,
)
from privacy.decisions import Answer, Decision, DecisionLog, DecisionRefused
from privacy.errors import MeasurementError
from privacy.ledger import Debit
from secure_agg import EnvelopeUnreadable, EpochKeys, KeyFileError, SecureAggregationError, SignatureInvalid
from secure_agg.commitments import check
from secure_agg.envelopes import Channel, KemPrivateKey, fresh_key, wrap
from secure_agg.keyring import Trusted, create, load_governance, load_role, load_trusted_file
from secure_agg.sharing import expand
from streams.concern_book import ConcernBook
from streams.control import ControlPlane
from streams.errors import InputError, RecordMalformed, SettingsError, SkipInvalid, StateUnreadable
from streams.inprocess import InProcessPipeline, MemoryRecord
from streams.kafka.partitioner import partition_of
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.concern import decode_concern, encode_concern, new_concern, normal_text
from streams.records.debit import SignedDebit
from streams.records.destroyed import decode_key_destroyed
from streams.records.frame import Kind, sha256
from streams.records.header import decode_header, encode_header
from streams.records.keys import decode_key_record
from streams.records.layout import Layout, decode_layout, sign_layout
from streams.records.metric import FairnessMetric
from streams.records.punctuation import SignedPunctuation
from streams.records.refused import Refused, decode_refused, encode_refused
from streams.records.release import SignedRelease
from streams.records.skip import Skip
from streams.replay import read_members
from streams.roles.aggregate import AggregateStage
from streams.roles.attach import AttachedPartition
from streams.roles.decoding import REASONS, EventDecoder
from streams.roles.log_partition import PartitionState
from streams.roles.member_directory import MemberDirectory
from streams.roles.publish import PublishCore
from streams.roles.seal import SealStage
from streams.roles.signed_log import SignedLog
from streams.roles.source_partition import SourceState
from streams.roles.windows import _RollupState, _WindowState
from streams.settings import load_settings
from streams.stage import TIMESTAMP_LOG_APPEND
from streams.state import StateCodec
from streams.watch.health import RoleHealth


@dataclass(frozen=True)
class Target:
    """One decoder.

    Attributes:
        name: as the tables print it.
        run: takes bytes, and raises what its decoder must not let escape.
        seeds: sound input, and what is nearly sound.
        weight: its part of the executions, against the others'; slow ones get less.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    weight: float = 1.0


TARGETS: dict[str, Target] = {}

_SPEC = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: viewer.id, time: ts, time_format: epoch_ms, explode: items,
  filter: [{field: surface, one_of: [home, 7, true]}]}
cells: {score: {field: "items[].score", bins: [0.2, 0.5]}, decision: {field: "items[].shown"},
  outcome: {field: "items[].clicked"}, rank: {field: "items[].rank", bins: [1, 3]}}
windows: {base: 10s, rollups: [1m, 1h], lateness: 2s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1, channel_shares: {table: 0.5, moments: 0.3, rectifier: 0.2}}
test_only: {noise_scale_units: 0.01}
"""
_SHORT = """
id: short
purpose: one flag
source: {topic: ev, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
test_only: {noise_scale_units: 0.01}
"""
_START_MS = 1_764_000_000_000
_REVIEWERS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(3)]
_GOVERNANCE = {key_id(key.public_key()): key.public_key() for key in _REVIEWERS}
_PINNED = Trusted(TRUSTED.deployment, TRUSTED, tuple(_GOVERNANCE.values()))
_LIMITS = Limits.of_day(10.0)


def target(
    *seeds: bytes, weight: float = 1.0, allowed: tuple[type[Exception], ...] = (RecordMalformed, SignatureInvalid)
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Register a function under its own name; errors of ``allowed`` are what its decoder documents."""

    def register(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
        @functools.wraps(function)
        def run(data: bytes) -> None:
            try:
                function(data)
            except allowed:
                return

        name = function.__name__
        TARGETS[name] = Target(name, run, seeds, weight)
        return function

    return register


def _golden(*names: str) -> tuple[bytes, ...]:
    return tuple(golden(name) for name in names)


@functools.cache
def _measurement(text: str = _SPEC) -> Measurement:
    return parse_measurement(text, origin="fuzz").with_effective_from(_START_MS // 60_000 * 60_000)


def _control() -> ControlPlane:
    return ControlPlane(_PINNED, test_cluster=True, limits=_LIMITS, threshold=2)


@functools.cache
def _root() -> Path:
    memory = Path("/dev/shm")
    root = tempfile.TemporaryDirectory(prefix="evenstream-fuzz-", dir=memory if memory.is_dir() else None)
    _KEPT.append(root)
    return Path(root.name)


def _folder() -> Path:
    """This process's folder for what is only read from files; on memory where there is such a place."""
    folder = _root() / str(os.getpid())
    folder.mkdir(exist_ok=True)
    return folder


_KEPT: list[Any] = []


def _is_judged(data: bytes) -> bool:
    """Whether a record's signatures are verified as well: of one input in eight, since that takes longest by far.

    That no changed byte is accepted is shown for each byte of each record in ``tests/streams/records``.
    """
    return zlib.crc32(data) % 8 == 0


# -- binary records -----------------------------------------------------------------------------------------------

_EVERY = tuple(bytes.fromhex(path.read_text()) for path in sorted(GOLDEN.glob("*.hex")))
_SEALED = _golden("sealed_1", "sealed_2")
_SHARES = _golden("shares_1", "shares_2")
_TOLD, _PASSED = (
    _golden("punctuation_sealed_1", "punctuation_sealed_2"),
    _golden(*(f"punctuation_shares_{v}" for v in (1, 2))),
)
_RELEASES = _golden("release_1", "release_2")
_LATER = later(identity("seal"), 1), later(identity("attach"), 9, 200)


@target(*_EVERY, *_LATER, weight=14)
def frames(data: bytes) -> None:
    """Taking a frame apart, whatever kind and version it claims; only the writer's own stops a reader."""
    for writer in ("seal", "attach"):
        if frame.is_newer(data, writer, TRUSTED):
            assert data in _LATER
    kind = frame.kind_of(data)
    sections = frame.decode(data, kind, int.from_bytes(data[4:6], "little"))
    assert frame.encode(kind, sections, frame.version_of(data)) == data


@target(*_SEALED, weight=4)
def sealed(data: bytes) -> None:
    """A batch as `attach` reads it."""
    batch = SealedBatch.decode(data)
    assert batch.encode() == data
    if _is_judged(data):
        batch.verify(TRUSTED)
        assert data in _SEALED


@target(*_SHARES, weight=4)
def shares(data: bytes) -> None:
    """A batch as a party reads it."""
    batch = SharesBatch.decode(data)
    assert batch.encode() == data
    if _is_judged(data):
        batch.verify(TRUSTED)
        assert data in _SHARES


@target(*_TOLD, *_PASSED, weight=4)
def punctuation(data: bytes) -> None:
    """Punctuation as `attach` and as a party reads it."""
    signed = SignedPunctuation.decode(data)
    for passed, sound in ((False, _TOLD), (True, _PASSED)) if _is_judged(data) else ():
        try:
            signed.verify(TRUSTED, passed=passed)
        except (RecordMalformed, SignatureInvalid):
            continue
        # In version 1 a forger could put what he likes in attach's place; seal's own two sections are as they were.
        assert data in sound or (not passed and sections_of(data)[:2] == sections_of(sound[0])[:2])


@target(encode_header(HEADER), weight=12)
def header(data: bytes) -> None:
    """A header's bytes, whoever signed them."""
    found = decode_header(data)
    assert decode_header(encode_header(found)) == found
    assert found.stream.j == found.j


@target(SharesBatch.encode_extension(EXTENSION), weight=3)
def extension(data: bytes) -> None:
    """What attach's extension claims."""
    sections = sections_of(_SHARES[1])
    sections[5] = data
    batch = SharesBatch.decode(frame.encode(Kind.SHARES, sections))
    if _is_judged(data):
        batch.verify(TRUSTED)
        assert data == SharesBatch.encode_extension(EXTENSION)


@target(*_RELEASES, weight=4)
def release(data: bytes) -> None:
    """A release as `publish` reads it."""
    signed = SignedRelease.decode(data)
    assert signed.encode() == data
    if _is_judged(data):
        signed.verify(TRUSTED)
        assert data in _RELEASES


@target(golden("debit"), DEBIT, weight=9, allowed=(RecordMalformed, SignatureInvalid, LedgerBroken))
def debit(data: bytes) -> None:
    """A debit as its party, and as whoever verifies its ledger, reads it."""
    signed = SignedDebit.decode(data)
    Debit.decode(signed.debit)
    signed.verify("a", TRUSTED)
    assert data == debited().encode()


@target(DEBIT, weight=6, allowed=(LedgerBroken,))
def ledger(data: bytes) -> None:
    """A ledger's JSON, whoever signed it: into the arithmetic of a budget."""
    Debit.decode(data)
    book = Ledger("a", _LIMITS)
    book.restore(data)
    (entry,) = book.entries
    assert entry.encode() == data
    book.covers(entry.day, entry.measurement, entry.revision)


@target(*_golden("epoch_key", "wrapped_key"), weight=2)
def keys(data: bytes) -> None:
    """A record of `keys`, and what a role's view of the topic makes of it."""
    control = _control()
    control.apply_key(data)
    found = decode_key_record(data, TRUSTED)
    assert control.refused == 0
    assert data in _golden("epoch_key", "wrapped_key"), found


def _layout_record() -> bytes:
    return sign_layout(identity("seal"), Layout().next("seal", 3, 0)).value or b""


@target(*_golden("key_destroyed"), _layout_record(), weight=1)
def role_words(data: bytes) -> None:
    """What a role says on `keys` of itself: its layout, and keys that it has destroyed."""
    sound = (*_golden("key_destroyed"), _layout_record())
    control = _control()
    control.apply_key(data)
    assert control.refused == (data not in sound)
    if frame.kind_of(data) is Kind.LAYOUT:
        decode_layout(data, TRUSTED)
    else:
        decode_key_destroyed(data, TRUSTED)
    assert data in sound


@target(sections_of(_layout_record())[0], *(sections_of(value)[0] for value in _golden("key_destroyed")), weight=0.3)
def signed_role_words(data: bytes) -> None:
    """Bodies of such records that the role itself has signed: nonsense of its own."""
    control = _control()
    for kind, name in ((Kind.LAYOUT, "layout"), (Kind.KEY_DESTROYED, "key-destroyed")):
        for role in ("seal", "attach"):
            control.apply_key(frame.encode(kind, (data, identity(role).sign(name, data))))


@target((GOLDEN / "skip.json").read_bytes(), weight=1, allowed=(SkipInvalid,))
def skips(data: bytes) -> None:
    """An operator's word on `measurements`, and what a role's view of the topic makes of it."""
    _control().apply_measurement(0, data)
    Skip.decode(data).verify(deployment=TRUSTED.deployment, operator_keys={})
    raise AssertionError("a skip was verified without any operator's key")


@target(*(sections_of(value)[0] for value in _golden("epoch_key", "wrapped_key")), weight=0.3)
def signed_keys(data: bytes) -> None:
    """Bodies of key records that every role in turn has signed: nonsense of a role's own."""
    control = _control()
    for kind, name in ((Kind.EPOCH_KEY, "epoch-key"), (Kind.WRAPPED_KEY, "wrapped-key")):
        for role in ("seal", "attach", "a"):
            control.apply_key(frame.encode(kind, (data, identity(role).sign(name, data))))
    for role in ("attach", "a", "b"):
        public = control.epoch_public(role, 0)
        if public is not None:
            channel = Channel("d", "members" if role == "attach" else "cells", "seal", role)
            try:
                wrap(bytes(32), public.kem_public, channel, b"")
            except EnvelopeUnreadable:
                continue


# -- behind a signature: nonsense of a role that holds its key -----------------------------------------------------

_BODIES = tuple(sections_of(value)[0] for value in _TOLD)


@target(*_BODIES, weight=0.8, allowed=())
def signed_punctuation(data: bytes) -> None:
    """Any body under seal's own signature, as `attach` follows it: it is refused, or it stops its partition."""
    signature = frame.sign(identity("seal"), Kind.PUNCTUATION, 2, (sha256(data),))
    value = frame.encode(Kind.PUNCTUATION, (data, signature))
    log = SignedLog("sealed", "sealed", (5,), _control(), _health("attach"))

    def take(partition: Any, value: bytes) -> None:
        signed = SignedPunctuation.decode(value)
        signed.verify(TRUSTED, passed=False)
        if signed.punctuation.j != partition.j:
            raise RecordMalformed("elsewhere")
        partition.punctuate(signed.punctuation, signed.punctuation.clock_ms)

    for offset in range(2):
        log.take(MemoryRecord("sealed", 5, offset, None, value, (TIMESTAMP_LOG_APPEND, 0)), 0, take, take)
    log.state(_codec())


@functools.cache
def _health(role: str) -> RoleHealth:
    return RoleHealth(role, CollectorRegistry())


@functools.cache
def _publishing() -> ControlPlane:
    control = _control()
    for text in (_SPEC, _SHORT):
        signed = approve(_measurement(text), TRUSTED.deployment, _REVIEWERS[0])
        more = approve(_measurement(text), TRUSTED.deployment, _REVIEWERS[1])
        both = SignedMeasurement(signed.spec, signed.deployment, (*signed.signatures, *more.signatures))
        control.apply_measurement(control.measurements_offset, both.encode())
    assert len(list(control.approved())) == 2
    return control


def _release_body() -> bytes:
    spec = _measurement()
    end = spec.effective_from_ms or 0
    shape = (spec.cell_count, 6)
    table = msgspec.structs.replace(RELEASE.channels[0], shape=shape)
    moments = msgspec.structs.replace(RELEASE.channels[2], shape=(29,))
    found = msgspec.structs.replace(
        RELEASE, revision=1, spec=spec.digest(), start_ms=end, end_ms=end + 10_000, channels=(table, moments)
    )
    return msgspec.msgpack.encode(found)


@target(_release_body(), sections_of(_RELEASES[1])[0], weight=0.05, allowed=())
def signed_release(data: bytes) -> None:
    """Any body that both parties have signed, with values that fit: what `publish` joins, and says of it."""
    core = PublishCore(_publishing(), confidence=0.95, rho_limit=10.0)
    try:
        size = min(msgspec.msgpack.decode(data, type=type(RELEASE)).size, 1 << 16)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        size = 0
    values = np.arange(size, dtype="<u8").tobytes()
    for party in ("a", "b"):
        body = data
        if size:
            found = msgspec.msgpack.decode(data, type=type(RELEASE))
            body = msgspec.msgpack.encode(msgspec.structs.replace(found, party=party))
            values = values if found.status == "released" else b""
        signature = frame.sign(identity(party), Kind.RELEASE, 2, (sha256(body), sha256(values)))
        window = core.apply(party, frame.encode(Kind.RELEASE, (body, values, signature)))
        if window is not None:
            assert FairnessMetric.decode(window.encode()) == window


# -- control records ----------------------------------------------------------------------------------------------


def _approved(text: str) -> bytes:
    return approve(_measurement(text), TRUSTED.deployment, _REVIEWERS[0]).encode()


def _revoked() -> bytes:
    return revoke(_measurement(), TRUSTED.deployment, _REVIEWERS[1], at_ms=_START_MS, reason="harm").encode()


@target(_approved(_SPEC), _approved(_SHORT), _revoked(), weight=1, allowed=(PrivacyError,))
def measurement_records(data: bytes) -> None:
    """A record of `measurements`, and what a role's view of the topic makes of it: nothing, without k signatures."""
    control = _control()
    control.apply_measurement(0, data)
    assert not list(control.approved())
    if is_revocation(data):
        Revocation.decode(data).verify(deployment=TRUSTED.deployment, governance_keys=_GOVERNANCE)
        assert data == _revoked()
    SignedMeasurement.decode(data).spec_digest()


@target(
    _measurement().canonical_bytes(), _measurement(_SHORT).canonical_bytes(), weight=0.1, allowed=(MeasurementError,)
)
def canonical_specs(data: bytes) -> None:
    """Spec bytes that reviewers have signed, whatever they are: taken in as they stand, or without effect."""
    control = _control()
    control.apply_measurement(0, _both_sign(data))
    found = Measurement.from_canonical(data)
    assert found.canonical_bytes() == data


def _both_sign(spec: bytes) -> bytes:
    from privacy.approvals import Approval, _message  # what a reviewer's command signs, around bytes of any kind

    message = _message(TRUSTED.deployment, spec)
    approvals = tuple(Approval(key_id(key.public_key()), key.sign(message)) for key in _REVIEWERS[:2])
    try:
        return SignedMeasurement(spec, TRUSTED.deployment, approvals).encode()
    except UnicodeDecodeError:
        return b"{}"


@target(_SPEC.encode(), _SHORT.encode(), weight=0.01, allowed=(MeasurementError,))
def spec_text(data: bytes) -> None:
    """A spec as a person writes it."""
    found = parse_measurement(data.decode(errors="surrogateescape"), origin="fuzz")
    assert Measurement.from_canonical(found.canonical_bytes()) == found


def _decision_log() -> DecisionLog:
    return DecisionLog(TRUSTED.deployment, _GOVERNANCE, 2)


def _decisions() -> Iterator[bytes]:
    yield _decision_log().sign(Answer("ab" * 16, "We look at it."), _REVIEWERS[0], _START_MS)


@target(*_decisions(), weight=1.5, allowed=(DecisionRefused,))
def decisions(data: bytes) -> None:
    """A record of `decisions`: whoever wrote it, the log goes on."""
    book = _decision_log()
    book.apply(0, data)
    book.apply(1, data)
    assert len(book.misfits) + len(book.chain) >= 1
    assert Decision.decode(data).encode() == data


@target(encode_concern(new_concern("feed", "Why so few?\nI ask.", "page", _START_MS)), weight=3)
def concerns(data: bytes) -> None:
    """A record of `concerns`, its key its own id, and the book that lists them."""
    try:
        key = json.loads(data)["id"].encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        key = data[:32]
    book = ConcernBook(("feed",), kept=2)
    book.apply(key, data)
    found = decode_concern(key, data)
    assert normal_text(found.text) == found.text


@target(b"Why so few?", "Ünï­cødé\u2028".encode(), weight=7, allowed=(InputError,))
def concern_text(data: bytes) -> None:
    """What a stranger types into the form."""
    found = normal_text(data.decode(errors="surrogateescape"))
    assert normal_text(found) == found


@target(encode_refused(Refused("late", "ev", 0, 7, "feed")), weight=14)
def refused(data: bytes) -> None:
    """A record of `refused`, as the demo and tests read it."""
    decode_refused(data)


@target(*(path.read_bytes() for path in sorted(GOLDEN.glob("fairness_metric*.json"))), weight=1)
def fairness_metrics(data: bytes) -> None:
    """A published window, as a subscriber reads it with our classes."""
    found = FairnessMetric.decode(data)
    assert FairnessMetric.decode(found.encode()) == found


# -- the company's records ----------------------------------------------------------------------------------------

_EVENT = {
    "viewer": {"id": "m1"},
    "ts": 1_764_000_000_123,
    "surface": "home",
    "items": [
        {"score": 0.3, "shown": True, "clicked": 0, "rank": 2},
        {"score": 0.9, "shown": 0, "clicked": 1, "rank": 9},
    ],
}
_GOOD = json.dumps(_EVENT).encode()
_FLAT = b'{"m": "m1", "ts": "2026-11-26T00:00:00Z", "r": true}'


@functools.cache
def _decoders() -> tuple[tuple[EventDecoder, bytes], ...]:
    return (EventDecoder(_measurement()), _GOOD), (EventDecoder(_measurement(_SHORT)), _FLAT)


@target(_GOOD, _FLAT, b'{"m": 17, "ts": "1970-01-01T00:00:00+01:00", "r": 1}', b"{}\n{}", weight=0.5, allowed=())
def events(data: bytes) -> None:
    """An event of the company's, alone and between two good ones: whatever it is, it changes no other's rows."""
    for decoder, good in _decoders():
        alone, among = decoder.decode([data]), decoder.decode([good, data, good])
        for decoded, own in ((alone, 0), (among, 1)):
            assert all(position == own and reason in REASONS for position, reason in decoded.refused)
        expected = decoder.decode([good]).rows
        for position in (0, 2):
            mine = among.rows.record == position
            assert np.array_equal(among.rows.cells[mine], expected.cells)
            assert np.array_equal(among.rows.members[mine], expected.members)
        mine = among.rows.record == 1
        assert np.array_equal(among.rows.cells[mine], alone.rows.cells)
        assert np.array_equal(among.rows.time_ms[mine], alone.rows.time_ms)


@functools.cache
def _directory() -> MemberDirectory:
    return MemberDirectory(RaceModel.load(), bytes(32), 1)


_ATTRIBUTES = (
    b'{"family_name": "Garcia", "given_name": "Ana", "zip": "02139", "state": "MA", "self_id": ["white", "api"]}',
    b'{"family_name": "O\\u2019Brien-Smith Jr.", "tract": "25017353101", "county": "25017", "opt_out": false}',
    b'{"opt_out": true}',
    b'{"family_name": null, "zcta": "02139-1234", "self_id": "hispanic"}',
)


@target(*_ATTRIBUTES, weight=0.05, allowed=())
def member_attributes(data: bytes) -> None:
    """A record of `member-attributes` as `attach` takes it in: never an error, whoever it is about."""
    directory = _directory()
    key = b"m%d" % (data[0] if data else 0)
    records = [MemoryRecord("member-attributes", 0, 0, name, data, (1, 0)) for name in (key, data[:140], b"other")]
    directory.load(records)
    assert directory.store.codes.shape[1] == directory.model.code_width


@target(*(b'{"member_id": "m1", ' + value[1:] + b"\n" for value in _ATTRIBUTES), weight=0.1, allowed=(InputError,))
def members_file(data: bytes) -> None:
    """A members file that a user names."""
    path = _folder() / "members.jsonl"
    path.write_bytes(data)
    read_members(path)


@target(b"m12345", "Zoë".encode(), b"\0" * 40, weight=1, allowed=())
def partitioner(data: bytes) -> None:
    """Any key has a partition, whatever its bytes."""
    if data.rstrip(b"\0"):
        assert 0 <= int(partition_of(np.array([data]), 7)[0]) < 7


# -- a role's own state, keys and settings ------------------------------------------------------------------------


@functools.cache
def _codec() -> StateCodec:
    return StateCodec(bytes(32), "attach")


@target(_codec().encode(b"k", [1, []]), b"\x92\x01\x90", weight=1.5, allowed=(StateUnreadable,))
def state_values(data: bytes) -> None:
    """A value on a state topic: sealed by another, and sealed by the role itself but in another form."""
    kinds = (PartitionState, AttachedPartition, SourceState, _WindowState, _RollupState, bytes)
    for kind in kinds:
        try:
            _codec().decode(b"k", _codec().encode(b"k", msgspec.Raw(data)), kind)
        except StateUnreadable:
            continue
    _codec().decode(b"k", data, bytes)


@functools.cache
def _stages() -> dict[str, Any]:
    pipeline = InProcessPipeline(_folder() / "keys-of-stages", partitions=1, sources={"ev": 1})
    stages = {role: pipeline._build(role, Layout()) for role in ("seal", "attach", "a")}
    assert isinstance(stages["seal"], SealStage) and isinstance(stages["a"], AggregateStage)
    return stages


@target(
    b"position/0\n", b"counted/00/1/0/1\nx", b"window/00/1\n", b"rollup/00/1m/1\n", b"schedule/00\n", b"source/ev/0\n",
    b"pending/f/10s/1\n", b"rotation-key\n", b"coverage-key\n",
    weight=1, allowed=(StateUnreadable,))  # fmt: skip
def state_topics(data: bytes) -> None:
    """Key and value that anyone may have put on a state topic: the role says so, and does not start."""
    key, _, value = data.partition(b"\n")
    for role, stage in _stages().items():
        for content in (value, None):
            try:
                stage.restore(f"state-{role}", key, content)
            except StateUnreadable:
                continue


@target(golden("debit"), weight=2, allowed=(LedgerBroken,))
def ledger_topics(data: bytes) -> None:
    """What anyone may have put on a ledger: the party does not start on it."""
    _stages()["a"].restore("ledger-a", b"", data)
    raise AssertionError("a debit of another deployment was taken in")


_CONFIG = b"""
deployment: prod
kafka:
  bootstrap: 127.0.0.1:9092
  properties:
    sasl.password: '0123'
topics: {partitions: 8}
"""


@target(_CONFIG, b"a: &x [1]\nb: *x\n", weight=0.01, allowed=(SettingsError,))
def settings_file(data: bytes) -> None:
    """A settings file."""
    path = _folder() / "settings.yaml"
    path.write_bytes(data)
    load_settings(path, (), {})


@target(
    b"topics.partitions=8\nkafka.properties.ssl.ca.location=/x",
    b"deployment=prod",
    weight=0.01,
    allowed=(SettingsError,),
)
def settings_overrides(data: bytes) -> None:
    """Settings on the command line and in the environment."""
    lines = data.decode(errors="surrogateescape").split("\n")
    environment = {}
    for line in lines:
        name, _, value = line.partition("=")
        environment["EVENSTREAM_" + name.replace(".", "__").upper()] = value
    try:
        load_settings(None, lines, {})
    except SettingsError:
        load_settings(None, (), environment)


@functools.cache
def _keys_folder() -> Path:
    folder = _folder() / "keys"
    create(folder, "golden")
    EpochKeys("attach", folder / "attach" / "epochs", 10**9).ensure_current(_START_MS)
    return folder


@functools.cache
def _key_files() -> tuple[bytes, ...]:
    folder = _keys_folder() / "attach"
    (epoch,) = (folder / "epochs").glob("*.epoch")
    return (folder / "trusted.json").read_bytes(), (folder / "identity.key").read_bytes(), epoch.read_bytes()


@target(*_key_files(), weight=0.05, allowed=(SecureAggregationError,))
def key_files(data: bytes) -> None:
    """Each kind of key file that an operator may have damaged or mixed up."""
    root = _folder() / "damaged"
    folder = root / "attach"
    if not folder.is_dir():
        for path in (folder, folder / "epochs"):
            path.mkdir(parents=True, mode=0o700)
        for name in ("state.key", "identity.key"):
            (folder / name).touch(0o600)
        (folder / "epochs" / f"{_START_MS}.epoch").touch(0o600)
    (folder / "trusted.json").write_bytes(data)
    (folder / "identity.key").write_bytes(data)
    (folder / "epochs" / f"{_START_MS}.epoch").write_bytes(data)
    for load in (
        lambda: load_governance(folder / "identity.key"),
        lambda: EpochKeys("attach", folder / "epochs", 10**9),
        lambda: load_trusted_file(folder / "trusted.json"),
        lambda: load_role(root, "attach", "golden"),
    ):
        try:
            load()
        except KeyFileError:
            continue


# -- envelopes ----------------------------------------------------------------------------------------------------

_CHANNEL = Channel("d", "cells", "seal", "a")
_DATA_KEY = fresh_key(_CHANNEL)
_KEM = KemPrivateKey(bytes(96))
_WRAPPED = wrap(_DATA_KEY.secret, _KEM.public_bytes(), _CHANNEL, b"context")
_ENVELOPE = _DATA_KEY.seal(bytes(40), b"header")


@target(_ENVELOPE, _WRAPPED, weight=0.5, allowed=(SecureAggregationError,))
def envelopes(data: bytes) -> None:
    """A ciphertext, a wrapped key and opened cells: opened by what they were sealed with, or unreadable."""
    try:
        _KEM.unwrap(data, _CHANNEL, b"context")
        assert data == _WRAPPED
    except EnvelopeUnreadable:
        pass
    try:
        check(bytes(32), data[32:], data[:32])
        raise AssertionError("a commitment to other cells was accepted")
    except SecureAggregationError:
        pass
    if len(data) == 32:
        expand(data, 8)
    _DATA_KEY.open(data, b"header")
    assert data == _ENVELOPE
