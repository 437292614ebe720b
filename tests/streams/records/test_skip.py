"""Skip records: read back as written, and by nobody's word but a pinned operator's, for this deployment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy import key_id
from secure_agg import Stream
from streams.errors import SkipInvalid
from streams.records.skip import GivenUp, Skip, VoidWindows, is_skip
from streams.skips import Skips

GOLDEN = Path(__file__).parent / "golden" / "skip.json"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PINNED = {key_id(KEY.public_key()): KEY.public_key()}
SOURCE, SPEC = bytes(31) + b"\x01", bytes(31) + b"\x02"


def make(key: Ed25519PrivateKey = KEY, **changes: object) -> Skip:
    """A skip record."""
    fields = {
        "deployment": "prod",
        "topic": "shares",
        "partition": 2,
        "offset": 1234,
        "streams": (GivenUp(SOURCE.hex(), 0, 17, 20), GivenUp(SOURCE.hex(), 1, 5, 6)),
        "windows": (VoidWindows("feed", 3, SPEC.hex(), 10_000, 20_000),),
        "reason": "b's epoch keys are lost, as löst as can be",
        "at_ms": 1_764_000_000_000,
    } | changes
    return Skip.signed(key, **fields)  # type: ignore[arg-type]


def test_golden() -> None:
    """The exact bytes are those of the golden file: what was signed yesterday verifies tomorrow."""
    assert make().encode() + b"\n" == GOLDEN.read_bytes()
    read = Skip.decode(GOLDEN.read_bytes().rstrip(b"\n"))
    assert read == make()
    read.verify(deployment="prod", operator_keys=PINNED)
    assert is_skip(read.encode())
    assert read.topic_key() == b"skip/shares/2"


def _changed(**changes: object) -> Callable[[], Skip]:
    return lambda: msgspec.structs.replace(make(), **changes)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (lambda: make(Ed25519PrivateKey.generate()), "by a key that is not trusted here"),
        (lambda: make(deployment="test"), "was signed for deployment 'test'"),
        (_changed(partition=3), "changed after signing"),
        (_changed(topic="sealed"), "changed after signing"),
        (_changed(offset=1235), "changed after signing"),
        (_changed(streams=()), "changed after signing"),
        (_changed(windows=()), "changed after signing"),
        (_changed(reason="another"), "changed after signing"),
        (_changed(at_ms=0), "changed after signing"),
        (_changed(key_id="0" * 16), "by a key that is not trusted here"),
    ],
)
def test_nobody_elses_word(record: Callable[[], Skip], says: str) -> None:
    """Another key, another deployment, and any field that was changed after signing are refused."""
    with pytest.raises(SkipInvalid, match=says):
        record().verify(deployment="prod", operator_keys=PINNED)


def test_without_an_operator_nobody_can_skip() -> None:
    """A set of keys of an earlier version pins none, and the message says so."""
    with pytest.raises(SkipInvalid, match="pins no operator key"):
        make().verify(deployment="prod", operator_keys={})


def _edited(**changes: object) -> bytes:
    content = json.loads(make().encode()) | changes
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        make().encode() + b" ",
        make().encode()[:-1],
        _edited(kind="revocation"),
        _edited(topic="releases-a"),
        _edited(partition=-1),
        _edited(offset=1 << 64),
        _edited(reason=" "),
        _edited(reason="x" * 2001),
        _edited(signature=""),
        _edited(signature="!" * 88),
        _edited(more=1),
        _edited(streams=[{"source": SOURCE.hex(), "i": 0, "from_sequence": 5, "until_sequence": 5}]),
        _edited(windows=[msgspec.to_builtins(VoidWindows("feed", 1, SPEC.hex(), 9, 9))]),
        b'{"kind":"skip"' + b" " * (512 * 1024) + b"}",
    ],
)
def test_malformed(data: bytes) -> None:
    """Whatever is not the record's one spelling is refused with what to do."""
    with pytest.raises(SkipInvalid, match="skip record"):
        Skip.decode(data)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """No bytes are taken for a record, and none crash the reader."""
    assert not is_skip(data)
    with pytest.raises(SkipInvalid):
        Skip.decode(data)


def test_an_empty_range_cannot_be_signed() -> None:
    """What no role would read back is not signed."""
    with pytest.raises(SkipInvalid):
        make(streams=(GivenUp(SOURCE.hex(), 0, 5, 5),))


# -- what a role has read ---------------------------------------------------------------------------------------------

STREAM = Stream(SOURCE, 0, 2)


def skips(*records: Skip) -> Skips:
    """What a role knows that has read these."""
    known = Skips()
    for record in records:
        assert known.add(record)
        assert not known.add(record)
    return known


def test_numbers_are_given_up_over_records() -> None:
    """Ranges of several records add up; a hole in them, another stream or another partition is not given up."""
    known = skips(make(), make(streams=(GivenUp(SOURCE.hex(), 0, 20, 22),)))
    assert known.give_up("shares", STREAM, 17, 22)
    assert known.give_up("shares", STREAM, 19, 21)
    assert not known.give_up("shares", STREAM, 16, 18)
    assert not known.give_up("shares", STREAM, 21, 23)
    assert not known.give_up("shares", Stream(SOURCE, 1, 2), 17, 18)
    assert not known.give_up("shares", Stream(SOURCE, 0, 1), 17, 18)
    assert not known.give_up("shares", Stream(SPEC, 0, 2), 17, 18)


def test_what_attach_left_out_the_parties_do_without() -> None:
    """A skip of `sealed` holds for readers of `shares`; one of `shares` is nothing to attach."""
    assert not skips(make()).give_up("sealed", STREAM, 17, 20)
    assert skips(make(topic="sealed")).give_up("sealed", STREAM, 17, 20)
    assert skips(make(topic="sealed")).give_up("shares", STREAM, 17, 20)


def test_void_windows() -> None:
    """A window of any level that touches the time is void; its neighbours and other revisions are not."""
    known = skips(make())
    assert known.void(SPEC, 10_000, 20_000)
    assert known.void(SPEC, 0, 60_000)
    assert known.void(SPEC, 19_999, 29_999)
    assert not known.void(SPEC, 0, 10_000)
    assert not known.void(SPEC, 20_000, 30_000)
    assert not known.void(SOURCE, 10_000, 20_000)


def test_where_a_lost_position_goes_on() -> None:
    """Only ahead, only on the topic and partition that were named."""
    known = skips(make(), make(offset=1300))
    assert known.go_on_from("shares", 2, 100) == 1300
    assert known.go_on_from("shares", 2, 1300) is None
    assert known.go_on_from("shares", 1, 100) is None
    assert known.go_on_from("sealed", 2, 100) is None
