"""What contenders need besides evenstream's own environment, made once: Python packages from a lock, Java classes.

    python -m bench.performance.contenders.preparing

The lock and the sources are noted beside what was made of them, so it is made anew when they change. Nothing of it
goes into evenstream's own environment, or into git.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.performance.contenders.entries import CONTENDERS, JAVA_FOLDER, LOCK, ROOT, VENV, Contender
from streams.errors import PrerequisiteMissing
from streams.kafka.dev_jars import find_java

_INSTALL_JAVA = "apt-get install -y default-jdk-headless maven"


def prepare(say: Callable[[str], None]) -> tuple[Contender, ...]:
    """Make what is missing; returns the contenders that can run, and says of the others why they cannot.

    Args:
        say: told what is going on, and what is missing with the command that installs it.
    """
    for make in (_make_venv, _compile_java):
        try:
            make(say)
        except PrerequisiteMissing as error:
            say(str(error))
    ready = tuple(contender for contender in CONTENDERS if contender.missing() is None)
    left_out = [contender.name for contender in CONTENDERS if contender not in ready]
    if left_out:
        say(f"left out, for what is said above: {'; '.join(left_out)}")
    return ready


def _make_venv(say: Callable[[str], None]) -> None:
    mark, print_ = VENV / "complete", _fingerprint([LOCK])
    if mark.exists() and mark.read_text() == print_:
        return
    say(f"making {VENV.relative_to(ROOT)} for Quix Streams and Bytewax (once, about half a minute) ...")
    shutil.rmtree(VENV, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(VENV)], "python -m venv", "apt-get install -y python3-venv")
    _run(
        [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCK)],
        "pip",
        f"check pip's network and settings; Bytewax has wheels for Python 3.11 and 3.12, this is "
        f"{sys.version_info.major}.{sys.version_info.minor}",
    )
    mark.write_text(print_)


def _compile_java(say: Callable[[str], None]) -> None:
    mark = JAVA_FOLDER / "build" / "complete"
    print_ = _fingerprint([JAVA_FOLDER / "pom.xml", *sorted((JAVA_FOLDER / "src").rglob("*.java"))])
    if mark.exists() and mark.read_text() == print_:
        return
    find_java()
    for program, what in (("javac", "a Java compiler"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            raise PrerequisiteMissing(
                f"{what} is not installed ({program} is not on the PATH), and Kafka Streams needs it. On Debian or "
                f"Ubuntu run: {_INSTALL_JAVA}"
            )
    say("compiling the count for Kafka Streams with Maven (once, about 40 MB the first time) ...")
    shutil.rmtree(JAVA_FOLDER / "build", ignore_errors=True)
    _run(["mvn", "-B", "-q", "-f", str(JAVA_FOLDER / "pom.xml"), "compile"], "Maven", "`mvn -version` must work")
    mark.write_text(print_)


def _run(command: Sequence[str], what: str, remedy: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise PrerequisiteMissing(f"{what} failed with status {done.returncode} ({remedy}). It said:\n{tail}")


def _fingerprint(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest() + "\n"


def main() -> None:
    """Prepare all; status 1 where one contender is left out."""
    ready = prepare(print)
    print("ready: " + "; ".join(contender.name for contender in ready))
    sys.exit(len(ready) < len(CONTENDERS))


if __name__ == "__main__":
    main()
