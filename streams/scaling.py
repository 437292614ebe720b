"""How many workers a role has: reads the layout, and writes the next one, for `evenstream scale` and whoever else asks.

The topic keeps one record a role, so two records of one generation would leave readers with different layouts. Whoever
writes therefore does it as governance does: under one transactional id a role, which fences whoever was at it, and only
then reads the topic to its end.

That id is the role's own, and so is the principal that may use it: whoever divides a role holds its key folder anyway,
and nobody else needs to write to `keys`. It ends in a word where its workers' ids end in two numbers
(``Settings.transactional_id``), so that neither ever fences the other.
"""

from __future__ import annotations

import os
from pathlib import Path

from confluent_kafka import KafkaException

from secure_agg import KeyFileError
from secure_agg.keyring import load_role, load_trusted
from streams.control import ControlPlane
from streams.errors import EvenstreamError, InputError, KafkaUnavailable
from streams.kafka.clients import make_producer
from streams.kafka.refusals import is_refusal, refused
from streams.layouts import BegunLayout, Layouts
from streams.public_topics import PublicTopics
from streams.records.layout import SHARDED_ROLES, Layout, sign_layout
from streams.settings import Settings

MOST_SEAL_SHARDS = 64
_TRANSACTION_SECONDS = 30.0


def most_shards(settings: Settings, role: str) -> int:
    """How many workers of a role can have something to do; :class:`InputError` where the role cannot be divided."""
    if role not in SHARDED_ROLES:
        raise InputError(f"{role!r} is always one worker; seal and attach can be several")
    return settings.topics.partitions if role == "attach" else MOST_SEAL_SHARDS


def present(settings: Settings, role: str, begun: Path | None = None) -> Layout:
    """The layout in force, checked with the keys that the role's folder pins.

    That is what `keys` holds now, unless the role's workers have begun a later one.

    Args:
        begun: the file in which they keep that, or a copy; by default that in the role's state folder, if it is here.

    Raises:
        InputError: the role cannot be divided, or there is no such file.
        EvenstreamError: its key folder is missing, the file is no layout of the role, or Kafka.
    """
    return _layouts(settings, role, begun).of(role)


def _layouts(settings: Settings, role: str, begun: Path | None) -> Layouts:
    most_shards(settings, role)
    try:
        trusted = load_trusted(settings.keys.dir / role)
    except KeyFileError as error:
        raise EvenstreamError(str(error)) from None
    control = ControlPlane.of(trusted, settings)
    path = begun or settings.layout_file(role)
    if begun is not None or os.access(path, os.R_OK):  # a folder that is the role's alone says nothing
        kept = BegunLayout(path, role, trusted.identities).read()
        if kept is None:
            raise InputError(f"{path} does not exist; workers keep the layout that they have begun in such a file")
        control.layouts.begin(*kept)
    return PublicTopics(settings, trusted).add_keys(control).layouts


def transactional_id(settings: Settings, role: str) -> str:
    """Under which layouts of a role are written."""
    return f"{settings.group(role)}.scale"


def scale(
    settings: Settings, role: str, shards: int, now_ms: int, begun: Path | None = None, *, at_most: bool = False
) -> Layout:
    """Divide a role's partitions among ``shards`` workers from now on; they follow by themselves.

    Args:
        now_ms: epoch milliseconds, written into the record.
        begun: see :func:`present`.
        at_most: leave a layout of as many shards, or fewer, as it is.

    Returns:
        The layout in force: the one that was there, where it has as many shards already and `keys` holds it.

    Raises:
        InputError: too many, too few, or a role that cannot be divided.
        AccessRefused: these credentials are not the role's.
        KafkaUnavailable: it could not be written; what was there stays in force.
    """
    most = most_shards(settings, role)
    if not 1 <= shards <= most:
        limit = "topics.partitions: one that owns no partition has nothing to do" if role == "attach" else "the limit"
        raise InputError(f"expected 1 to {most} shards of {role!r} ({limit}), got {shards}")
    try:
        identity = load_role(settings.keys.dir, role, settings.deployment).identity
    except KeyFileError as error:
        raise EvenstreamError(str(error)) from None
    producer = make_producer(settings, transactional_id(settings, role))
    try:
        producer.init_transactions(_TRANSACTION_SECONDS)
        layouts = _layouts(settings, role, begun)
        known = layouts.of(role)
        if at_most and known.shards <= shards:
            return known
        if known.shards == shards and layouts.out_of_place(role) is None:
            return known
        record = known.next(role, shards, now_ms)
        signed = sign_layout(identity, record)
        producer.begin_transaction()
        producer.produce(settings.topic("keys"), key=signed.key, value=signed.value, partition=0)
        producer.commit_transaction(_TRANSACTION_SECONDS)
    except KafkaException as error:
        if is_refusal(error.args[0]):
            written_as = f"transactional id {transactional_id(settings, role)} on topic {settings.topic('keys')}"
            raise refused(settings, f"it may not write under {written_as}; {role}'s own principal may") from None
        raise KafkaUnavailable(f"the layout of {role!r} could not be written: {error.args[0].str()}") from None
    return Layout.of(record)
