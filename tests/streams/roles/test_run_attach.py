"""Loading members from Kafka: what a record in a wrong partition does at attach's start."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from estimator import RaceModel
from streams.errors import MembersMisplaced
from streams.kafka import topics
from streams.kafka.clients import make_producer
from streams.kafka.partitioner import partition_of
from streams.roles.member_directory import MemberDirectory
from streams.roles.run_attach import load_members
from streams.settings import Settings
from streams.watch.health import RoleHealth

pytestmark = pytest.mark.kafka

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
