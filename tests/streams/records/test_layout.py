"""The layout record: who signed it, what it says, which of two follows the other, and no partition with two owners."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import Identity, PinnedIdentities, SignatureInvalid
from streams.errors import RecordMalformed
from streams.records import frame
from streams.records.frame import Kind
from streams.records.layout import HISTORY, Generation, Layout, LayoutRecord, decode_layout, sign_layout

NOW_MS = 1_764_000_000_000
PRIVATE = {role: Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n, role in enumerate(("seal", "attach"), 1)}
TRUSTED = PinnedIdentities("d", {role: key.public_key() for role, key in PRIVATE.items()})


def identity(role: str) -> Identity:
    """A role's identity in deployment d."""
    return Identity(role, "d", PRIVATE[role])


def after(*shards: int) -> Layout:
    """The layout of seal after these scalings."""
    layout = Layout()
    for count in shards:
        layout = Layout.of(layout.next("seal", count, NOW_MS))
    return layout


def test_golden_bytes() -> None:
    """The body's bytes on the wire: an array of role, generation, shards, time and history."""
    record = after(3).next("seal", 2, NOW_MS)
    signed = sign_layout(identity("seal"), record)
    body, _ = frame.decode(signed.value, Kind.LAYOUT, 2)
    assert body.hex() == "95a47365616c0202cf0000019ab697e800" + "92" + "920001" + "920103"
    assert signed.key == b"layout/seal"
    assert decode_layout(signed.value, TRUSTED) == record


def test_another_roles_signature_is_refused() -> None:
    """Attach cannot divide seal, and no byte of the body may change under a signature."""
    record = Layout().next("seal", 3, NOW_MS)
    with pytest.raises(SignatureInvalid):
        decode_layout(sign_layout(identity("attach"), record).value, TRUSTED)
    body, signature = frame.decode(sign_layout(identity("seal"), record).value, Kind.LAYOUT, 2)
    altered = msgspec.msgpack.encode(msgspec.structs.replace(record, shards=4))
    with pytest.raises(SignatureInvalid):
        decode_layout(frame.encode(Kind.LAYOUT, (altered, signature)), TRUSTED)
    assert body != altered


@pytest.mark.parametrize(
    ("generation", "history"),
    [
        (2, [(1, 1)]),  # generation 0 is missing
        (2, [(0, 1), (2, 3)]),
        (3, [(0, 1), (2, 3)]),
        (2, [(1, 3), (0, 1)]),
        (1, []),
        (HISTORY + 5, [(n, 1) for n in range(5, HISTORY + 4)]),
        (1, [(0, 0)]),
        (1, [(0, 2000)]),
        (0, [(0, 1)]),
    ],
)
def test_a_history_with_a_gap_is_refused(generation: int, history: list[tuple[int, int]]) -> None:
    """Whoever fences by a history must find every generation in it: one that lacks some is no record."""
    body = msgspec.msgpack.encode(["seal", generation, 2, NOW_MS, history])
    value = frame.encode(Kind.LAYOUT, (body, identity("seal").sign("layout", body)))
    with pytest.raises(RecordMalformed):
        decode_layout(value, TRUSTED)


@pytest.mark.parametrize("role", ["a", "b", "publish", "seals"])
def test_other_roles_have_no_layout(role: str) -> None:
    """Parties and publish are one worker each, whatever is written."""
    with pytest.raises(RecordMalformed):
        Layout().next(role, 2, NOW_MS)


@pytest.mark.parametrize("shards", [0, -1, 1025])
def test_so_many_shards_no_role_has(shards: int) -> None:
    """At least one, and not more than P can ever be."""
    with pytest.raises(RecordMalformed):
        Layout().next("attach", shards, NOW_MS)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=HISTORY + 10))
def test_the_history_names_the_generations_before(shards: list[int]) -> None:
    """Over any number of scalings: numbers rise by one, and the last 32 generations are named with their shards."""
    layout = after(*shards)
    assert layout.generation == len(shards)
    told = [1, *shards][:-1][-HISTORY:]
    assert [known.shards for known in layout.history] == told
    assert [known.generation for known in layout.history] == list(range(len(shards) - len(told), len(shards)))
    value = sign_layout(identity("seal"), LayoutRecord("seal", layout.generation, layout.shards, 0, layout.history))
    assert Layout.of(decode_layout(value.value, TRUSTED)) == layout


@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.integers(0, 40))
def test_a_layout_follows_all_that_came_before_it(shards: list[int], known: int) -> None:
    """It follows every earlier one of its own past, and neither itself, a later one, nor one of another past."""
    layout, earlier = after(*shards), after(*shards[: min(known, len(shards))])
    assert layout.follows(earlier) == (known < len(shards))
    assert not earlier.follows(layout)
    foreign = Layout(earlier.generation, earlier.shards + 1, earlier.history)
    if layout.generation - HISTORY <= earlier.generation < layout.generation:
        assert not layout.follows(foreign)


@given(st.integers(1, 20), st.integers(0, 30))
def test_every_partition_has_one_owner(shards: int, partitions: int) -> None:
    """The shards' parts are disjoint and make up the whole; a shard that the layout does not have owns nothing."""
    layout = Layout(1, shards, (Generation(0, 1),))
    owned = [p for shard in range(shards + 3) for p in layout.owns(shard, partitions)]
    assert sorted(owned) == list(range(partitions))
    assert not layout.owns(shards, partitions)
