"""A release: its bytes, its channels, and that neither can be changed, exchanged or absurd."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from known_records import (
    NOT_UTF8,
    NOTHING_RELEASED,
    RELEASE,
    TRUSTED,
    accepted,
    as_hex,
    golden,
    hostile_frame,
    identity,
    of_version,
    packed,
    released,
    with_section,
)

from secure_agg import PinnedIdentities, SignatureInvalid
from streams.errors import RecordMalformed
from streams.records.debit import NO_DEBIT
from streams.records.release import Release, ReleasedChannel, SignedRelease

TABLE, RECTIFIER, MOMENTS = RELEASE.channels
SHAPES = st.tuples(st.integers(1, 40), st.integers(2, 6))
ELEMENTS = st.integers(0, (1 << 64) - 1)
BYTES = 8 * (12 + 12 + 23)
VALUE = released().encode()


def changed(**changes: Any) -> Release:
    """The known release, changed."""
    return msgspec.structs.replace(RELEASE, **changes)


def judge(value: bytes) -> SignedRelease:
    """Read and verify, as `publish` does."""
    signed = SignedRelease.decode(value)
    signed.verify(TRUSTED)
    return signed


@given(
    shape=SHAPES, others=st.sets(st.sampled_from(["rectifier", "moments"])), party=st.sampled_from("ab"), data=st.data()
)
def test_round_trip(shape: tuple[int, int], others: set[str], party: Any, data: st.DataObject) -> None:
    """Channels come back in their shapes and to the last unit of the ring, under either party's signature."""
    shapes: dict[str, tuple[int, ...]] = {"table": shape, "rectifier": shape, "moments": (shape[1] + 2,)}
    names = [name for name in shapes if name == "table" or name in others]
    values = {name: data.draw(arrays.arrays(np.uint64, shapes[name], elements=ELEMENTS)) for name in names}
    channels = tuple(ReleasedChannel(name, shapes[name], 1.5, 0.25) for name in names)  # type: ignore[arg-type]
    release = changed(party=party, channels=channels)
    signed = SignedRelease.signed(identity(party), release, values)
    again = judge(signed.encode())
    assert again == signed
    assert again.release == release
    for name in shapes:
        channel = again.channel(name)
        assert (channel is None) == (name not in names)
        if channel is not None:
            assert channel.dtype == np.uint64
            assert np.array_equal(channel, values[name])


@pytest.mark.parametrize("status", ["void", "refused"])
def test_no_values_unless_released(status: str) -> None:
    """A window that is void or refused is released without values, and with them it is malformed."""
    signed = released(changed(status=status, reason="why", debit=NO_DEBIT))
    assert judge(signed.encode()).channel("table") is None
    with pytest.raises(RecordMalformed, match="expected 0 bytes of values, got 96"):
        SignedRelease.decode(with_section(signed.encode(), 1, bytes(96)))


@pytest.mark.parametrize(
    "changes",
    [
        {"debit": NO_DEBIT},
        {**NOTHING_RELEASED, "debit": RELEASE.debit},
        {**NOTHING_RELEASED, "status": "refused", "debit": RELEASE.debit},
    ],
)
def test_a_debit_is_named_exactly_where_something_is_released(changes: dict[str, Any]) -> None:
    """What is released is paid for, and what is not released claims no payment, whoever signed it."""
    with pytest.raises(RecordMalformed, match="expected the debit that pays for what is released"):
        judge(released(changed(**changes)).encode())


@pytest.mark.parametrize("version", [1, 2])
def test_golden_bytes(version: int) -> None:
    """The exact bytes of one release are pinned for each version, its values little-endian, and are read."""
    with of_version(version):
        value = released().encode()
    assert as_hex(value) == as_hex(golden(f"release_{version}"))
    again = judge(golden(f"release_{version}"))
    assert again.encode() == value
    assert again.release == RELEASE
    table, moments = again.channel("table"), again.channel("moments")
    assert table is not None and moments is not None
    assert table[0].tolist() == [(k * 0x0123456789ABCDF4) % (1 << 64) for k in range(6)]
    assert moments[1] == 0x0123456789ABCDF6
    assert again.values[8:16] == bytes.fromhex("f4cdab8967452301")


def test_bytes_never_change() -> None:
    """The same release signed twice is the same bytes: every copy, aborted or not, is one and the same."""
    assert released().encode() == released().encode()


def test_no_change_is_accepted() -> None:
    """Body, values and signature altered, cut or exchanged are malformed or badly signed, in either version."""
    assert accepted(judge, VALUE) == []
    assert accepted(judge, golden("release_1")) == []


@pytest.mark.parametrize("name", [name for name in Release.__struct_fields__ if name != "party"])
def test_every_field_is_signed(name: str) -> None:
    """Changing one field of the body leaves a signature that does not hold."""
    value = getattr(RELEASE, name)
    other: Any = {"status": "void", "reason": "x", "channels": (TABLE, MOMENTS)}.get(name)
    if other is None:
        other = (
            value * 2 if isinstance(value, int | float) else value[:-1] + (b"!" if isinstance(value, bytes) else "!")
        )
    body = packed(list(msgspec.structs.astuple(changed(**{name: other}))))
    with pytest.raises((SignatureInvalid, RecordMalformed)):
        judge(with_section(VALUE, 0, body))


@pytest.mark.parametrize("signer", ["seal", "attach", "b", "publish"])
def test_only_the_party_that_it_names_signs(signer: str) -> None:
    """One party cannot release in the other's name, nor can any other role."""
    values = {channel.name: np.zeros(channel.shape, np.uint64) for channel in RELEASE.channels}
    with pytest.raises(SignatureInvalid, match="'a'"):
        judge(SignedRelease.signed(identity(signer), RELEASE, values).encode())


