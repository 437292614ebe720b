"""What anyone who may write to Kafka can put there without a role's identity key: it is refused, and changes no sum.

A thief has a role's broker password, and so may write its topics; he may hold the identity key of another role, or of
the same role in another deployment. Each row of the matrix is one record of his, written into a pipeline that is
running, with what became of it: who refused it and why. The tables that are published meanwhile are those of a pipeline
that nobody wrote into, to the last unit of 2^-20 row. ``pytest -s`` prints the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hostile import START_MS, last_batch, make_pipeline, send
from known_records import later, sections_of, with_section

from privacy import LedgerBroken, approve, parse_measurement
from secure_agg import EpochPublicKey, Identity, KemPrivateKey
from streams.errors import StateUnreadable
from streams.inprocess import InProcessPipeline
from streams.records import frame
from streams.records.batches import SealedBatch, SharesBatch
from streams.records.debit import SignedDebit
from streams.records.frame import Kind
from streams.records.header import Header, encode_header
from streams.records.keys import sign_epoch_key, sign_wrapped_key
from streams.records.punctuation import SignedPunctuation
from streams.records.release import SignedRelease

pytestmark = pytest.mark.slow

LAST = 72


@dataclass(frozen=True)
class Injected:
    """One record of a thief's.

    Attributes:
        kind, what: as the matrix names it.
        topic, partition, value: where and what he writes.
        readers: the roles that read the topic.
        outcome: the reason under which each of them counts it, "known" where it is one that was taken in before.
    """

    kind: str
    what: str
    topic: str
    partition: int
    value: bytes
    readers: tuple[str, ...]
    outcome: str


def identities(pipeline: InProcessPipeline, but: str) -> Iterator[tuple[str, Identity]]:
    """Whose signature a thief can make in the place of ``but``'s: another role's, an elsewhere's, one of his own."""
    own = pipeline._keys[but].identity
    for role in ("seal", "attach", "a", "b", "publish"):
        stolen = pipeline._keys[role].identity
        if role != but:
            yield f"under the identity of {role}", stolen
            yield f"as {but}, under the key of {role}", replace(stolen, role=but)
    yield "under its key of another deployment", replace(own, deployment="elsewhere")
    yield "under a key of his own", replace(own, private_key=Ed25519PrivateKey.generate())


