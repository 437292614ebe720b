"""Runs :class:`streams.roles.attach.AttachStage` on Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import cast

from streams.errors import TopicMismatch
from streams.kafka.clients import first_offset, partition_count, read_tails, read_to_end
from streams.kafka.shard import ShardLoop, now_ms
from streams.roles.attach import AttachOptions, AttachStage, SelectionKeys
from streams.roles.group_model import load_group_model
from streams.roles.member_directory import MemberDirectory
from streams.roles.process import RoleProcess, stop_on_signals
from streams.settings import Settings
from streams.stage import Record, Stage

log = logging.getLogger(__name__)

_LOADED_AT_ONCE = 10_000
_OWN_OFFSETS = 100
"""How many of the last offsets of each partition of `shares` are looked at first: its newest record is enough."""


class RetainedTopics:
    """`shares` and `sealed` on Kafka; see ``streams.roles.sent_shares.RetainedLog``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shares, self._sealed = settings.topic("shares"), settings.topic("sealed")

    def tails(self, partitions: Sequence[int]) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {j: [] for j in partitions}
        for record in read_tails(self._settings, self._shares, partitions, _OWN_OFFSETS):
            found[int(record.partition() or 0)].append(record.value() or b"")
        return found

    def whole(self, j: int) -> Iterator[bytes]:
        return (record.value() or b"" for record in read_to_end(self._settings, self._shares, partitions=[j]))

    def trimmed(self, j: int) -> bool:
        return first_offset(self._settings, self._shares, j) > 0

    def sealed_start(self, j: int) -> int:
        return first_offset(self._settings, self._sealed, j)


def load_members(settings: Settings, directory: MemberDirectory, owned: list[int]) -> None:
    """Read this worker's partitions of `member-attributes` to their end."""
    topic = settings.topic("member-attributes")
    partitions = partition_count(settings, topic)
    if partitions != settings.topics.partitions:
        raise TopicMismatch(
            f"{topic} has {partitions} partitions and `sealed` has {settings.topics.partitions}: a member's attributes "
            "must lie in the partition of the member's rows. Write the attributes to a topic with "
            f"{settings.topics.partitions} partitions, or use topics.partitions={partitions} for a new deployment"
        )
    directory.positions = {(topic, j): 0 for j in owned}
    started = time.monotonic()
    # The company's own transactions are not waited for: what they commit later comes while the role runs.
    records = read_to_end(settings, topic, partitions=owned, await_transactions=False)
    while chunk := list(islice(records, _LOADED_AT_ONCE)):
        directory.load(cast(list[Record], chunk))
    seconds = time.monotonic() - started
    log.info("member store loaded in %.1f s, %.0f bytes a member", seconds, directory.store.bytes_per_member)
    if directory.unreadable_self_ids:
        log.warning(
            "%d Self-IDs name no group of the model (%s): their members count without one",
            directory.unreadable_self_ids,
            ", ".join(directory.model.groups),
        )


def run(settings: Settings) -> None:
    """Run one worker of `attach` until it is told to stop."""
    stop = stop_on_signals()
    with ThreadPoolExecutor(1) as beside:  # while the process waits for Kafka's answers
        loading = beside.submit(load_group_model, settings.attach.model)
        process = RoleProcess.start("attach", settings)
        model = loading.result()
    options = AttachOptions(
        partitions=settings.topics.partitions,
        commit_interval_ms=int(settings.attach.commit_interval_seconds * 1000),
        shard=settings.attach.shard,
        shards=settings.attach.shards,
    )
    epochs = process.epoch_keys()
    process.reader.catch_up()
    process.announce_epoch(epochs, now_ms())
    directory = MemberDirectory(model, process.keys.derive("members"), options.partitions)
    owned = list(range(options.shard, options.partitions, options.shards))
    load_members(settings, directory, owned)
    receiving = process.receiving_keys(epochs)

    def build() -> AttachStage:
        return AttachStage(
            options,
            process.topics("sealed", "shares", "state-attach"),
            process.keys.identity,
            process.control,
            process.sending_keys(),
            receiving,
            process.codec,
            process.health,
            directory,
            SelectionKeys.of(process.keys),
        )

    retained = RetainedTopics(settings)

    def verify(stage: Stage) -> None:
        assert isinstance(stage, AttachStage)
        stage.check_sent(retained, now_ms())

    loop = ShardLoop(
        settings,
        role="attach",
        shard=options.shard,
        state_topics=(settings.topic("state-attach"),),
        build=build,
        control=process.reader,
        health=process.health,
        verify=verify,
        tick=process.epoch_keeper(epochs),
    )
    process.work(loop, stop)
