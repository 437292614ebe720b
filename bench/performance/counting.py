"""What a call does, counted instead of timed: the same figures on a fast machine, a slow one and a busy one.

**Steps** are Python's instructions: one is traced at a time, in every Python function that the call enters, the
project's and its libraries'. A loop over rows shows at once, however cheap its body is. **Bytes** are what is allocated
in large pieces: after each step it is asked how far the traced memory had risen within it (tracemalloc, which numpy
tells of its arrays). So an array that is made and dropped again is counted, which a peak would not show, and small
objects, which differ between versions of Python, are not.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

LARGE_BYTES = 1_024
"""A step that allocates less is not counted among the bytes."""


@dataclass(frozen=True)
class Counted:
    """Of one call: ``steps`` of Python, and ``bytes`` that it allocated in large pieces."""

    steps: int
    bytes: int

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.steps + other.steps, self.bytes + other.bytes)


NOTHING = Counted(0, 0)


def counted(call: Callable[[], object]) -> Counted:
    """Call once and count. A trace function that is set already (a debugger's) comes back afterwards."""
    steps = allocated = last = 0
    memory, reset = tracemalloc.get_traced_memory, tracemalloc.reset_peak

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps, allocated, last
        if event == "call":
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
            return trace
        if event == "opcode":
            steps += 1
            current, peak = memory()
            if peak - last >= LARGE_BYTES:
                allocated += peak - last
            last = current
            reset()
        return trace

    before, traced = sys.gettrace(), tracemalloc.is_tracing()
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    if not traced:
        tracemalloc.start()
    reset()
    last = memory()[0]
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if not traced:
            tracemalloc.stop()
        if collects:
            gc.enable()
    return Counted(steps, allocated)
