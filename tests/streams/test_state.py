"""Private state: sealed values open under their own key, role and record key, and under nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import StateKeys
from streams import roles
from streams.errors import StateNewer, StateUnreadable
from streams.stage import Out
from streams.state import StateCodec, number_of

KEY = bytes(range(32))
CODEC = StateCodec(KEY, "attach")


class Position(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A state record as roles keep them."""

    offset: int
    digests: list[bytes]
    since_ms: dict[bytes, int]


VALUE = Position(17, [b"x" * 32], {b"spec": -5})
SEALED = CODEC.encode(b"position/5", VALUE)


@given(
    key=st.binary(max_size=20),
    offset=st.integers(-(1 << 63), (1 << 63) - 1),
    digests=st.lists(st.binary(max_size=40), max_size=5),
    since_ms=st.dictionaries(st.binary(max_size=8), st.integers(-(1 << 53), 1 << 53), max_size=4),
)
def test_round_trip(key: bytes, offset: int, digests: list[bytes], since_ms: dict[bytes, int]) -> None:
    """What is sealed is opened as it was, whatever the record's key is."""
    value = Position(offset, digests, since_ms)
    assert CODEC.decode(key, CODEC.encode(key, value), Position) == value


def test_a_restarted_role_opens_what_the_last_one_sealed() -> None:
    """Another codec with the same key and role opens the value: nothing else is needed."""
    assert StateCodec(KEY, "attach").decode(b"position/5", SEALED, Position) == VALUE


@pytest.mark.parametrize(
    ("codec", "key"),
    [
        (CODEC, b"position/6"),
        (CODEC, b"position/5\0"),
        (CODEC, b""),
        (StateCodec(bytes(32), "attach"), b"position/5"),
        (StateCodec(KEY, "seal"), b"position/5"),
    ],
)
def test_a_value_is_bound_to_record_key_role_and_secret(codec: StateCodec, key: bytes) -> None:
    """A value that was put under another record's key, another role's or another secret does not open."""
    with pytest.raises(StateUnreadable, match="does not open"):
        codec.decode(key, SEALED, Position)


@pytest.mark.parametrize("place", range(len(SEALED)))
def test_an_altered_byte_is_noticed(place: int) -> None:
    """Not one byte of a value can be changed, be it nonce, ciphertext or tag."""
    altered = SEALED[:place] + bytes([SEALED[place] ^ 1]) + SEALED[place + 1 :]
    with pytest.raises(StateUnreadable):
        CODEC.decode(b"position/5", altered, Position)


@given(value=st.binary(max_size=60) | st.integers(0, len(SEALED) - 1).map(lambda length: SEALED[:length]))
def test_arbitrary_bytes_are_unreadable(value: bytes) -> None:
    """Bytes that the role did not seal, the empty ones and cut ones included, raise StateUnreadable only."""
    with pytest.raises(StateUnreadable):
        CODEC.decode(b"position/5", value, Position)


@pytest.mark.parametrize("wrong", [None, 7, "text", [17], [17, [], {1: 2}], ["17", [], {}], {"offset": 17}, b"\xff"])
def test_a_value_of_another_shape_is_unreadable(wrong: Any) -> None:
    """A value that opens but is not what this version keeps there is unreadable too, not half read."""
    with pytest.raises(StateUnreadable):
        CODEC.decode(b"position/5", CODEC.encode(b"position/5", wrong), Position)


def test_text_that_is_not_utf8_is_unreadable() -> None:
    """A value that opens to text which is none raises StateUnreadable like any other."""
    sealed = CODEC.encode(b"k", msgspec.Raw(b"\xa2\xff\xfe"))
    with pytest.raises(StateUnreadable):
        CODEC.decode(b"k", sealed, str)


def test_equal_values_look_different_and_show_nothing() -> None:
    """Nonces are drawn afresh: what is stored twice is not recognisable, and nothing of it is in the clear."""
    secret = b"secret member tag"
    one, other = CODEC.encode(b"k", secret), CODEC.encode(b"k", secret)
    assert one[:12] != other[:12]
    assert one != other
    assert secret not in one


