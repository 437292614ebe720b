"""Runs :class:`streams.roles.attach.AttachStage` on Kafka."""

from __future__ import annotations

import logging
import time
from itertools import islice
from typing import cast

from streams.errors import TopicMismatch
from streams.kafka.clients import partition_count, read_to_end
from streams.kafka.shard import ShardLoop, now_ms
from streams.roles.attach import AttachOptions, AttachStage
from streams.roles.group_model import load_group_model
from streams.roles.member_directory import MemberDirectory
from streams.roles.process import RoleProcess, stop_on_signals
from streams.settings import Settings
from streams.stage import Record

log = logging.getLogger(__name__)

_LOADED_AT_ONCE = 10_000


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
    model = load_group_model(settings.attach.model)
    process = RoleProcess.start("attach", settings)
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
            process.keys.derive("cap"),
        )

    loop = ShardLoop(
        settings,
        role="attach",
        shard=options.shard,
        state_topics=(settings.topic("state-attach"),),
        build=build,
        control=process.reader,
        health=process.health,
        tick=process.epoch_keeper(epochs),
    )
    process.work(loop, stop)
