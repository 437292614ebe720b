"""Runs :class:`streams.roles.attach.AttachStage` on Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import cast

from secure_agg.partition_clocks import PartitionClocks
from streams.errors import TopicMismatch
from streams.kafka.clients import first_offset, partition_count, read_tails, read_to_end
from streams.kafka.shard import ShardLoop, now_ms
from streams.records.layout import Layout
from streams.roles.attach import AttachOptions, AttachStage, SelectionKeys
from streams.roles.group_model import load_group_model
from streams.roles.member_directory import MemberDirectory
from streams.roles.process import RoleProcess, stop_on_signals
from streams.settings import Settings
from streams.stage import Record, Stage
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

_LOADED_AT_ONCE = 10_000
_OWN_OFFSETS = 100
"""How many of the last offsets of each partition of `shares` are looked at first: its newest record is enough."""


class RetainedTopics:
    """`shares` and `sealed` on Kafka; see ``streams.roles.sent_shares.RetainedLog``."""

    def __init__(self, settings: Settings, alive: Callable[[], None]) -> None:
        self._settings = settings
        self._alive = alive
        self._shares, self._sealed = settings.topic("shares"), settings.topic("sealed")

    def tails(self, partitions: Sequence[int]) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {j: [] for j in partitions}
        for record in read_tails(self._settings, self._shares, partitions, _OWN_OFFSETS, self._alive):
            found[int(record.partition() or 0)].append(record.value() or b"")
        return found

    def whole(self, j: int) -> Iterator[bytes]:
        records = read_to_end(self._settings, self._shares, partitions=[j], alive=self._alive)
        return (record.value() or b"" for record in records)

    def trimmed(self, j: int) -> bool:
        return first_offset(self._settings, self._shares, j) > 0

    def sealed_start(self, j: int) -> int:
        return first_offset(self._settings, self._sealed, j)


def load_members(
    settings: Settings,
    directory: MemberDirectory,
    owned: Sequence[int],
    health: RoleHealth | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Read partitions of `member-attributes` to their end, a piece at a time.

    Raises:
        MembersMisplaced: more of them have a record in a wrong partition than ``attach.misplaced_ratio`` allows.
    """
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
    records = read_to_end(settings, topic, partitions=owned, await_transactions=False, alive=alive)
    while chunk := list(islice(records, _LOADED_AT_ONCE)):
        directory.load(cast(list[Record], chunk))
        yield
    seconds = time.monotonic() - started
    log.info(
        "member store of %d partitions loaded in %.1f s, %.0f bytes a member",
        len(owned),
        seconds,
        directory.store.bytes_per_member,
    )
    if directory.misplaced:
        if health is not None:
            health.refused("misplaced", directory.misplaced)
        directory.require_placed(settings.attach.misplaced_ratio)
        log.error("%s", directory.misplaced_report())
    if directory.unreadable_self_ids:
        log.warning(
            "%d Self-IDs name no group of the model (%s): their members count without one",
            directory.unreadable_self_ids,
            ", ".join(directory.model.groups),
        )


class ShardMembers:
    """The members of this worker's partitions, whichever these are at the time.

    Where a layout brings partitions that are not followed yet, all of its partitions are loaded into a new directory,
    beside the one that is in use; where it only takes some away, these are followed no more.
    """

    def __init__(
        self, settings: Settings, new: Callable[[], MemberDirectory], health: RoleHealth, alive: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._health = health
        self._alive = alive
        self._topic = settings.topic("member-attributes")
        self._new = new
        self._loaded = new()
        self._next: tuple[Layout, MemberDirectory] | None = None

    def prepare(self, layout: Layout) -> Iterator[None]:
        """Load what the layout brings, a piece at a time; nothing where that was done before."""
        owned = self._owned(layout)
        if self._follows(self._loaded, owned) or (self._next is not None and self._next[0] == layout):
            return
        fresh = self._new()
        yield from load_members(self._settings, fresh, owned, self._health, self._alive)
        self._next = layout, fresh

    def take(self, layout: Layout) -> MemberDirectory:
        """The directory for a layout that was prepared, which follows the layout's partitions and no others."""
        if self._next is not None and self._next[0] == layout:
            self._loaded = self._next[1]
        self._next = None
        lost = self._loaded.keep_only(self._owned(layout))
        if lost:  # another worker counts their members from here on, and does not see them
            self._health.refused("misplaced", lost)
            log.error("%s", self._loaded.misplaced_report())
        return self._loaded

    def _owned(self, layout: Layout) -> list[int]:
        return list(layout.owns(self._settings.attach.shard, self._settings.topics.partitions))

    def _follows(self, directory: MemberDirectory, owned: list[int]) -> bool:
        return bool(owned) and all((self._topic, j) in directory.positions for j in owned)


def run(settings: Settings) -> None:
    """Run one worker of `attach` until it is told to stop."""
    stop = stop_on_signals()
    with ThreadPoolExecutor(1) as beside:  # while the process waits for Kafka's answers
        loading = beside.submit(load_group_model, settings.attach.model)
        process = RoleProcess.start("attach", settings)
        model = loading.result()
    epochs = process.epoch_keys()
    process.reader.catch_up()
    process.announce_epoch(epochs, now_ms())
    receiving = process.receiving_keys(epochs)
    clocks = PartitionClocks(settings.epoch_folder("attach"), settings.topics.partitions)
    member_key = process.keys.derive("members")
    members = ShardMembers(
        settings,
        lambda: MemberDirectory(model, member_key, settings.topics.partitions),
        process.health,
        process.pulse.beat,
    )

    def build(layout: Layout) -> AttachStage:
        return AttachStage(
            AttachOptions(
                partitions=settings.topics.partitions,
                commit_interval_ms=int(settings.attach.commit_interval_seconds * 1000),
                shard=settings.attach.shard,
                shards=layout.shards,
                misplaced_ratio=settings.attach.misplaced_ratio,
            ),
            process.topics("sealed", "shares", "state-attach"),
            process.keys.identity,
            process.control,
            process.sending_keys(),
            receiving,
            process.state_codec(),
            process.health,
            members.take(layout),
            SelectionKeys.of(process.keys),
            clocks,
        )

    retained = RetainedTopics(settings, process.pulse.beat)

    def verify(stage: Stage) -> None:
        assert isinstance(stage, AttachStage)
        stage.check_sent(retained, now_ms())

    keep_epochs = process.epoch_keeper(epochs, receiving)
    loop = ShardLoop(
        settings,
        role="attach",
        shard=settings.attach.shard,
        state_topics=(settings.topic("state-attach"),),
        build=build,
        control=process.reader,
        health=process.health,
        verify=verify,
        tick=keep_epochs,
        prepare=members.prepare,
        let_go=lambda: process.let_go(receiving),
        alive=process.pulse.beat,
    )
    process.work(loop, stop)