def test_the_error_names_the_record_and_not_its_contents() -> None:
    """The message says which record of which role, and what to do; of the value it says nothing."""
    with pytest.raises(StateUnreadable) as caught:
        StateCodec(bytes(32), "attach").decode(b"position/5", SEALED, Position)
    message = str(caught.value)
    assert "'position/5' of role 'attach'" in message
    assert "state.key" in message
    with pytest.raises(StateUnreadable, match="position"):
        CODEC.decode(b"position\xff", SEALED, Position)


def test_a_newer_versions_value_is_told_from_one_that_does_not_open() -> None:
    """A field more than this version knows: the message says to run the newer version, and not to look for a key."""
    sealed = CODEC.encode(b"position/5", [17, [], {}, "a field of tomorrow"])
    with pytest.raises(StateNewer, match="written by a newer one; run that"):
        CODEC.decode(b"position/5", sealed, Position)
    for wrong in (b"", b"x" * 40, SEALED[:-1]):
        with pytest.raises(StateUnreadable, match=r"state\.key") as caught:
            CODEC.decode(b"position/5", wrong, Position)
        assert not isinstance(caught.value, StateNewer)


def kept_in_state() -> Iterator[type[msgspec.Struct]]:
    """Every Struct of the stages' modules, which keep what they remember in state."""
    for module in pkgutil.iter_modules(roles.__path__):
        if module.name.startswith(("run_", "publish", "supervisor", "emitted")):
            continue
        for found in vars(importlib.import_module(f"streams.roles.{module.name}")).values():
            if isinstance(found, type) and issubclass(found, msgspec.Struct) and found.__module__.endswith(module.name):
                yield found


def test_what_stages_keep_forbids_unknown_fields() -> None:
    """Else an older role would read a newer one's state, leave out what it does not know, and write it back without."""
    kinds = list(kept_in_state())
    assert {"PartitionState", "AttachedPartition", "SourceState", "_WindowState", "_Chunk"} <= {
        k.__name__ for k in kinds
    }
    assert [kind.__name__ for kind in kinds if not kind.__struct_config__.forbid_unknown_fields] == []


@pytest.mark.parametrize(
    "take", [lambda: int("x"), lambda: b"\xff".decode(), lambda: [][1], lambda: bytes.fromhex("zz")]
)
def test_a_key_that_nobody_writes_is_told(take: Callable[[], object]) -> None:
    """Keys are in the clear: one that cannot be taken apart ends the role with a message, and not with a traceback."""
    with (
        pytest.raises(StateUnreadable, match=r"no version writes.*somebody else has written"),
        CODEC.reading(b"\xff" * 99),
    ):
        take()


# -- numbered keys ----------------------------------------------------------------------------------------------------

NOW = 1_764_000_000_000
LIFETIME_MS = 1000


def numbered(folder: Path) -> StateCodec:
    """A codec of a stage that was just built, with the keys that are in the folder."""
    return StateCodec(KEY, "attach", StateKeys(folder, LIFETIME_MS))


def outs(codec: StateCodec, *keys: bytes) -> list[Out]:
    """A checkpoint that writes these records."""
    made = [Out("state-attach", 0, key, codec.encode(key, VALUE)) for key in keys]
    codec.written("state-attach", made)
    return made


def test_a_number_stands_in_front_and_is_bound_in(tmp_path: Path) -> None:
    """It is that of the newest key; another one in its place, or a byte altered, and the value does not open."""
    codec = numbered(tmp_path)
    assert codec.renew(NOW) is False  # there is nothing to write anew
    value = codec.encode(b"position/5", VALUE)
    assert number_of(value) == NOW
    assert numbered(tmp_path).decode(b"position/5", value, Position) == VALUE
    codec.found(b"position/5", value)
    assert codec.renew(NOW + LIFETIME_MS)
    later = codec.encode(b"position/5", VALUE)
    for altered in (
        later[:8] + value[8:],
        *(value[:k] + bytes([value[k] ^ 1]) + value[k + 1 :] for k in range(len(value))),
    ):
        with pytest.raises(StateUnreadable):
            codec.decode(b"position/5", altered, Position)


