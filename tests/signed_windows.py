"""Records of `fairness-metrics` under the signature of a publish, or of whoever else has a key."""

from __future__ import annotations

from estimated import run

from secure_agg import Identity
from streams.records.metric import FairnessMetric
from streams.records.published import SIGNATURE_HEADER, PublishedRecord, signature, signed_headers

Headers = list[tuple[str, bytes]]


def publish() -> Identity:
    """The publish of the pipeline of ``estimated``."""
    return run()._keys["publish"].identity


def headers_of(record: FairnessMetric, identity: Identity | None = None) -> Headers:
    """As it is written, by the pipeline's own publish if by no other."""
    return signed_headers(record, record.encode(), identity or publish())


def headers_over(identity: Identity, key: bytes, value: bytes, version: str = "1") -> Headers:
    """Those that matter of any key and value, signed."""
    event_id = key + b"/" + version.encode()
    return [("ce_id", event_id), (SIGNATURE_HEADER, signature(identity, key, event_id, value))]


def read(record: FairnessMetric, headers: Headers | None = None) -> PublishedRecord:
    """What publish takes in of it, or NotPublished."""
    trusted = run().controls["publish"].trusted.identities
    signed = headers_of(record) if headers is None else headers
    return PublishedRecord.verified(trusted, record.topic_key(), signed, record.encode())
