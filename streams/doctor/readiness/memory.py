"""Check: will attach's members fit into the memory that this process may have?

How many members there are is bounded from above by the records of the partitions that this worker owns, and by nothing
from below: compaction takes older records of a member away and moves no offset, so that the bound grows for as long as
members are written again. No worker shows how many it holds. So this tells, and calls nothing wrong: a check that runs
before each upgrade may not stop the one that brings more memory or more workers. What the limit is, the control group
says, or else the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its API

from streams.doctor.findings import Finding
from streams.doctor.readiness.subject import Subject
from streams.kafka.clients import partition_count, shared_admin

CHECK = "memory"

_MEMBER_BYTES = 40
"""At most, in the member store (``streams.roles.member_directory``)."""
_COPIES = 2
"""Where a layout brings partitions, all members are loaded anew beside those in use; so do arrays that grow."""
_BASE_BYTES = 400 * 2**20
"""Python with its libraries and the Census pack take 175 MB, and each of Kafka's clients buffers up to 32 MiB."""
_MIB = 2**20


def check(subject: Subject) -> Iterator[Finding]:
    """One finding, of attach."""
    if subject.role != "attach":
        return
    if subject.is_elsewhere:
        yield Finding(CHECK, "ok", "the memory of where attach runs is not looked at from here")
        return
    settings = subject.settings
    topic = settings.topic("member-attributes")
    shards = subject.control.layout("attach").shards if subject.has_trusted else 1
    # A worker beyond the layout stands by: it will have a part of the next one, and is asked as if it were its first.
    shard = settings.attach.shard % shards
    owned = range(shard, partition_count(settings, topic), shards)
    yield judge(_records(subject, topic, owned), *limit_bytes())


def judge(records: int, limit: int, whose: str) -> Finding:
    """What so many records of members need, at most, against a limit, both in bytes."""
    needs = _BASE_BYTES + _COPIES * _MEMBER_BYTES * records
    most = f"at most {records:,} members: there are as many records"
    if needs <= limit:
        return Finding(CHECK, "ok", f"{most}, which need up to {_mib(needs):,} MiB, of {_mib(limit):,} MiB ({whose})")
    return Finding(
        CHECK,
        "ok",
        f"{most}, and compaction may have left fewer. For so many, {_mib(limit):,} MiB ({whose}) may be too little; a "
        f"limit of {_mib(needs):,} MiB would be enough for all of them, and so would more workers (`evenstream scale "
        "attach`)",
    )


def _mib(count: int) -> int:
    return -(-count // _MIB)


def _records(subject: Subject, topic: str, owned: range) -> int:
    client, timeout = shared_admin(subject.settings), subject.settings.kafka.request_timeout_seconds
    found = []
    for end in (OffsetSpec.latest(), OffsetSpec.earliest()):  # type: ignore[no-untyped-call]
        wanted: Any = {TopicPartition(topic, i): end for i in owned}
        answers = client.list_offsets(wanted, request_timeout=timeout) if wanted else {}
        found.append(sum(int(answer.result(timeout).offset) for answer in answers.values()))
    return max(0, found[0] - found[1])


def limit_bytes(root: Path = Path("/")) -> tuple[int, str]:
    """The memory that this process may have, and who says so: the least of its control groups, else the machine.

    Args:
        root: where /proc and /sys lie.
    """
    available = _available(root)
    limits = [limit for limit in (_version_2(root), _version_1(root)) if limit is not None and limit < available[1]]
    return (min(limits), "its control group") if limits else (available[0], "available on this machine")


def _available(root: Path) -> tuple[int, int]:
    """What the machine has left, and all that it has."""
    said: dict[str, int] = {}
    for line in (root / "proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        said[name] = 1024 * int(rest.split()[0])
    total = said["MemTotal"]
    return said.get("MemAvailable", total), total


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        yield controllers, path


def _version_2(root: Path) -> int | None:
    return _least(root / "sys/fs/cgroup", [path for names, path in _groups(root) if not names], "memory.max")


def _version_1(root: Path) -> int | None:
    paths = [path for names, path in _groups(root) if "memory" in names.split(",")]
    return _least(root / "sys/fs/cgroup/memory", paths, "memory.limit_in_bytes")


def _least(top: Path, paths: list[str], name: str) -> int | None:
    """The least limit of a group and of all above it; in a container its own group is the top."""
    folders = [top]
    for path in paths:
        folder = top
        for part in Path(path).parts[1:]:
            folder = folder / part
            folders.append(folder)
    limits = []
    for folder in folders:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # else "max"
            limits.append(int(text))
    return min(limits, default=None)