def test_what_is_live_holds_its_key(tmp_path: Path) -> None:
    """A key goes with the last record that needs it: one that is overwritten, or that is deleted."""
    codec = numbered(tmp_path)
    codec.renew(NOW)
    outs(codec, b"position/0", b"position/1")
    codec.committed()
    assert codec.is_due(NOW + LIFETIME_MS)
    assert codec.renew(NOW + LIFETIME_MS)
    assert not codec.is_due(NOW + LIFETIME_MS)
    outs(codec, b"position/0")
    codec.committed()
    assert len(StateKeys(tmp_path, LIFETIME_MS).numbers()) == 2
    codec.written("state-attach", [Out("shares", 0, b"position/1", None)])  # not state
    codec.committed()
    assert len(StateKeys(tmp_path, LIFETIME_MS).numbers()) == 2
    codec.written("state-attach", [Out("state-attach", 0, b"position/1", None)])
    codec.committed()
    assert StateKeys(tmp_path, LIFETIME_MS).numbers() == (NOW + LIFETIME_MS,)


def test_nothing_goes_before_it_is_committed(tmp_path: Path) -> None:
    """A checkpoint that was aborted has written nothing anew; the next stage is asked to do it again."""
    codec = numbered(tmp_path)
    codec.renew(NOW)
    (before,) = outs(codec, b"position/0")
    codec.committed()
    assert codec.renew(NOW + LIFETIME_MS)
    outs(codec, b"position/0")
    again = numbered(tmp_path)  # after an abort
    again.found(b"position/0", before.value)
    assert again.decode(b"position/0", before.value or b"", Position) == VALUE
    again.committed()
    assert again.is_due(NOW + LIFETIME_MS)
    assert again.renew(NOW + LIFETIME_MS)


def test_a_worker_looks_after_its_own_records_only(tmp_path: Path) -> None:
    """What another worker owns is not this one's to write anew, and its key waits for the other's word."""
    workers = [numbered(tmp_path) for _ in range(2)]
    for shard, codec in enumerate(workers):
        codec.share(shard, 2, lambda key, shard=shard: key.endswith(b"%d" % shard))  # type: ignore[misc]
    for shard, codec in enumerate(workers):
        codec.renew(NOW)
        for out in outs(codec, b"position/%d" % shard):
            workers[1 - shard].found(b"position/%d" % shard, out.value)
    one, other = workers
    assert one.renew(NOW + LIFETIME_MS)
    outs(one, b"position/0")
    one.committed()
    assert NOW in StateKeys(tmp_path, LIFETIME_MS).numbers()
    assert other.renew(NOW + LIFETIME_MS)
    outs(other, b"position/1")
    other.committed()
    assert NOW not in StateKeys(tmp_path, LIFETIME_MS).numbers()


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """The error says which number is missing and where it was looked for, and not that state.key is wrong."""
    codec = numbered(tmp_path / "there")
    codec.renew(NOW)
    value = codec.encode(b"position/5", VALUE)
    with pytest.raises(StateUnreadable, match=f"number {NOW}, is not in .*elsewhere"):
        numbered(tmp_path / "elsewhere").decode(b"position/5", value, Position)


def test_a_stage_that_is_built_seals_under_the_newest_key_there_is(tmp_path: Path) -> None:
    """A process that stood by while others began a new key must not write under the one that they have passed."""
    stood_by, other = StateKeys(tmp_path, LIFETIME_MS), StateKeys(tmp_path, LIFETIME_MS)
    stood_by.ensure_current(NOW)
    newer = other.ensure_current(NOW + LIFETIME_MS)  # its clock is ahead
    codec = StateCodec(KEY, "attach", stood_by)
    codec.renew(NOW + 1)
    assert number_of(codec.encode(b"position/5", VALUE)) == newer.number
