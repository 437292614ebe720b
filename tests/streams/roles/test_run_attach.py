"""The members of an attach worker: what a record in a wrong partition does at its start, and when attach is scaled."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from estimator import RaceModel
from streams.errors import MembersMisplaced
from streams.inprocess import MemoryRecord
from streams.kafka import topics
from streams.kafka.clients import make_producer
from streams.kafka.partitioner import partition_of
from streams.records.layout import Layout
from streams.roles.member_directory import MemberDirectory
from streams.roles.run_attach import ShardMembers, load_members
from streams.settings import Settings
from streams.watch.health import RoleHealth

PROFILE = json.dumps({"family_name": "Garcia", "zcta": "90011"}).encode()
MEMBERS = [b"member-%03d" % k for k in range(200)]


def _write(settings: Settings, *strays: tuple[bytes, bytes | None]) -> None:
    """Every member's profile in its partition, and stray records in the partition after their member's own."""
    producer = make_producer(settings, None)
    topic = settings.topic("member-attributes")
    homes = partition_of(np.array(MEMBERS), settings.topics.partitions)
    for member, j in zip(MEMBERS, homes.tolist(), strict=True):
        producer.produce(topic, key=member, value=PROFILE, partition=j)
    for member, value in strays:
        home = int(partition_of(np.array([member]), settings.topics.partitions)[0])
        producer.produce(topic, key=member, value=value, partition=(home + 1) % settings.topics.partitions)
    assert producer.flush(10) == 0


@pytest.mark.kafka
def test_stray_records_cost_their_members_and_no_start(
    kafka: str, make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """Up to the share that is allowed, strays are counted and logged, their members are out, and the rest loads."""
    settings = make_settings(kafka, "topics.partitions=4")
    topics.create(settings, topics.input_plan(settings))
    _write(settings, (MEMBERS[7], b'{"opt_out": true}'), (b"stranger", PROFILE))
    registry = CollectorRegistry()
    directory = MemberDirectory(RaceModel.load(), bytes(32), 4)
    with caplog.at_level(logging.ERROR):
        for _ in load_members(settings, directory, range(4), RoleHealth("attach", registry)):
            pass
    known = directory.countable(np.array([*MEMBERS, b"stranger"])) >= 0
    assert np.flatnonzero(~known).tolist() == [7, 200]
    labels = {"role": "attach", "reason": "misplaced"}
    assert registry.get_sample_value("evenstream_records_refused_total", labels) == 2
    assert "2 of 202 attribute records lie in another partition" in caplog.text
    assert not any(word in caplog.text for word in ("member-007", "stranger", "Garcia"))

    _write(settings, (b"one more", None))  # 3 of 403 now: fewer than one in a hundred
    strict = MemberDirectory(RaceModel.load(), bytes(32), 4)
    one_in_a_thousand = settings.model_copy(
        update={"attach": settings.attach.model_copy(update={"misplaced_ratio": 0.001})}
    )
    with pytest.raises(MembersMisplaced, match=r"3 of 403 .*attach\.misplaced_ratio"):
        for _ in load_members(one_in_a_thousand, strict, range(4), RoleHealth("attach", CollectorRegistry())):
            pass


def test_scaling_up_says_which_opt_outs_lose_their_effect(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """An opt-out in partition 0 of a member of partition 1: in force with one worker, lost with two, said and counted.

    One of a member of partition 2 stays in force; those in partition 1 are the new worker's to tell or to heed.
    """
    settings = make_settings("127.0.0.1:1", "topics.partitions=4")
    homes = partition_of(np.array(MEMBERS), 4).tolist()
    lost, kept, told, heeded = (MEMBERS[homes.index(j)] for j in (1, 2, 0, 3))
    profiles = [
        MemoryRecord(settings.topic("member-attributes"), j, k, member, PROFILE, (1, 0))
        for k, (member, j) in enumerate(zip(MEMBERS, homes, strict=True))
    ]
    strays = [
        MemoryRecord(settings.topic("member-attributes"), j, 1000, member, b'{"opt_out": true}', (1, 0))
        for member, j in ((lost, 0), (kept, 0), (told, 1), (heeded, 1))
    ]
    model, registry = RaceModel.load(), CollectorRegistry()

    def loaded(*owned: int) -> MemberDirectory:
        directory = MemberDirectory(model, bytes(32), 4)
        directory.positions = {(settings.topic("member-attributes"), j): 0 for j in owned}
        directory.load([record for record in [*profiles, *strays] if record.partition() in owned])
        return directory

    def count(directory: MemberDirectory) -> list[bool]:
        return (directory.countable(np.array([lost, kept, told, heeded])) >= 0).tolist()

    def refused() -> float | None:
        return registry.get_sample_value("evenstream_records_refused_total", {"role": "attach", "reason": "misplaced"})

    members = ShardMembers(settings, lambda: loaded(0, 1, 2, 3), RoleHealth("attach", registry), lambda: None)
    assert count(members.take(Layout())) == [False] * 4
    assert (refused(), caplog.text) == (None, "")
    new = loaded(1, 3)
    assert count(new)[0]  # the new worker sees no opt-out of a member that it counts
    assert not count(new)[3]
    assert "1 of them are of members that another worker counts" in new.misplaced_report()
    two = Layout(1, 2)
    for _ in range(2):  # whenever the worker's stage is built anew, it is said once
        directory = members.take(two)
        assert {j for _, j in directory.positions} == {0, 2}
        assert refused() == 1
        assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "1 of them are of members that another worker counts" in caplog.text
    assert "member-0" not in caplog.text
    assert not count(directory)[1]
