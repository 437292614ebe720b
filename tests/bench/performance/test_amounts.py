"""What roles had to do: processes' clocks, spans of them, and bytes on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.performance.amounts import Sampled, cpu_seconds, elements, log_bytes, values
from bench.performance.drained import specifications
from streams.roles.channel_layout import ChannelLayout

_BUSY_THEN_IDLE = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('idle', flush=True)\nsys.stdin.read()"


def test_a_process_clock_is_the_one_that_the_process_has_itself() -> None:
    """CPU of this process, asked by its id, lies between two readings of its own clock."""
    before = time.process_time()
    asked = cpu_seconds(os.getpid())
    assert before <= asked <= time.process_time()


def test_a_span_ends_where_the_work_did() -> None:
    """A process works and then rests: what it used until the rest is there, and the rest adds no CPU."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY_THEN_IDLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process, Sampled({"it": process.pid}) as sampled:
        process.stdout.readline()
        worked_ms = time.time_ns() // 1_000_000
        time.sleep(0.3)
        process.stdin.close()
        # Read while it can still be asked.
        seconds, used = sampled.until(worked_ms)
        middle = sampled.until(worked_ms - int(1000 * seconds / 2))[1]["it"]
        later = cpu_seconds(process.pid) - sampled.begun["it"]
        sampled.stop()
    assert 0.2 < used["it"] <= later < used["it"] + 0.1
    assert 0.0 < middle < used["it"]


def test_bytes_on_disk_are_of_the_topic_alone(tmp_path: Path) -> None:
    """Segments of all its partitions count; those of a topic whose name goes on, and indices, do not."""
    for name, size in (("t-0", 5), ("t-11", 7), ("t-more-0", 100), ("other-0", 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.log").write_bytes(bytes(size))
        (tmp_path / name / "0.index").write_bytes(bytes(1_000))
    assert log_bytes(tmp_path, "t") == 12
    assert log_bytes(None, "t") is None


@pytest.mark.parametrize("cells", [20, 200])
def test_elements_and_values_are_the_layouts_own(cells: int) -> None:
    """A batch is shared as so many elements as its vector has, and a window has table and moments."""
    measurement = specifications("t", 1, cells)[0]
    layout = ChannelLayout.of(measurement)
    assert elements(measurement, 100, 1) == layout.size(100)
    assert values(measurement) == cells * 6 + layout.tail
    assert layout.cells == cells
