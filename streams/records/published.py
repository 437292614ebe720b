"""A record of `fairness-metrics` that publish has signed: the only kind that anything here goes on from.

Whoever holds publish's password at Kafka can write to the topic; only whoever holds its identity can sign. The
signature covers the deployment, the record's key, its id and its value, so a genuine record can neither be moved under
another key nor be given another id. Ed25519 is deterministic (RFC 8032): a rebuilt record has the same header, too.

Publish at its start, reviewers' commands and the transparency page read a :class:`PublishedRecord`, which is made of
one that verifies. Any other, a tombstone among them, is as though it were not there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

from secure_agg import Identity, PinnedIdentities, SignatureInvalid
from streams.errors import NotPublished
from streams.records.metric import VERSION, WITHDRAWN_VERSION, FairnessMetric

SIGNATURE_HEADER = "ce_signature"
"""A CloudEvents extension attribute, whose names are lower-case letters and digits; bytes are base64 in one."""

UNSIGNED = "unsigned"
"""A record has no signature, as those of a version before publish signed have none."""
NOT_GENUINE = "signature"
"""It has one that does not verify, or is signed for something else than a window."""

_ROLE = "publish"
_KIND = "window"
_VERSIONS = {str(version).encode(): version for version in (VERSION, WITHDRAWN_VERSION)}


def _parts(key: bytes, event_id: bytes, value: bytes) -> tuple[bytes, bytes, bytes]:
    # The digest in the value's place: Ed25519 goes twice over what it signs, and a value can have megabytes.
    return key, event_id, hashlib.sha256(value).digest()


def signature(identity: Identity, key: bytes, event_id: bytes, value: bytes) -> bytes:
    """Publish's signature, as its header holds it: 88 characters of base64.

    Args:
        identity: of `publish`, in the deployment where the record goes.
    """
    return base64.b64encode(identity.sign(_KIND, *_parts(key, event_id, value)))


def signed_headers(record: FairnessMetric, value: bytes, identity: Identity) -> list[tuple[str, bytes]]:
    """A record's headers as it is written, with publish's signature.

    Args:
        value: the record's, encoded. identity: as for :func:`signature`.
    """
    signed = signature(identity, record.topic_key(), record.event_id().encode(), value)
    return [*record.headers(identity.deployment), (SIGNATURE_HEADER, signed)]


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """A record of a window that publish has signed; what its value says is yet to be read.

    Attributes:
        version: 1, or 2 where it takes the place of the record before it.
    """

    key: bytes
    value: bytes
    version: int

    @classmethod
    def verified(cls, trusted: PinnedIdentities, key: object, headers: Any, value: bytes | None) -> PublishedRecord:
        """From what Kafka delivers: headers as pairs of name and bytes.

        Raises:
            NotPublished: the pinned publish has not signed it, so nothing of it is to be believed.
        """
        found = _headers(headers)
        if not isinstance(key, bytes) or value is None or SIGNATURE_HEADER not in found:
            raise NotPublished(UNSIGNED, "publish has not signed it: it has no signature")
        event_id = found.get("ce_id", b"")
        try:
            signed = base64.b64decode(found[SIGNATURE_HEADER], validate=True)
            trusted.verify(_ROLE, _KIND, signed, *_parts(key, event_id, value))
        except (SignatureInvalid, binascii.Error):
            raise NotPublished(
                NOT_GENUINE, "publish has not signed it: its signature does not verify under the pinned key"
            ) from None
        named, _, number = event_id.rpartition(b"/")
        if named != key or number not in _VERSIONS:
            raise NotPublished(NOT_GENUINE, "publish has signed it, but under no id of a window that is known here")
        return cls(key, value, _VERSIONS[number])


def _headers(headers: Any) -> dict[str, bytes]:
    """Each header that is there once: of one that is there twice, nobody could say which is meant."""
    names = [name for name, _ in headers or ()]
    return {name: value for name, value in headers or () if isinstance(value, bytes) and names.count(name) == 1}
