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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

LARGE_BYTES = 1_024
"""A step that allocates less is not counted among the bytes."""

_TOOL = 4
"""A number of ``sys.monitoring`` that debuggers, coverage and profilers leave free."""


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

    def step() -> None:
        nonlocal steps, allocated, last
        steps += 1
        current, peak = memory()
        if peak - last >= LARGE_BYTES:
            allocated += peak - last
        last = current
        reset()

    traced, collects = tracemalloc.is_tracing(), gc.isenabled()
    gc.disable()  # what a collection frees, and when, is not the call's doing
    if not traced:
        tracemalloc.start()
    try:
        with _each_instruction(step):
            reset()
            last = memory()[0]
            call()
    finally:
        if not traced:
            tracemalloc.stop()
        if collects:
            gc.enable()
    return Counted(steps, allocated)


@contextmanager
def _each_instruction(step: Callable[[], None]) -> Iterator[None]:
    """Have ``step`` called at each of Python's instructions."""
    if sys.version_info >= (3, 12):  # where a trace function does not hear of every instruction
        watch = sys.monitoring
        watch.use_tool_id(_TOOL, "counts")
        watch.register_callback(_TOOL, watch.events.INSTRUCTION, lambda code, offset: step())
        watch.set_events(_TOOL, watch.events.INSTRUCTION)
        try:
            yield
        finally:
            watch.set_events(_TOOL, 0)
            watch.register_callback(_TOOL, watch.events.INSTRUCTION, None)
            watch.free_tool_id(_TOOL)
        return

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        elif event == "opcode":
            step()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
