"""`evenstream canary`, in its short form, as a person runs it: 0 finds, by a search that sees, and nothing is left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.mark.timeout(600)
def test_no_trace_of_a_canary_is_left(tmp_path: Path) -> None:
    """All roles ended by signals and by exceptions; every place searched; every eye sees; exit code 0."""
    clean = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP"}
    command = [sys.executable, "-m", "streams.cli", "canary", "--short", "--dir", str(tmp_path)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=590, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "holds: no trace of a canary" in said
    assert re.search(r"looked for [\d,]{5,} byte strings.* 0 finds", said)
    assert "5 by exception" in said
    for kind in ("SIGKILL", "SIGABRT", "SIGSEGV"):
        assert f" by {kind}" in said
    assert not any(word in said for word in ("FOUND", "BLIND", "SHORT"))
    for place in ("data folder", "compressed batches", "as read from Kafka", "logs and error output", "/metrics"):
        assert place in said
    (run,) = tmp_path.iterdir()
    assert not (run / "broker").exists()
    assert not (run / "trial" / "keys").exists()
    assert list((run / "trial" / "logs").glob("*-failed.log"))
