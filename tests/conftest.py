"""What all tests share: one real Kafka a run, and a fresh deployment a test."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from streams.kafka.dev_broker import DevBroker
from streams.settings import Settings, load_settings

# Time limits on single examples would judge the machine; `make check` draws fewer examples than `make test`.
hypothesis.settings.register_profile("full", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.load_profile("full")


_LONGEST_FIRST = (
    "test_demo.py",
    "test_chaos.py",
    "test_secured_kafka.py",
    "test_doctor.py",
    "test_readiness_kafka.py",
    "test_canary.py",
    "test_noise_once.py",
    "test_shards.py",
    "test_topics_changed.py",
    "test_shard.py",
    "test_alerts_end_to_end.py",
    "test_governance.py",
    "test_skip_kafka.py",
    "test_subscribers.py",
    "test_ledger_commands.py",
    "test_shredding.py",
    "test_replay_as_logged.py",
    "test_dev_broker.py",
    "test_live_equals_inprocess.py",
    "test_read_only_kafka.py",
    "test_lost_state_kafka.py",
    "test_kafka.py",
    "test_concerns.py",
    "test_revocation.py",
)
"""Files that take a quarter of a minute or more on Kafka. `make kafka` hands files to its processes in this order, so
that none of them is begun when the other processes have nothing left to do."""

_KAFKA_FOLDER = "TESTS_KAFKA_FOLDER"  # evenstream refuses settings of its own prefix that it does not know


def pytest_configure(config: pytest.Config) -> None:
    """Name a folder for the run's broker, which xdist's processes hear of by their environment."""
    if not hasattr(config, "workerinput"):
        os.environ[_KAFKA_FOLDER] = tempfile.mkdtemp(prefix="evenstream-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the run's broker, if a test has asked for it, once no process can need it any more."""
    if not hasattr(config, "workerinput") and (folder := os.environ.pop(_KAFKA_FOLDER, None)):
        DevBroker(_broker_folder(folder)).stop()
        shutil.rmtree(folder, ignore_errors=True)


def _broker_folder(folder: str) -> Path:
    return Path(folder) / "broker"


def _place(item: pytest.Item) -> int:
    return _LONGEST_FIRST.index(item.path.name) if item.path.name in _LONGEST_FIRST else len(_LONGEST_FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the broker, so that `make check` never starts one by oversight; the longest files first."""
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
    items.sort(key=_place)


@pytest.fixture(scope="session")
def kafka() -> str:
    """A broker's address: the one that KAFKA_BOOTSTRAP names, or one that lives as long as the run.

    All processes of a run share it, since each broker takes 5 s of processor time to start, as long to warm up, and
    a thirtieth of a core when nothing happens. Deployments have names of their own.
    """
    existing = os.environ.get("KAFKA_BOOTSTRAP")
    if existing:
        return existing
    folder = _broker_folder(os.environ[_KAFKA_FOLDER])
    with folder.with_name("starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first starts it, the others wait for that
        return DevBroker(folder).start(progress=print).bootstrap


@pytest.fixture(scope="session")
def kafka_logs(kafka: str) -> Path:
    """The folder of the run's broker's log segments."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("reads log segments from disk, which only the run's own broker allows: unset KAFKA_BOOTSTRAP")
    return _broker_folder(os.environ[_KAFKA_FOLDER]) / "data"


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
