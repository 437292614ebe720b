"""All five roles come to work with every file system read-only but the epochs' folder and a temporary one.

Each role runs in a mount namespace of its own, in which the root and all that is mounted below it can be read and not
written; that it is so is tried in each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.free_ports import free_port
from streams.roles.supervisor import COMMANDS
from streams.trial import Trial

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

_NAMESPACE = ("unshare", "-m", "--propagation", "private", "sh", "-e", "-c")
_SEALED_OFF = """
for folder in $(cut -d' ' -f2 /proc/mounts | sort -r); do mount -o remount,ro,bind "$folder" 2>/dev/null || true; done
mount -o remount,ro,bind /
mount -t tmpfs tmpfs "$EPOCHS"
mount -t tmpfs tmpfs "$TMPDIR"
if touch "$CHECKOUT/written" 2>/dev/null; then echo "the checkout can be written" >&2; exit 9; fi
"""


def _can_seal_off() -> bool:
    try:
        return (
            subprocess.run([*_NAMESPACE, "mount -o remount,ro,bind /"], capture_output=True, check=False).returncode
            == 0
        )
    except OSError:
        return False


@pytest.fixture
def trial(kafka: str, tmp_path: Path) -> Iterator[Trial]:
    """Topics and keys, and no roles."""
    epochs = tmp_path / "epochs"
    epochs.mkdir()
    trial = Trial(tmp_path / "trial", print, overrides=[f"keys.epoch_dir={epochs}", "http.port=0"])
    trial.folder.mkdir()
    trial.start_kafka(kafka)
    trial.prepare(live=[trial.settings.topic("rec-events")])
    yield trial
    trial.stop()


@pytest.mark.timeout(300)
@pytest.mark.skipif(not _can_seal_off(), reason="needs the right to make a mount namespace")
def test_every_role_is_ready_on_a_read_only_root(trial: Trial, tmp_path: Path) -> None:
    """Ready, that is: keys read, epochs made, topics reached, the endpoint open, Faust's app at work."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
        "TMPDIR": str(temporary),
        "EPOCHS": str(tmp_path / "epochs"),
        "CHECKOUT": str(Path(__file__).parents[2]),
    }
    trial.ports = {role: free_port() for role in COMMANDS}
    processes = []
    for role, command in COMMANDS.items():
        line = [
            sys.executable,
            "-m",
            "streams.cli",
            *trial.arguments,
            "--set",
            f"http.port={trial.ports[role]}",
            *command,
        ]
        script = _SEALED_OFF + 'exec "$@"'
        with (trial.folder / f"{role}.log").open("wb") as out:
            processes.append(
                subprocess.Popen([*_NAMESPACE, script, "sh", *line], env=environment, cwd="/", stdout=out, stderr=out)
            )
    try:
        deadline, waiting = time.monotonic() + 240, set(COMMANDS)
        while waiting and time.monotonic() < deadline:
            waiting = {role for role in waiting if not trial.is_ready(role)}
            ended = [process.args for process in processes if process.poll() is not None]
            logs = {role: (trial.folder / f"{role}.log").read_text() for role in COMMANDS}
            assert not ended, logs
            time.sleep(0.2)
        assert waiting == set(), logs
        assert list((tmp_path / "epochs").rglob("*")) == []  # they are in the namespaces, not here
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


_WITH_A_THREAD_THAT_NEVER_ENDS = """
import sys, threading, time
threading.Thread(target=time.sleep, args=(3600,)).start()
from streams.cli import main
sys.argv[0] = "evenstream"
main()
"""


@pytest.mark.timeout(120)
def test_publish_ends_when_told_even_where_a_thread_does_not(trial: Trial) -> None:
    """As one of Faust's may that was told to stop while it started: Python would wait for it for ever."""
    trial.ports = {"publish": free_port()}
    port = ("--set", f"http.port={trial.ports['publish']}")
    command = [sys.executable, "-c", _WITH_A_THREAD_THAT_NEVER_ENDS, *trial.arguments, *port, "publish"]
    with (trial.folder / "publish.log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while not trial.is_ready("publish"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(3)  # until Faust is up
        process.terminate()
        assert process.wait(30) == 0
        assert "Faust has not stopped within" in (trial.folder / "publish.log").read_text()
    finally:
        process.kill()
        process.wait()
