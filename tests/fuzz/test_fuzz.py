"""Every decoder on bytes near sound ones: nothing but documented errors, in bounded time and memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from fuzz.drive import MAX_BYTES, mutations
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = 5.0
"""Of this thread's own CPU time, for one input of at most 4 KiB."""
MEGABYTES = 64
EXAMPLES = 30


@pytest.mark.parametrize("name", TARGETS)
def test_sound_examples_pass(name: str) -> None:
    """What a target begins from is taken by its decoder, or refused as documented; so are no bytes at all."""
    for seed in (*TARGETS[name].seeds, b"", b"\0"):
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False), arbitrary=st.none() | st.binary(max_size=MAX_BYTES))
def test_only_documented_errors_escape(name: str, random: st.DrawFn, arbitrary: bytes | None) -> None:
    """Mutated and arbitrary bytes; ``make fuzz`` runs the same targets for millions of inputs."""
    target = TARGETS[name]
    inputs = mutations(target.seeds, random)  # type: ignore[arg-type]  # it draws as random.Random does
    for _ in range(len(target.seeds) + 1):
        next(inputs)
    for data in [next(inputs), next(inputs)] if arbitrary is None else [arbitrary]:
        target.run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_time_and_memory_are_bounded(name: str) -> None:
    """The largest inputs that are made here, of what makes decoders slow or greedy, cost neither seconds nor memory."""
    target = TARGETS[name]
    target.run(b"")  # what is made once, models and keys, is not the input's doing
    seed = target.seeds[0]
    greedy = [
        b"[" * MAX_BYTES,
        b'{"a":' * (MAX_BYTES // 5),
        b'"' + b"\\" * MAX_BYTES,
        b"9" * MAX_BYTES,
        b"- " * (MAX_BYTES // 2),
        b"ES\x02\x01\xff\xff" + b"\0" * MAX_BYTES,
        b"\xdd\xff\xff\xff\xff" * (MAX_BYTES // 5),  # MessagePack: arrays of 2^32 - 1
        (seed * (MAX_BYTES // max(len(seed), 1) + 1))[:MAX_BYTES],
        b"&a [" + b"*a, " * (MAX_BYTES // 4) + b"]",
    ]
    for data in greedy:
        tracemalloc.start()
        begun = time.thread_time()
        target.run(data)
        taken = time.thread_time() - begun
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken < SECONDS, data[:20]
        assert peak < MEGABYTES << 20, data[:20]
