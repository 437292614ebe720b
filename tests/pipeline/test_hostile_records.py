"""What a writer on Kafka, or a role with wrong keys, can do to the pipeline: be noticed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hostile import START_MS, forge, last_batch, make_pipeline, refused, run_seconds, send, totals
from numpy.typing import NDArray

from secure_agg import EnvelopeUnreadable, EpochKeys, Identity
from secure_agg.commitments import commit
from secure_agg.envelopes import PURPOSES, Channel
from streams.data_keys import ReceivingKeys
from streams.inprocess import InProcessPipeline
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.frame import Kind, kind_of
from streams.records.header import encode_header
from streams.records.metric import FairnessMetric
from streams.records.release import SignedRelease
from streams.roles.publish import PublishCore

pytestmark = pytest.mark.slow


def _flip_header_bit(value: bytes) -> bytes:
    return value[:14] + bytes([value[14] ^ 1]) + value[15:]


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "garbage": (lambda value: b"not a record", "malformed"),
    "empty": (lambda value: b"", "malformed"),
    "cut": (lambda value: value[: len(value) // 2], "malformed"),
    "truncated envelope": (lambda value: _resize_section(value, 1, -5), "signature"),
    "bit-flipped header": (_flip_header_bit, "signature"),
    "trailing bytes": (lambda value: value + b"x", "malformed"),
    "newer version": (lambda value: value[:2] + b"\x09" + value[3:], "malformed"),
    "replayed": (lambda value: value, "repeat"),
}


def _resize_section(value: bytes, number: int, by: int) -> bytes:
    count = value[4]
    sections = frame.decode(value, kind_of(value), count)
    sections[number] = sections[number][:by]
    return frame.encode(kind_of(value), sections)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(("topic", "reader", "kind"), [("sealed", "attach", Kind.SEALED), ("shares", "a", Kind.SHARES)])
def test_injected_records_change_no_sum(tmp_path: Path, name: str, topic: str, reader: str, kind: Kind) -> None:
    """A record that was injected, cut, altered or replayed is refused with its reason, and the pipeline goes on."""
    change, reason = HOSTILE[name]
    pipeline = make_pipeline(tmp_path)
    for second in range(45):
        send(pipeline, second)
        if second == 15:
            partition, value = last_batch(pipeline, topic, kind)
            pipeline.log.append(topic, partition, change(value))
        pipeline.run()
    assert refused(pipeline, reader, reason) == 1
    assert not pipeline.stage(reader).stopped()
    assert totals(pipeline) == [100.0] * 4


def test_a_batch_moved_to_another_partition_is_refused(tmp_path: Path) -> None:
    """A signed batch that is written to a partition other than its own is not part of that log."""
    pipeline = make_pipeline(tmp_path)
    for second in range(45):
        send(pipeline, second)
        if second == 15:
            partition, value = last_batch(pipeline, "sealed", Kind.SEALED)
            pipeline.log.append("sealed", 1 - partition, value)
        pipeline.run()
    assert refused(pipeline, "attach", "malformed") == 1
    assert totals(pipeline) == [100.0] * 4


def test_a_gap_stops_the_partition(tmp_path: Path) -> None:
    """When a batch is lost between seal and attach, its partition stops loudly and no window is published short."""
    pipeline = make_pipeline(tmp_path)
    for second in range(30):
        send(pipeline, second)
        pipeline.turn("seal")
        if second == 5:
            records = pipeline.log.partitions["sealed", 0]
            lost = next(k for k in range(len(records) - 1, 0, -1) if kind_of(records[k].value_ or b"") is Kind.SEALED)
            del records[lost]
            for k in range(lost, len(records)):  # what a broker that lost a record would serve
                record = records[k]
                records[k] = type(record)(record.topic_, 0, k, record.key_, record.value_, record.timestamp_)
        pipeline.run(("attach", "a", "b"))
    assert "gap" in next(iter(pipeline.stage("attach").stopped().values()))
    assert totals(pipeline) == []


def test_two_batches_under_one_number_stop_the_partition(tmp_path: Path) -> None:
    """Seal cannot sign two different batches as the same one."""
    pipeline = run_seconds(tmp_path, 12)
    partition, value = last_batch(pipeline, "sealed", Kind.SEALED)
    batch = SealedBatch.decode(value)
    other = msgspec.structs.replace(batch.header, rows=batch.header.rows + 1)
    forged = forge(pipeline, other, batch.members, batch.cells_a, batch.cells_b)
    pipeline.log.append("sealed", partition, forged.encode())
    pipeline.run()
    assert "two different batches" in next(iter(pipeline.stage("attach").stopped().values()))


def test_an_unknown_revision_signed_by_seal_stops_the_partition(tmp_path: Path) -> None:
    """A validly signed batch of a measurement that nobody approved cannot be folded, so nothing goes on without it."""
    pipeline = run_seconds(tmp_path, 12)
    partition, value = last_batch(pipeline, "sealed", Kind.SEALED)
    batch = SealedBatch.decode(value)
    header = msgspec.structs.replace(batch.header, spec=bytes(32), sequence=batch.header.sequence + 1)
    forged = forge(pipeline, header, batch.members, batch.cells_a, batch.cells_b)
    pipeline.log.append("sealed", partition, forged.encode())
    pipeline.run()
    assert "not approved" in next(iter(pipeline.stage("attach").stopped().values()))


NONSENSE: dict[str, int] = {
    "before 1970": -10_000,
    "no window's end": START_MS + 10_001,
    "before the beginning": START_MS - 10_000,
    "closed": START_MS + 10_000,
}


@pytest.mark.parametrize("name", NONSENSE)
def test_signed_nonsense_stops_its_partition(tmp_path: Path, name: str) -> None:
    """A window that the measurement does not have, or that is closed, stops its partition and crashes no role."""
    pipeline = run_seconds(tmp_path, 25)
    partition, value = last_batch(pipeline, "sealed", Kind.SEALED)
    batch = SealedBatch.decode(value)
    header = msgspec.structs.replace(
        batch.header, window_end_ms=NONSENSE[name], sequence=batch.header.sequence + 1, rows=1
    )
    keys, width = pipeline.stage("seal")._keys, 36  # type: ignore[attr-defined]
    sections = []
    cells, salt = bytes(2), bytes(32)
    header = msgspec.structs.replace(header, commitment=commit(cells, salt))
    for purpose, recipient, plain in (
        ("members", "attach", b"m00001".ljust(width, b"\0")),
        ("cells", "a", salt + cells),
        ("cells", "b", salt + cells),
    ):
        key, _ = keys.current(purpose, recipient, pipeline.log.clock_ms)
        sections.append(key.seal(plain, encode_header(header)))
    forged = forge(pipeline, header, *sections)
    pipeline.log.append("sealed", partition, forged.encode())
    pipeline.log.clock_ms += 2_000  # attach commits once a second
    for role in ("attach", "a", "b"):
        pipeline.turn(role)
    reasons = [why for role in ("attach", "a", "b") for why in pipeline.stage(role).stopped().values()]
    assert reasons
    assert all("window" in why for why in reasons)


def pass_on(pipeline: InProcessPipeline, **claims: int) -> SharesBatch:
    """The batch after the newest one, under seal's and attach's own signatures, whatever its extension claims.

    Its share is what the claims ask for: a seed to a, as many masked values to b.
    """
    _, value = last_batch(pipeline, "shares", Kind.SHARES)
    batch = SharesBatch.decode(value)
    sealed = SealedBatch.decode(last_batch(pipeline, "sealed", Kind.SEALED)[1])
    header = msgspec.structs.replace(batch.header, sequence=batch.header.sequence + 1)
    seal_keys, attach_keys = pipeline.stage("seal")._keys, pipeline.stage("attach")._sending  # type: ignore[attr-defined]
    now = pipeline.log.clock_ms
    cells, salt = bytes(2 * header.rows), bytes(32)
    header = msgspec.structs.replace(header, commitment=commit(cells, salt))
    header_bytes = encode_header(header)
    envelopes = [seal_keys.current("cells", party, now)[0].seal(salt + cells, header_bytes) for party in ("a", "b")]
    forged = forge(pipeline, header, sealed.members, *envelopes)
    seed = bytes(claims.pop("seed_bytes", 32))
    extension = msgspec.structs.replace(batch.extension, **claims)
    masked = bytes(8 * (header.rows * max(extension.columns, 0) + max(extension.tail, 0)))
    binding = SharesBatch.binding(header_bytes, SharesBatch.encode_extension(extension))
    shares = [
        attach_keys.current("share", party, now)[0].seal(plain, binding)
        for party, plain in (("a", seed), ("b", masked))
    ]
    return SharesBatch.signed(pipeline._keys["attach"].identity, forged, extension, *shares)


def test_a_seed_of_another_length_stops_its_partition(tmp_path: Path) -> None:
    """Attach cannot crash party a with a share that is no seed: the partition stops."""
    pipeline = run_seconds(tmp_path, 12)
    partition, _ = last_batch(pipeline, "shares", Kind.SHARES)
    pipeline.log.append("shares", partition, pass_on(pipeline, seed_bytes=31).encode())
    pipeline.run(("a", "b"))
    assert "expected a seed" in next(iter(pipeline.stage("a").stopped().values()))


CLAIMS: dict[str, dict[str, int]] = {
    "another channel": {"channels": 7},
    "a channel less": {"channels": 1},
    "an unknown channel": {"channels": 13},
    "columns of a rectifier": {"columns": 12},
    "a column less": {"columns": 5},
    "no columns": {"columns": 0},
    "no tail": {"tail": 0},
    "a longer tail": {"tail": 30},
    "another split of as many": {"columns": 7, "tail": 1},
    "all of another measurement": {"channels": 7, "columns": 12, "tail": 29},
    "negative columns": {"columns": -6},
    "a huge tail": {"tail": 1 << 62},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_channels_that_the_measurement_does_not_have_stop_the_partition(tmp_path: Path, name: str) -> None:
    """A batch that claims other channels, columns or tail than the spec is folded by nobody, whoever signed it."""
    pipeline = run_seconds(tmp_path, 12)
    partition, _ = last_batch(pipeline, "shares", Kind.SHARES)
    claims = dict(CLAIMS[name])
    tail = claims.pop("tail", None) if claims.get("tail", 0) > 1000 else None
    batch = pass_on(pipeline, **claims) if tail is None else _with_tail(pipeline, tail)
    pipeline.log.append("shares", partition, batch.encode())
    pipeline.run(("a", "b"))
    for party in ("a", "b"):
        reason = next(iter(pipeline.stage(party).stopped().values()))
        assert "expected channels 5, 6 columns and a tail of 29" in reason


def _with_tail(pipeline: InProcessPipeline, tail: int) -> SharesBatch:
    """A batch that claims a tail which nobody could hold, without the values."""
    batch = pass_on(pipeline)
    extension = msgspec.structs.replace(batch.extension, tail=tail)
    sections = batch.cells_a, batch.cells_b, batch.seal_signature
    members = SealedBatch.decode(last_batch(pipeline, "sealed", Kind.SEALED)[1]).members
    sealed = SealedBatch(batch.header, batch.header_bytes, members, *sections, batch.seal_version)
    return SharesBatch.signed(pipeline._keys["attach"].identity, sealed, extension, batch.share_a, batch.share_b)


def test_the_batch_of_these_tests_is_folded_when_it_claims_what_is_true(tmp_path: Path) -> None:
    """The forgeries above are refused for their claims and for nothing else."""
    pipeline = run_seconds(tmp_path, 12)
    partition, _ = last_batch(pipeline, "shares", Kind.SHARES)
    pipeline.log.append("shares", partition, pass_on(pipeline).encode())
    pipeline.run(("a", "b"))
    assert not pipeline.stage("a").stopped()
    assert not pipeline.stage("b").stopped()


# -- releases -----------------------------------------------------------------------------------------------------


def rejoined(
    pipeline: InProcessPipeline, change: Callable[[SignedRelease], dict[str, NDArray[np.uint64]]], **fields: object
) -> FairnessMetric:
    """What publish makes of the newest window once both parties have changed their releases alike, and signed them."""
    core = PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0)
    found = None
    for party in ("a", "b"):
        signed = SignedRelease.decode(pipeline.log.values(f"releases-{party}")[-1])
        release = msgspec.structs.replace(signed.release, **fields)
        again = SignedRelease.signed(pipeline._keys[party].identity, release, change(signed))
        found = core.apply(party, again.encode())
    assert found is not None
    return found


def values_of(signed: SignedRelease) -> dict[str, NDArray[np.uint64]]:
    """The channels of a release as they are."""
    named = {channel.name: signed.channel(channel.name) for channel in signed.release.channels}
    return {name: values for name, values in named.items() if values is not None}


@pytest.mark.parametrize("place", [0, 6, 20, 21, 22])
def test_moments_that_cannot_be_true_make_the_window_void(tmp_path: Path, place: int) -> None:
    """Rows, Self-ID rows or a diagonal entry of M far below zero: no number of the window is shown."""
    pipeline = run_seconds(tmp_path, 25)
    assert rejoined(pipeline, values_of).table is not None

    def lower(signed: SignedRelease) -> dict[str, NDArray[np.uint64]]:
        values = values_of(signed)
        values["moments"][place] -= np.uint64(1 << 40)
        return values

    window = rejoined(pipeline, lower)
    assert (window.status, window.reason) == ("void", "implausible_moments")
    assert window.table is window.moments is window.rectifier is None


def test_channels_that_the_spec_does_not_give_are_void(tmp_path: Path) -> None:
    """Two parties of one mind about channels that the measurement does not have publish nothing.

    (A level that it does not have is no window of its, see ``test_publish_refusals``.)
    """
    pipeline = run_seconds(tmp_path, 25)
    table = SignedRelease.decode(pipeline.log.values("releases-a")[-1]).release.channels[0]
    window = rejoined(pipeline, values_of, channels=(table,))
    assert (window.status, window.reason) == ("void", "releases_differ")


@pytest.mark.parametrize("role", ["seal", "attach", "a", "b"])
def test_a_role_with_a_foreign_identity_publishes_nothing(tmp_path: Path, role: str) -> None:
    """Whoever holds a role's place but not its identity is refused by the next role, with its reason counted."""
    pipeline = make_pipeline(tmp_path)
    keys = pipeline._keys[role]
    foreign = Identity(role, keys.identity.deployment, Ed25519PrivateKey.generate())
    object.__setattr__(keys, "identity", foreign)
    for second in range(75):
        send(pipeline, second)
        pipeline.run()
    assert totals(pipeline) == []
    if role == "seal":
        assert refused(pipeline, "attach", "signature") > 0
    elif role == "attach":
        assert refused(pipeline, "a", "signature") > 0
        assert refused(pipeline, "b", "signature") > 0
    else:
        assert pipeline.core.refused == {("", role, "signature"): 8}