def damaged(value: bytes) -> Iterator[tuple[str, bytes, str]]:
    """A sound record cut, lengthened, flipped, relabelled: (what, value, outcome)."""
    yield "emptied", b"", "malformed"
    yield "no record", b"not a record", "malformed"
    yield "cut in the middle", value[: len(value) // 2], "malformed"
    yield "cut by a byte", value[:-1], "malformed"
    yield "a byte longer", value + b"\0", "malformed"
    sections = sections_of(value)
    for number, section in enumerate(sections):
        place = len(section) - 1
        flipped = section[:place] + bytes((section[place] ^ 1,))
        yield f"a bit flipped in section {number}", with_section(value, number, flipped), "signature"
    yield "as version 3", value[:2] + b"\x03" + value[3:], "malformed"
    yield "as version 99", value[:2] + b"\x63" + value[3:], "malformed"
    yield "as another kind", value[:3] + bytes((7,)) + value[4:], "malformed"


HEADERS: dict[str, Callable[[Header], Header]] = {
    "another window": lambda header: msgspec.structs.replace(header, window_end_ms=header.window_end_ms + 10_000),
    "another measurement": lambda header: msgspec.structs.replace(header, measurement="other"),
    "another revision": lambda header: msgspec.structs.replace(header, revision=2),
    "another spec": lambda header: msgspec.structs.replace(header, spec=bytes(32)),
    "the next number": lambda header: msgspec.structs.replace(header, sequence=header.sequence + 1),
    "more rows": lambda header: msgspec.structs.replace(header, rows=header.rows + 1),
    "another partition": lambda header: msgspec.structs.replace(header, j=1 - header.j),
}


def of_sealed(pipeline: InProcessPipeline) -> Iterator[Injected]:
    """Batches on `sealed`."""
    partition, value = last_batch(pipeline, "sealed", Kind.SEALED)
    batch = SealedBatch.decode(value)
    parts = batch.members, batch.cells_a, batch.cells_b
    nxt = HEADERS["the next number"](batch.header)

    def at(what: str, value: bytes, outcome: str, partition: int = partition) -> Injected:
        return Injected("sealed", what, "sealed", partition, value, ("attach",), outcome)

    for what, wrong, outcome in damaged(value):
        yield at(what, wrong, outcome)
    for what, signer in identities(pipeline, "seal"):
        yield at(
            f"the next batch {what}", SealedBatch.signed(signer, nxt, encode_header(nxt), *parts).encode(), "signature"
        )
    for what, change in HEADERS.items():
        header = encode_header(change(batch.header))
        yield at(f"presented as of {what}", with_section(value, 0, header), "signature")
    yield at("of a later version, by attach", later(pipeline._keys["attach"].identity, 1), "malformed")
    yield at("replayed", value, "repeat")
    yield at("in another partition", value, "malformed", 1 - partition)
    yield at("from shares", last_batch(pipeline, "shares", Kind.SHARES)[1], "malformed")


def of_shares(pipeline: InProcessPipeline) -> Iterator[Injected]:
    """Batches on `shares`."""
    partition, value = last_batch(pipeline, "shares", Kind.SHARES)
    batch = SharesBatch.decode(value)
    _, sealed = last_batch(pipeline, "sealed", Kind.SEALED)

    def at(what: str, value: bytes, outcome: str, partition: int = partition) -> Injected:
        return Injected("shares", what, "shares", partition, value, ("a", "b"), outcome)

    for what, wrong, outcome in damaged(value):
        # What section 4 begins with is the version of seal's record; a flipped bit at its end is its signature.
        yield at(what, wrong, outcome)
    nxt = HEADERS["the next number"](batch.header)
    seal = pipeline._keys["seal"].identity
    other = SealedBatch.signed(
        seal, nxt, encode_header(nxt), SealedBatch.decode(sealed).members, batch.cells_a, batch.cells_b
    )
    for what, signer in identities(pipeline, "attach"):
        forged = SharesBatch.signed(signer, other, batch.extension, batch.share_a, batch.share_b)
        yield at(f"seal's next batch {what}", forged.encode(), "signature")
    invented = SealedBatch.signed(pipeline._keys["attach"].identity, nxt, encode_header(nxt), b"", b"", b"")
    forged = SharesBatch.signed(pipeline._keys["attach"].identity, invented, batch.extension, b"", b"")
    yield at("attach's own, of a batch that seal never made", forged.encode(), "signature")
    for what, change in HEADERS.items():
        yield at(f"presented as of {what}", with_section(value, 0, encode_header(change(batch.header))), "signature")
    yield at("with another batch's share", with_section(value, 7, bytes(batch.share_b)[::-1]), "signature")
    yield at("of a later version, by seal", later(seal, 2), "malformed")
    yield at("replayed", value, "repeat")
    yield at("in another partition", value, "malformed", 1 - partition)
    yield at("from sealed", sealed, "malformed")


def of_punctuation(pipeline: InProcessPipeline) -> Iterator[Injected]:
    """Punctuation on both topics: who could forge it would close windows early, or never."""
    keys = {role: pipeline._keys[role].identity for role in pipeline._keys}
    for topic, readers, writer in (("sealed", ("attach",), "seal"), ("shares", ("a", "b"), "attach")):
        partition, value = last_batch(pipeline, topic, Kind.PUNCTUATION)
        signed = SignedPunctuation.decode(value)
        said = signed.punctuation
        ahead = msgspec.structs.replace(
            said,
            clock_ms=said.clock_ms + 10_000,
            sources=tuple(msgspec.structs.replace(s, arrival_ms=s.arrival_ms + 10_000) for s in said.sources),
        )

        def at(
            what: str, value: bytes, outcome: str, partition: int = partition, topic: str = topic,
            readers: tuple[str, ...] = readers,
        ) -> Injected:  # fmt: skip
            return Injected(f"punctuation, {topic}", what, topic, partition, value, readers, outcome)

        for what, wrong, outcome in damaged(value):
            yield at(what, wrong, outcome)
        for what, signer in identities(pipeline, writer):
            if writer == "seal":
                forged = SignedPunctuation.signed(signer, ahead)
            else:
                assert signed.passage is not None
                forged = SignedPunctuation.signed(keys["seal"], ahead).passed_on(signer, signed.passage)
            yield at(f"ten seconds ahead {what}", forged.encode(), "signature")
        yield at("ten seconds ahead", with_section(value, 0, msgspec.msgpack.encode(ahead)), "signature")
        older = next(
            record.value_
            for record in pipeline.log.read(topic, partition)
            if frame.kind_of(record.value_ or b"") is Kind.PUNCTUATION
        )
        yield at("replayed", older or b"", "repeat")
        yield at("in another partition", value, "malformed", 1 - partition)
    _, told = last_batch(pipeline, "sealed", Kind.PUNCTUATION)
    _, passed = last_batch(pipeline, "shares", Kind.PUNCTUATION)
    j = SignedPunctuation.decode(told).punctuation.j
    yield Injected("punctuation, shares", "seal's, never passed on", "shares", j, told, ("a", "b"), "signature")
    j = SignedPunctuation.decode(passed).punctuation.j
    yield Injected("punctuation, sealed", "from shares", "sealed", j, passed, ("attach",), "malformed")


def of_releases(pipeline: InProcessPipeline) -> Iterator[Injected]:
    """Releases: who could forge one would publish what he likes."""
    value = pipeline.log.values("releases-a")[-1]
    signed = SignedRelease.decode(value)
    release, values = signed.release, {c.name: signed.channel(c.name) for c in signed.release.channels}

    def at(what: str, value: bytes, outcome: str) -> Injected:
        return Injected("release", what, "releases-a", 0, value, ("publish",), outcome)

    for what, wrong, outcome in damaged(value):
        # The body's last bytes are the cost of a channel, and a window's contents are judged before its signature.
        yield at(what, wrong, outcome)
    ahead = {"start_ms": release.start_ms + 600_000, "end_ms": release.end_ms + 600_000}
    changes = {"another window": ahead, "another revision": {"revision": 2}, "another spec": {"spec": bytes(32)}}
    for what, fields in changes.items():
        changed = msgspec.structs.replace(release, **fields)  # type: ignore[arg-type]
        yield at(f"presented as of {what}", with_section(value, 0, msgspec.msgpack.encode(changed)), "signature")
        for how, signer in identities(pipeline, "a"):
            forged = SignedRelease.signed(signer, changed, values)  # type: ignore[arg-type]
            yield at(f"of {what} {how}", forged.encode(), "signature")
    yield at("of a later version, by b", later(pipeline._keys["b"].identity, 4), "malformed")
    yield at("replayed", value, "known")
    yield at("b's", pipeline.log.values("releases-b")[-1], "malformed")
    yield at("a debit", pipeline.log.values("ledger-a")[-1], "malformed")
    yield at("from shares", last_batch(pipeline, "shares", Kind.SHARES)[1], "malformed")


def counts(pipeline: InProcessPipeline, role: str) -> dict[str, float]:
    """What a role has refused so far, by reason."""
    if role == "publish":
        return {reason: count for (_, _, reason), count in pipeline.core.refused.items()}
    (family,) = (f for f in pipeline.registries[role].collect() if f.name == "evenstream_records_refused")
    return {s.labels["reason"]: s.value for s in family.samples if s.name.endswith("_total")}


def inject(pipeline: InProcessPipeline, records: list[Injected]) -> list[str]:
    """Write the records one by one, and let their readers read each; what became of each, as the matrix prints it."""
    seen = []
    for record in records:
        before = {role: counts(pipeline, role) for role in record.readers}
        pipeline.log.append(record.topic, record.partition, record.value)
        for role in record.readers:
            if role == "publish":
                pipeline.publish()
            else:
                pipeline.turn(role)
        outcomes = set()
        for role in record.readers:
            after = counts(pipeline, role)
            new = {reason: n - before[role].get(reason, 0) for reason, n in after.items()}
            outcomes.add(", ".join(f"{reason}" for reason, n in sorted(new.items()) for _ in range(int(n))) or "known")
        seen.append(" / ".join(sorted(outcomes)))
    return seen


def units(pipeline: InProcessPipeline) -> dict[tuple[str, int], list[list[int]]]:
    """Every published table, in units of 2^-20 row."""
    return {
        (window.level, window.window.end_ms): [
            [round(entry * (1 << 20)) for entry in row] for row in window.table.values
        ]
        for window in pipeline.published
        if window.table is not None
    }


KINDS = {"sealed": of_sealed, "shares": of_shares, "punctuation": of_punctuation, "releases": of_releases}


def test_no_injected_record_changes_a_sum(tmp_path: Path) -> None:
    """The matrix: each record is refused by each of its readers, once and with its reason, and no table differs."""
    honest, attacked = make_pipeline(tmp_path / "honest"), make_pipeline(tmp_path / "attacked")
    table: list[tuple[Injected, str]] = []
    at = dict(zip((22, 32, 42, 52), KINDS.values(), strict=True))
    for second in range(LAST):
        for pipeline in (honest, attacked):
            send(pipeline, second)
            pipeline.run()
        if second in at:
            records = list(at[second](attacked))
            table += zip(records, inject(attacked, records), strict=True)
    for record, seen in table:
        print(f"{record.kind:<22}{record.what:<52}{'/'.join(record.readers):<9}{seen}")
    print(f"{len(table)} records injected, {len(units(attacked))} windows published, all as without them")
    wrong = [(record.kind, record.what, record.outcome, seen) for record, seen in table if seen != record.outcome]
    assert wrong == []
    assert len(table) > 120
    for role in ("seal", "attach", "a", "b"):
        assert not attacked.stage(role).stopped()
    assert units(attacked) == units(honest)
    assert len(units(attacked)) == 8
    assert "void" not in {window.status for window in attacked.published}


def test_nobody_announces_keys_without_the_identity(tmp_path: Path) -> None:
    """A thief on `keys` cannot make a sender seal to him, nor a recipient open with his key: each record is counted."""
    pipeline = make_pipeline(tmp_path)
    for second in range(15):
        send(pipeline, second)
        pipeline.run()
    his, far = KemPrivateKey.generate(), START_MS + 10**12
    records: list[bytes] = []
    for role in ("attach", "a", "b"):
        public = EpochPublicKey(role, START_MS + 10**9, far, his.public_bytes())
        for _, signer in identities(pipeline, role):
            records.append(sign_epoch_key(replace(signer, role=role), public).value)
            records.append(sign_epoch_key(signer, public).value)
    wrapped = next(iter(pipeline.controls["a"]._wrapped.values()))
    for sender in ("seal", "attach", "a"):
        body = msgspec.structs.replace(wrapped, sender=sender)
        records += [
            sign_wrapped_key(replace(signer, role=sender), body).value for _, signer in identities(pipeline, sender)
        ]
    good = sign_epoch_key(pipeline._keys["a"].identity, EpochPublicKey("a", 7, 8, his.public_bytes())).value
    records += [wrong for what, wrong, _ in damaged(good) if not what.startswith("as")]
    records += [later(pipeline._keys["a"].identity, 5), good[:2] + b"\x02" + good[3:]]
    for role, control in pipeline.controls.items():
        before, epochs, keys = control.refused, dict(control._epochs), dict(control._wrapped)
        accepted = [n for n, value in enumerate(records) if not _refuses(control.apply_key, value, control)]
        # Whoever holds another recipient's key can announce epochs of that other one, and of no one else.
        announced = {owner for owner, _ in set(control._epochs) - set(epochs)}
        assert announced <= {"attach", "a", "b"}
        assert control.refused == before + len(records) - len(accepted)
        assert all(_signed_by_its_own(pipeline, records[n]) for n in accepted), role
        assert all(control._epochs[key] == value for key, value in epochs.items())
        assert all(control._wrapped[key] == value for key, value in keys.items())


def _refuses(apply: Callable[[bytes], None], value: bytes, control: object) -> bool:
    before = control.refused  # type: ignore[attr-defined]
    apply(value)
    return bool(control.refused > before)  # type: ignore[attr-defined]


def _signed_by_its_own(pipeline: InProcessPipeline, value: bytes) -> bool:
    """Whether a record of `keys` names the role whose real identity signed it: then it is that role's own."""
    body, signature = sections_of(value)
    owner = msgspec.msgpack.decode(body)[0]
    kind = "epoch-key" if frame.kind_of(value) is Kind.EPOCH_KEY else "wrapped-key"
    trusted = pipeline.controls["publish"].trusted.identities
    trusted.verify(owner, kind, signature, body)
    return True


def test_nobody_approves_without_governance(tmp_path: Path) -> None:
    """A thief on `measurements` starts nothing: with his own key, a role's, or for another deployment."""
    pipeline = make_pipeline(tmp_path)
    control = pipeline.controls["seal"]
    (known,) = list(control.approved())
    other = parse_measurement(known.measurement.canonical_bytes().decode(), origin="x")
    his = Ed25519PrivateKey.generate()
    stolen = pipeline._keys["attach"].identity.private_key
    changed = msgspec.json.decode(other.canonical_bytes())
    changed["purpose"] = "another question"
    revised = type(other).model_validate(changed)
    records = [
        b"", b"{}", b"garbage",
        approve(revised, "inprocess", his).encode(),
        approve(revised, "inprocess", stolen).encode(),
        approve(revised, "elsewhere", his).encode(),
    ]  # fmt: skip
    before = control.refused
    pipeline._measurements += records
    for role in pipeline.controls:
        pipeline.tell(role)
    assert control.refused == before + len(records)
    assert [approved.spec for approved in control.approved()] == [known.spec]


STATE: dict[str, Callable[[InProcessPipeline, str], tuple[bytes, bytes]]] = {
    "garbage under one of its keys": lambda pipeline, role: (_a_key(pipeline, role), b"garbage"),
    "another key's value": lambda pipeline, role: (_a_key(pipeline, role) + b"0", _values(pipeline, role)[0]),
    "another role's value": lambda pipeline, role: (
        _a_key(pipeline, role), _values(pipeline, "attach" if role != "attach" else "a")[0],
    ),
    "a key that no version writes": lambda pipeline, role: (b"position/\xff", b"x"),
    "a key of another kind": lambda pipeline, role: (b"zebra/1/2", b"x"),
    "no key's text": lambda pipeline, role: (b"\xff\xfe", b"x"),
}  # fmt: skip


def _values(pipeline: InProcessPipeline, role: str) -> list[bytes]:
    return pipeline.log.values(f"state-{role}")


def _a_key(pipeline: InProcessPipeline, role: str) -> bytes:
    """Of a position: what says where the role reads on."""
    keys = (record.key_ or b"" for record in pipeline.log.read(f"state-{role}", 0))
    return next(key for key in keys if key.startswith((b"position/", b"source/")))


def test_a_roles_state_is_its_own(tmp_path: Path) -> None:
    """A thief who writes a state topic keeps the role from starting, with a clear error, and moves no number."""
    pipeline = make_pipeline(tmp_path)
    for second in range(15):
        send(pipeline, second)
        pipeline.run()
    for role in ("seal", "attach", "a", "b"):
        for what, forge in STATE.items():
            log = pipeline.log.partitions[f"state-{role}", 0]
            kept = list(log)
            key, value = forge(pipeline, role)
            pipeline.log.append(f"state-{role}", 0, value, key=key)
            with pytest.raises(StateUnreadable) as caught:
                pipeline.start(role)
            assert f"role '{role}'" in str(caught.value), what
            pipeline.log.partitions[f"state-{role}", 0] = kept
        pipeline.start(role)
    for second in range(15, 40):
        send(pipeline, second)
        pipeline.run()
    assert [sum(map(sum, table)) for table in units(pipeline).values()] == [100 << 20] * 3


@pytest.mark.parametrize("how", ["tombstones", "older values"])
def test_seals_state_put_back_is_noticed_by_the_next_role(tmp_path: Path, how: str) -> None:
    """Seal would number batches anew that it has sent: attach meets two batches under one number, and stops."""
    pipeline = make_pipeline(tmp_path)
    for second in range(30):
        send(pipeline, second)
        pipeline.run()
    published = units(pipeline)
    records = pipeline.log.read("state-seal", 0)
    oldest = {record.key_: record.value_ for record in reversed(records)}
    for key, value in oldest.items():
        pipeline.log.append("state-seal", 0, None if how == "tombstones" else value, key=key)
    pipeline.start("seal")
    for second in range(30, 45):
        send(pipeline, second)
        pipeline.run()
    assert any("two different batches" in why for why in pipeline.stage("attach").stopped().values())
    assert units(pipeline) == published  # what is not certain is not published


def test_a_debit_that_the_party_did_not_sign_keeps_it_from_starting(tmp_path: Path) -> None:
    """Ledgers cannot be filled by a thief so that the budget seems spent: the party says so, and does not start."""
    pipeline = make_pipeline(tmp_path)
    for second in range(15):
        send(pipeline, second)
        pipeline.run()
    (own,) = pipeline.log.values("ledger-a")
    debit = SignedDebit.decode(own)
    wrong = [value for _, value, _ in damaged(own)]
    wrong += [SignedDebit.signed(signer, debit.debit).encode() for _, signer in identities(pipeline, "a")]
    wrong += [own, pipeline.log.values("ledger-b")[0], pipeline.log.values("releases-a")[0]]
    for value in wrong:
        pipeline.log.append("ledger-a", 0, value)
        with pytest.raises(LedgerBroken):
            pipeline.start("a")
        del pipeline.log.partitions["ledger-a", 0][-1]
    pipeline.start("a")
