"""A million opt-outs, end to end on a real Kafka: the command, and attach's load of what it wrote.

.venv/bin/python -m bench.opt_outs [MEMBERS]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from estimator import RaceModel
from streams.inprocess import MemoryRecord
from streams.kafka import topics
from streams.kafka.dev_broker import temporary_broker
from streams.kafka.partitioner import partition_of
from streams.roles.attribute_records import OPT_OUT
from streams.roles.member_directory import MemberDirectory
from streams.roles.run_attach import load_members
from streams.settings import load_settings

PARTITIONS = 4


def load_from_memory(ids: Sequence[bytes], value: bytes, what: str) -> None:
    """Time ``MemberDirectory.load`` alone, 10,000 records at once as attach does."""
    homes = partition_of(np.array(ids), PARTITIONS).tolist()
    records = [MemoryRecord("m", j, k, key, value, (1, 0)) for k, (key, j) in enumerate(zip(ids, homes, strict=True))]
    directory = MemberDirectory(RaceModel.load(), bytes(32), PARTITIONS)
    started, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(records), 10_000):
        directory.load(records[start : start + 10_000])
    took = f"{time.perf_counter() - started:.1f} s, CPU {time.process_time() - cpu:.1f} s"
    print(f"MemberDirectory.load, {len(ids):,} {what}: {took}", flush=True)


def main(count: int) -> None:
    """Print what each step takes."""
    ids = [b"member-%08d" % k for k in range(count)]
    load_from_memory(ids, OPT_OUT, "bare opt-outs")
    load_from_memory(ids, b'{"family_name": "Garcia", "zcta": "90011", "opt_out": true}', "flagged profiles")
    with tempfile.TemporaryDirectory() as name, temporary_broker(Path(name) / "broker", progress=print) as broker:
        overrides = [
            f"deployment=b-{uuid.uuid4().hex[:8]}",
            f"kafka.bootstrap={broker.bootstrap}",
            f"topics.partitions={PARTITIONS}",
            "topics.replication_factor=1",
            "topics.min_insync_replicas=1",
        ]
        settings = load_settings(None, overrides, environment={})
        topics.create(settings, topics.input_plan(settings))
        file = Path(name) / "ids"
        file.write_bytes(b"\n".join(ids))
        arguments = [part for override in overrides for part in ("--set", override)]
        started, before = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        command = [sys.executable, "-m", "streams.cli", *arguments, "members", "opt-out", str(file)]
        subprocess.run(command, check=True)
        cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
        print(f"evenstream members opt-out: {time.perf_counter() - started:.1f} s, CPU {cpu:.1f} s", flush=True)
        directory = MemberDirectory(RaceModel.load(), bytes(32), PARTITIONS)
        started, cpu = time.perf_counter(), time.process_time()
        for _ in load_members(settings, directory, list(range(PARTITIONS))):
            pass
        took = f"{time.perf_counter() - started:.1f} s, CPU {time.process_time() - cpu:.1f} s"
        print(f"attach's load of them from Kafka: {took}", flush=True)
        assert len(directory.store) == count


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
