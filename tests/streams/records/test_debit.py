"""A ledger's record: its bytes, and that no one debits in another's name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_records import DEBIT, TRUSTED, accepted, as_hex, debited, golden, identity, with_section

from secure_agg import PinnedIdentities, SignatureInvalid
from streams.errors import RecordMalformed
from streams.records.debit import SignedDebit

VALUE = debited().encode()


def judge(value: bytes) -> SignedDebit:
    """Read and verify, as party a does at its start."""
    signed = SignedDebit.decode(value)
    signed.verify("a", TRUSTED)
    return signed


@given(debit=st.binary(max_size=400), party=st.sampled_from("ab"))
def test_round_trip(debit: bytes, party: str) -> None:
    """A debit's bytes come back to the last one, under its party's signature."""
    signed = SignedDebit.decode(SignedDebit.signed(identity(party), debit).encode())
    signed.verify(party, TRUSTED)
    assert signed.debit == debit
    assert signed.digest == hashlib.sha256(debit).digest()


def test_golden_bytes() -> None:
    """The exact bytes of one record are pinned, and are still read."""
    assert as_hex(VALUE) == as_hex(golden("debit"))
    assert judge(golden("debit")).debit == DEBIT


def test_no_change_is_accepted() -> None:
    """Debit and signature altered, cut or exchanged are malformed or badly signed."""
    assert accepted(judge, VALUE) == []


@pytest.mark.parametrize("signer", ["seal", "attach", "b", "publish"])
def test_only_the_ledgers_own_party_signs(signer: str) -> None:
    """Whoever may write to the topic, even the other party, cannot debit in this one's name."""
    with pytest.raises(SignatureInvalid, match="'a'"):
        judge(SignedDebit.signed(identity(signer), DEBIT).encode())


def test_another_deployments_debit_is_refused() -> None:
    """A debit holds in its own deployment only."""
    with pytest.raises(SignatureInvalid):
        debited().verify("a", PinnedIdentities("elsewhere", TRUSTED.keys))


@given(value=st.binary(max_size=400) | st.binary(max_size=400).map(lambda body: with_section(VALUE, 0, body)))
def test_arbitrary_bytes(value: bytes) -> None:
    """No bytes raise anything but RecordMalformed or SignatureInvalid, and only the signed ones are accepted."""
    try:
        assert judge(value) == debited()
    except (RecordMalformed, SignatureInvalid):
        return
