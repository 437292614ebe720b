"""Publish's signature over a record: which bytes it covers, and that nothing without it is taken in."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st
from known_records import DEPLOYMENT, TRUSTED, identity
from metric_records import void, window, withdrawn

from secure_agg import PinnedIdentities
from streams.errors import NotPublished
from streams.records.metric import FairnessMetric
from streams.records.published import NOT_GENUINE, UNSIGNED, PublishedRecord, signature, signed_headers

KEY, VALUE = window().topic_key(), window().encode()
HEADERS = signed_headers(window(), VALUE, identity("publish"))


def refused(key: object = KEY, headers: Any = HEADERS, value: bytes | None = VALUE, **of: Any) -> str:
    """Why a record is none of publish's."""
    with pytest.raises(NotPublished, match="publish has") as error:
        PublishedRecord.verified(of.get("trusted", TRUSTED), key, headers, value)
    assert "feed" not in str(error.value)
    return error.value.reason


def changed(name: str, value: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers with one of them changed, or added."""
    return [(each, was) for each, was in HEADERS if each != name] + [(name, value)]


@pytest.mark.parametrize("record", [window(), void(), withdrawn()], ids=lambda record: record.status)
def test_what_publish_writes_verifies(record: FairnessMetric) -> None:
    """Each kind of record, with the same header each time; its version is that of its id."""
    value = record.encode()
    headers = signed_headers(record, value, identity("publish"))
    assert headers == signed_headers(record, value, identity("publish"))
    assert headers[:-1] == record.headers(DEPLOYMENT)
    found = PublishedRecord.verified(TRUSTED, record.topic_key(), headers, value)
    assert found == PublishedRecord(record.topic_key(), value, record.version)


def test_the_bytes_that_are_signed() -> None:
    """Those of docs/protocol.md, put together by hand."""
    parts = [b"evenstream/1/golden/publish/window", KEY, KEY + b"/1", hashlib.sha256(VALUE).digest()]
    message = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    public = TRUSTED.keys["publish"]
    public.verify(base64.b64decode(dict(HEADERS)["ce_signature"]), message)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(dict(HEADERS)["ce_signature"]), message[:-1])


@given(
    key=st.just(KEY) | st.binary(max_size=40),
    number=st.sampled_from([b"1", b"2"]),
    value=st.just(VALUE) | st.binary(max_size=40),
)
def test_a_signature_is_of_one_key_id_and_value(key: bytes, number: bytes, value: bytes) -> None:
    """A genuine header beside anything else makes nothing genuine."""
    headers = changed("ce_id", key + b"/" + number)
    if (key, number, value) == (KEY, b"1", VALUE):
        assert PublishedRecord.verified(TRUSTED, key, headers, value).version == 1
    else:
        assert refused(key, headers, value) == NOT_GENUINE


def test_what_is_refused_and_why() -> None:
    """Nobody's signature, another role's, another deployment's, or one that is not text; a tombstone."""
    assert refused(value=None) == refused(key=None) == refused(headers=None) == UNSIGNED
    assert refused(headers=HEADERS[:-1]) == UNSIGNED
    assert refused(headers=[*HEADERS, HEADERS[-1]]) == UNSIGNED
    assert refused(headers=changed("ce_signature", None)) == UNSIGNED
    for forged in (b"", b"\xff", b"AAAA", b"!" * 88, base64.b64encode(bytes(64)), HEADERS[-1][1][:-4]):
        assert refused(headers=changed("ce_signature", forged)) == NOT_GENUINE
    assert refused(headers=[*HEADERS, ("ce_id", KEY + b"/1")]) == NOT_GENUINE
    for thief in (identity("a"), identity("publish", "elsewhere")):
        assert refused(headers=signed_headers(window(), VALUE, thief)) == NOT_GENUINE
    nobody = PinnedIdentities(DEPLOYMENT, {})
    assert refused(trusted=nobody) == NOT_GENUINE


def test_the_code_for_subscribers_says_the_same() -> None:
    """The text of docs/subscribing.md, of genuine records and of what is none."""
    page = Path(__file__).parents[3] / "docs" / "subscribing.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(code, page.name, "exec"), namespace)
    by_publish = namespace["by_publish"]
    public = {role: key.public_bytes_raw().hex() for role, key in TRUSTED.keys.items()}
    trusted = {"deployment": DEPLOYMENT, "identities": public}
    assert by_publish(trusted, KEY, HEADERS, VALUE)
    for record in (void(), withdrawn()):
        value = record.encode()
        headers = signed_headers(record, value, identity("publish"))
        assert by_publish(trusted, record.topic_key(), headers, value)
        assert not by_publish(trusted, record.topic_key(), headers, value + b" ")
    for key, headers, value in (
        (KEY, None, VALUE),
        (KEY, HEADERS[:-1], VALUE),
        (KEY, HEADERS, None),
        (None, HEADERS, VALUE),
        (KEY + b"1", HEADERS, VALUE),
        (KEY, [*HEADERS, HEADERS[1]], VALUE),
        (KEY, changed("ce_signature", b"AAAA"), VALUE),
        (KEY, changed("ce_signature", b"A"), VALUE),
        (KEY, changed("ce_id", KEY + b"/2"), VALUE),
        (KEY, signed_headers(window(), VALUE, identity("a")), VALUE),
    ):
        assert not by_publish(trusted, key, headers, value)
    assert not by_publish(trusted | {"deployment": "elsewhere"}, KEY, HEADERS, VALUE)


@pytest.mark.parametrize(
    "event_id", [b"", KEY, b"feed/10s/1/1", *(KEY + b"/" + end for end in (b"", b"0", b"3", b"01", b"1" * 5000))]
)
def test_an_id_that_is_none_of_ours_is_refused(event_id: bytes) -> None:
    """Also under publish's own signature: it must not keep a window from being written."""
    signed = signature(identity("publish"), KEY, event_id, VALUE)
    assert refused(headers=[("ce_id", event_id), ("ce_signature", signed)]) == NOT_GENUINE