def test_another_deployments_release_is_refused() -> None:
    """A release holds in its own deployment only."""
    with pytest.raises(SignatureInvalid):
        released().verify(PinnedIdentities("elsewhere", TRUSTED.keys))


@pytest.mark.parametrize("size", [0, 8, 96, BYTES - 8, BYTES - 1, BYTES + 1, BYTES + 8, 2 * BYTES])
def test_the_values_have_the_size_that_the_body_says(size: int) -> None:
    """Another number of bytes than 8 for each element of each channel is malformed, whoever signed it."""
    with pytest.raises(RecordMalformed, match=f"expected {BYTES} bytes of values, got {size}"):
        SignedRelease.decode(with_section(VALUE, 1, bytes(size)))


ROW = ReleasedChannel("table", (12,), 1.0, 0.1)
MATRIX = ReleasedChannel("moments", (23, 1), 1.0, 0.1)


@pytest.mark.parametrize(
    "channels",
    [(RECTIFIER,), (MOMENTS,), (MOMENTS, TABLE), (TABLE, MOMENTS, RECTIFIER), (TABLE, TABLE), (TABLE, MOMENTS, MOMENTS),
     (ROW,), (TABLE, MATRIX)],
    ids=lambda channels: "-".join(channel.name for channel in channels),
)  # fmt: skip
def test_channels_have_one_order_and_their_shapes(channels: tuple[ReleasedChannel, ...]) -> None:
    """The table, then rectifier and moments, each at most once, with two axes and with one."""
    release = changed(channels=channels, **NOTHING_RELEASED)
    with pytest.raises(RecordMalformed, match="expected the table, then rectifier and moments"):
        judge(released(release).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("party", "c"),
        ("party", ""),
        ("party", None),
        ("measurement", ""),
        ("measurement", "x" * 64),
        ("revision", -1),
        ("spec", bytes(31)),
        ("level", ""),
        ("level", "x" * 17),
        ("start_ms", 1 << 54),
        ("end_ms", "0"),
        ("status", "published"),
        ("reason", "x" * 201),
        ("reason", None),
        ("coverage", bytes(33)),
        ("debit", bytes(31)),
        ("channels", []),
        ("channels", [["table", [2, 6], 1.0, 0.1]] * 4),
        ("channels", [["tables", [2, 6], 1.0, 0.1]]),
        ("channels", [["table", [0, 6], 1.0, 0.1]]),
        ("channels", [["table", [65_536, 6], 1.0, 0.1]]),
        ("channels", [["table", [], 1.0, 0.1]]),
        ("channels", [["table", [1, 2, 6], 1.0, 0.1]]),
        ("channels", [["table", [2, 6], "1", 0.1]]),
        ("channels", [["table", [2, 6], 1.0, None]]),
        ("channels", [["table", [2, 6], 1.0]]),
        ("channels", [["table", [2, 6], 1.0, 0.1, 0]]),
    ],
)
def test_out_of_range_is_malformed(name: str, value: Any) -> None:
    """A field of another type, size or range is refused where the record is read."""
    fields = list(msgspec.structs.astuple(RELEASE))
    fields[Release.__struct_fields__.index(name)] = value
    with pytest.raises(RecordMalformed, match="release"):
        SignedRelease.decode(with_section(VALUE, 0, packed(fields)))


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"channels": (TABLE, msgspec.structs.replace(MOMENTS, **{name: value}))}
            for name in ("sigma_units", "rho")
            for value in (float("nan"), float("inf"), 2.0**126, -1.0)
        ),
        {"start_ms": RELEASE.end_ms},
        {"start_ms": RELEASE.end_ms + 1},
    ],
)
def test_a_signed_absurdity_is_malformed(changes: dict[str, Any]) -> None:
    """No party's signature makes noise of an impossible size, or a window without length, a release."""
    with pytest.raises(RecordMalformed, match="release"):
        judge(released(changed(**changes)).encode())


def test_text_that_is_not_utf8_is_malformed() -> None:
    """Text that is not UTF-8 is malformed like anything else, and does not end `publish`."""
    for word in (b"feed", b"released", b"rectifier"[:8]):
        with pytest.raises(RecordMalformed, match="utf-8"):
            SignedRelease.decode(VALUE.replace(word, NOT_UTF8 * (len(word) // 4)))


def test_coverage_is_bound_to_its_window() -> None:
    """Equal coverage of two windows, levels or revisions is not recognisable: each has a binding of its own."""
    bindings = {
        changed(**changes).coverage_binding()
        for changes in ({}, {"end_ms": RELEASE.end_ms + 10_000}, {"level": "1m"}, {"spec": bytes(32)})
    }
    assert len(bindings) == 4
    assert RELEASE.coverage_binding() == bytes(range(32)) + b"/10s/1764000010000"
    assert changed(party="b").coverage_binding() == RELEASE.coverage_binding()


def test_keys_name_the_window() -> None:
    """Both parties' releases of a window have one key, on the topic and in memory."""
    assert RELEASE.topic_key() == b"feed/10s/1764000010000"
    assert RELEASE.key == changed(party="b").key == ("feed", "10s", 1_764_000_010_000)


@given(value=hostile_frame(VALUE, 0))
def test_arbitrary_bytes(value: bytes) -> None:
    """No bytes raise anything but RecordMalformed or SignatureInvalid, and only the signed ones are accepted."""
    try:
        assert judge(value) == released()
    except (RecordMalformed, SignatureInvalid):
        return
