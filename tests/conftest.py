"""What all tests share: one real Kafka a session, and a fresh deployment a test."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from streams.kafka.dev_broker import temporary_broker
from streams.settings import Settings, load_settings

# Time limits on single examples would judge the machine; `make check` draws fewer examples than `make test`.
hypothesis.settings.register_profile("full", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.load_profile("full")


_LONGEST_FIRST = (
    "test_demo.py",
    "test_chaos.py",
    "test_noise_once.py",
    "test_doctor.py",
    "test_secured_kafka.py",
    "test_canary.py",
    "test_shards.py",
    "test_skip_kafka.py",
    "test_governance.py",
    "test_shredding.py",
    "test_alerts_end_to_end.py",
    "test_shard.py",
    "test_topics_changed.py",
    "test_subscribers.py",
)
"""Files that take half a minute or more on Kafka. `make kafka` hands files to two processes in this order, so that none
of them is begun when the other process has nothing left to do."""


def _place(item: pytest.Item) -> int:
    return _LONGEST_FIRST.index(item.path.name) if item.path.name in _LONGEST_FIRST else len(_LONGEST_FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the broker, so that `make check` never starts one by oversight; the longest files first."""
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
    items.sort(key=_place)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker's address: the one that KAFKA_BOOTSTRAP names, or one that lives as long as the session."""
    existing = os.environ.get("KAFKA_BOOTSTRAP")
    if existing:
        yield existing
        return
    folder = tmp_path_factory.mktemp("kafka")
    with temporary_broker(folder / "broker", progress=print) as broker:
        yield broker.bootstrap
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_logs(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the session broker's log segments."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("reads log segments from disk, which only the session's own broker allows: unset KAFKA_BOOTSTRAP")
    return next(tmp_path_factory.getbasetemp().glob("kafka*/broker/data"))


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a fresh deployment; further ones as ``name=value``."""

    def make(bootstrap: str = "127.0.0.1:1", *overrides: str) -> Settings:
        return load_settings(
            None,
            [
                f"deployment=t-{uuid.uuid4().hex[:10]}",
                f"kafka.bootstrap={bootstrap}",
                "topics.replication_factor=1",
                "topics.min_insync_replicas=1",
                f"keys.dir={tmp_path / 'keys'}",
                "test_cluster=true",
                "keys.governance_threshold=1",
                "privacy.rho_30_days_limit=100",
                "privacy.rho_year_limit=1000",
                *overrides,
            ],
            environment={},
        )

    return make
