"""The pulse of a main loop: silence is a hang, time in which the process did not run is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from streams.pulse import Pulse


def test_silence_beyond_the_limit_is_a_hang() -> None:
    """Up to the limit all is well; beyond it the answer names the silence; one turn more, and all is well again."""
    pulse = Pulse(3.0)
    for _ in range(6):
        pulse.tick()
    assert pulse.hang() is None
    pulse.tick()
    assert pulse.hang() == "the main loop has not turned for 4 s: it hangs, and should be restarted"
    pulse.beat()
    assert pulse.hang() is None


def test_it_counts_by_itself_until_it_is_closed() -> None:
    """Once started, silence grows; closed, it grows no more."""
    pulse = Pulse(0.4)
    pulse.start()
    deadline = time.monotonic() + 10
    while pulse.hang() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pulse.close()
    pulse.beat()
    time.sleep(1.1)
    assert pulse.hang() is None


_SLEEPER = """
import time
from streams.pulse import Pulse
pulse = Pulse(1.5)
pulse.start()
last = time.monotonic()
print("up", flush=True)
for _ in range(300):
    time.sleep(0.1)
    now = time.monotonic()
    if now - last > 2:  # it was stopped: nobody has told the pulse anything
        print("woken", pulse.hang(), flush=True)
        break
    pulse.beat()
    last = now
"""


def test_a_process_that_was_stopped_does_not_find_itself_hung() -> None:
    """Stopped for longer than the limit, it wakes up without a hang: else whoever asks first would have it killed."""
    with subprocess.Popen([sys.executable, "-c", _SLEEPER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.read() == "woken None\n"
