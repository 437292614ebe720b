"""A process that holds keys or members' data: no core, no door for others, no values in what it says when it fails."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.log import configure_logging
from streams.settings import LoggingSettings
from streams.tracebacks import HIDDEN, told

NOBODY = 65534
SECRET = "canary-surname"


@contextmanager
def process(code: str, **more: object) -> Iterator[subprocess.Popen[str]]:
    """A process that says when it is where the test wants it, and waits."""
    child = subprocess.Popen(
        [sys.executable, "-c", code + "\nprint('ready', flush=True); import time; time.sleep(60)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,  # type: ignore[call-overload]
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def test_core_dumps_are_off_and_cannot_be_turned_on_again() -> None:
    """Soft and hard limit are 0, whatever they were."""
    with process("from streams.hardening import harden; harden()") as child:
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)


@pytest.mark.skipif(os.geteuid() != 0, reason="starts processes as another user")
@pytest.mark.parametrize("name", ["mem", "environ", "maps"])
def test_its_memory_and_environment_are_closed_to_its_own_user(name: str) -> None:
    """Another process of the same user is refused; before hardening it was not, so the test sees."""
    code = (
        "import os, sys\n"
        "from streams.hardening import harden\n"  # imported as root: the checkout may be closed to others
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        # Changing the user makes a process undumpable by itself: make it like one that was started so.
        "import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
        "if sys.argv[1:] == ['harden']: harden()\n"
    )
    look = f"open('/proc/%d/{name}', 'rb').close()"
    for hardened in (False, True):
        script = code.replace("sys.argv[1:] == ['harden']", str(hardened))
        with process(script) as child:
            looker = subprocess.run(
                ["/usr/bin/env", "python3", "-c", look % child.pid],
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
            )
            assert (looker.returncode != 0) == hardened, looker.stderr
            assert ("PermissionError" in looker.stderr) == hardened


def test_every_command_begins_hardened() -> None:
    """Called as a program, whatever the command: before it has read a setting."""
    code = (
        "import sys, resource; sys.argv = ['evenstream', '--help']\n"
        "from streams.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), sys.excepthook.__module__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(0, 0) streams.tracebacks"


RAISES = {
    "in the main thread": "raise ValueError('{0}')",
    "with a cause": "try: int('{0}')\nexcept ValueError as error: raise KeyError('{0}') from error",
    "while another is handled": "try: int('{0}')\nexcept ValueError: raise RuntimeError('{0}')",
    "in a thread": "import threading\ndef f(): raise ValueError('{0}')\nthreading.Thread(target=f).start()",
    "where nobody can catch it": "class A:\n def __del__(self): raise ValueError('{0}')\na = A(); del a",
    "as a panic": "class Panic(BaseException): pass\nraise Panic('{0}')",
    "as a failed decoding": "b'\\xff{0}'.decode()",
    "as a group": "raise ExceptionGroup('{0}', [ValueError('{0}')])",
}


@pytest.mark.parametrize("code", RAISES.values(), ids=RAISES.keys())
def test_what_fails_says_where_and_not_with_what(code: str, tmp_path: Path) -> None:
    """Places and types of a traceback are there, the value is not; unhardened, it was: the test sees."""
    script = tmp_path / "fails.py"
    secret = "SECRET"
    for hardened in (False, True):
        # The value is put together at run time, as data is: lines of source are shown, and may be.
        made = f"{secret} = 'canary' + '-surname'\n" + code.replace("'{0}'", secret).replace(
            "b'\\xff{0}'", f"(b'\\xff' + {secret}.encode())"
        )
        begin = "from streams.hardening import harden; harden()\n" if hardened else ""
        script.write_text(begin + made)
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
        shown = SECRET in done.stderr or "xff" in done.stderr.replace("b'\\xff'", "")
        if code.startswith("b'"):  # Python's own message names the byte alone
            shown = not hardened
        assert shown == (not hardened), done.stderr
        assert "fails.py" in done.stderr
        if hardened:
            assert HIDDEN in done.stderr


def test_words_without_values_are_kept() -> None:
    """What the operating system and Kafka say helps, and holds nobody's data; a file's name could."""
    assert "error 2 of the operating system" in told(FileNotFoundError(2, "No such file", SECRET))
    assert "_MSG_TIMED_OUT" in told(KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, SECRET)))
    assert SECRET not in told(FileNotFoundError(2, SECRET, SECRET)) + told(KafkaException(KafkaError(-192, SECRET)))


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_lines_with_a_traceback_hold_no_value(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In both formats."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("attach", LoggingSettings(format=form))  # type: ignore[arg-type]
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("x").exception("it failed")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    line = capsys.readouterr().err
    assert "it failed" in line
    assert "builtins.ValueError" in line
    assert SECRET not in line.replace("raise ValueError(SECRET)", "")
