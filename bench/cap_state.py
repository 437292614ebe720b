"""How long a restart of attach takes to find out who has counted today, in process and without Kafka.

A day at one commit a second and four partitions, read again by ``CountedRows`` as at a start of attach: with chunks
merged as they are, and, for comparison, with each commit's chunk left as it was written.

    .venv/bin/python -m bench.cap_state [SECONDS]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from prometheus_client import CollectorRegistry

from estimator import RaceModel
from privacy import parse_measurement
from streams.control import FOREVER_MS, Approved, ControlPlane
from streams.roles import counted_chunks
from streams.roles.counted_rows import BatchMembers, CountedRows
from streams.roles.member_directory import MemberDirectory
from streams.state import StateCodec
from streams.watch.health import RoleHealth

PARTITIONS = 4
MEMBERS = 100_000
ROWS_A_COMMIT = 25
DAY_MS = 86_400_000

SPEC = """
id: bench
purpose: restart of attach
source: {topic: ev, member: m, time: ts, time_format: epoch_ms}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
"""


class _Control:
    """A control plane that knows one revision."""

    def __init__(self) -> None:
        self.approved = Approved(parse_measurement(SPEC, origin="bench"), bytes(32), bytes(32), 0, FOREVER_MS, 0)

    def find(self, spec: bytes) -> Approved | None:
        return self.approved if spec == self.approved.spec else None


def _rows(control: _Control, directory: MemberDirectory) -> CountedRows:
    stub: ControlPlane = control  # type: ignore[assignment]  # find() is all that is asked of it
    return CountedRows(stub, directory, range(PARTITIONS), b"cap", b"rot", RoleHealth("attach", CollectorRegistry()))


def measure(seconds: int, runs_a_level: int) -> None:
    """Write the day, read it again, and print what it took."""
    counted_chunks.RUNS_A_LEVEL = runs_a_level
    rng = np.random.default_rng(1)
    control, codec = _Control(), StateCodec(bytes(32), "attach")
    directory = MemberDirectory(RaceModel.load(), bytes(32), PARTITIONS)
    ids = np.array([b"m%08d" % k for k in range(MEMBERS)])
    store = directory.store
    store.upsert(
        ids, np.zeros((MEMBERS, directory.model.code_width), np.uint32), np.zeros(MEMBERS, np.uint16),
        np.zeros(MEMBERS, np.uint8),
    )  # fmt: skip
    # Kept at this number by j, as MemberDirectory.load would.
    directory._members = dict.fromkeys(range(PARTITIONS), MEMBERS // PARTITIONS)  # noqa: SLF001  # no public way in
    rows, latest, written = _rows(control, directory), dict[bytes, bytes | None](), 0
    started = time.process_time()
    for second in range(seconds):
        start_ms = 20_000 * DAY_MS + second * DAY_MS // seconds
        for j in range(PARTITIONS):
            drawn = rng.integers(0, MEMBERS // PARTITIONS, ROWS_A_COMMIT) * PARTITIONS + j
            window_ms = start_ms // 10_000 * 10_000
            rows.select(control.approved, window_ms // DAY_MS, [BatchMembers(window_ms, j, ids[drawn])])
        for key, value in rows.state(codec):
            written += len(value or b"")
            if value is None:
                latest.pop(key)
            else:
                latest[key] = value
    index = {j: rows.index(j) for j in range(PARTITIONS)}
    took = time.process_time() - started
    restored = _rows(control, directory)
    started, cpu = time.perf_counter(), time.process_time()
    for key, value in latest.items():
        restored.restore(key, value, codec)
    broken = [restored.settle(j, index[j], None) for j in range(PARTITIONS)]
    seconds_read, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert broken == [None] * PARTITIONS
    print(
        f"{seconds:,} commits, {PARTITIONS} partitions, {'merged' if runs_a_level < 1 << 30 else 'as written'}: "
        f"{len(latest):,} records of {sum(len(v or b'') for v in latest.values()) / 1e6:.1f} MB to read, "
        f"{seconds_read:.2f} s, CPU {cpu:.2f} s; "
        f"written in all {written / 1e6:.0f} MB, {took / seconds * 1e3:.2f} ms of CPU a commit",
        flush=True,
    )


if __name__ == "__main__":
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 86_400
    measure(commits, 16)
    measure(commits, 1 << 30)