@pytest.mark.parametrize("role", ["attach", "a", "b"])
def test_a_role_with_foreign_epoch_keys_stops_and_publishes_nothing(tmp_path: Path, role: str) -> None:
    """A recipient whose epoch keys are not the announced ones opens nothing, says so, and its partitions stop."""
    pipeline = make_pipeline(tmp_path)
    other = EpochKeys(role, tmp_path / "other", 10**10)
    foreign = other.ensure_current(START_MS).key
    for epoch in pipeline.epochs[role]._epochs.values():
        object.__setattr__(epoch, "key", foreign)
    for second in range(75):
        send(pipeline, second)
        pipeline.run()
    assert totals(pipeline) == []
    if role in ("attach", "a"):
        assert any("does not open" in reason for reason in pipeline.stage(role).stopped().values())
    else:
        # b cannot even learn under which key coverage is shown.
        assert pipeline.log.values("releases-b") == []


def test_no_role_can_ask_for_another_roles_envelope(tmp_path: Path) -> None:
    """By the code's own interfaces, attach has no way to open cells, and a party none to open members."""
    for purpose, (sender, recipients) in PURPOSES.items():
        for role in ("seal", "attach", "a", "b", "publish"):
            if role not in recipients:
                with pytest.raises(ValueError, match="there is no"):
                    Channel("d", purpose, sender, role)
    # ReceivingKeys takes no recipient: it asks for its own role only, so these are all the questions it can be asked.
    pipeline = run_seconds(tmp_path, 12)
    shares = SharesBatch.decode(last_batch(pipeline, "shares", Kind.SHARES)[1])
    sealed = SealedBatch.decode(last_batch(pipeline, "sealed", Kind.SEALED)[1])
    attach: ReceivingKeys = pipeline._receiving["attach"]
    held = [*attach._keys.values()]
    assert held  # attach does hold keys, those of its own envelopes
    for key in held:
        for ciphertext in (sealed.cells_a, sealed.cells_b):
            with pytest.raises(EnvelopeUnreadable):
                key.open(ciphertext, sealed.header_bytes)
    with pytest.raises(EnvelopeUnreadable, match="on the keys topic"):
        attach.find("members", "seal", bytes(8), sealed.header.attach_epoch)
    with pytest.raises(ValueError, match="there is no 'cells' envelope"):
        attach._control._wrapped["seal", sealed.header.process, "cells", "attach", sealed.header.attach_epoch] = next(
            record for record in attach._control._wrapped.values() if record.purpose == "cells"
        )
        attach.find("cells", "seal", sealed.header.process, sealed.header.attach_epoch)
    for party in ("a", "b"):
        for key in pipeline._receiving[party]._keys.values():
            with pytest.raises(EnvelopeUnreadable):
                key.open(sealed.members, sealed.header_bytes)
            other = shares.share_b if party == "a" else shares.share_a
            with pytest.raises(EnvelopeUnreadable):
                key.open(other, SharesBatch.binding(shares.header_bytes, shares.extension_bytes))
