"""Apache Kafka's jars on a developer's machine: copied once, by Maven, into a cache folder (45 jars, 43 MB)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from streams.errors import PrerequisiteMissing

KAFKA_VERSION = "4.1.1"
_SCALA = "2.13"
_INSTALL = "apt-get install -y default-jre-headless maven"
_JAVA_MAJOR = 17

_POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.evenstream</groupId><artifactId>dev-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_{scala}</artifactId><version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""


def cache_folder() -> Path:
    """Where Kafka's jars are kept: ``EVENSTREAM_CACHE``, or a folder below the user's cache folder."""
    root = os.environ.get("EVENSTREAM_CACHE")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evenstream"
    return base / f"kafka-{KAFKA_VERSION}"


def _require(program: str, what: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise PrerequisiteMissing(
            f"{what} is not installed ({program} is not on the PATH). On Debian or Ubuntu run: {_INSTALL}\n"
            "Or use a Kafka that is already there: set KAFKA_BOOTSTRAP=host:port"
        )
    return found


@lru_cache
def _told_version(java: str) -> str:
    return subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr


def find_java() -> str:
    """The path of a Java that is new enough, or :class:`PrerequisiteMissing`."""
    java = _require("java", f"Java ({_JAVA_MAJOR} or newer)")
    version = re.search(r'version "(\d+)', _told_version(java))
    if version is not None and int(version[1]) < _JAVA_MAJOR:
        raise PrerequisiteMissing(
            f"Kafka {KAFKA_VERSION} needs Java {_JAVA_MAJOR} or newer; {java} is version {version[1]}. On Debian or "
            f"Ubuntu run: {_INSTALL}"
        )
    return java


def class_archive(java: str) -> Path:
    """Where ``streams.kafka.dev_archive`` keeps Kafka's classes for one build of Java."""
    build = hashlib.sha256(_told_version(java).encode()).hexdigest()[:12]
    return cache_folder() / f"classes-{build}.jsa"


def ensure_jars(progress: Callable[[str], None]) -> Path:
    """Return the folder with Kafka's jars, having Maven copy them there the first time.

    Raises:
        PrerequisiteMissing: Maven is missing, or could not reach its repository.
    """
    folder = cache_folder()
    if (folder / "complete").exists():
        return folder
    maven = _require("mvn", "Maven")
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress(
        f"copying Apache Kafka {KAFKA_VERSION} with Maven (about 43 MB, once; the first time Maven needs longer) ..."
    )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="partial-") as partial:
        work = Path(partial)
        (work / "pom.xml").write_text(_POM.format(scala=_SCALA, version=KAFKA_VERSION))
        libs = work / "libs"
        command = [
            maven,
            "-B",
            "-q",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={libs}",
            "-DincludeScope=runtime",
        ]
        with (work / "maven.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=work, stdout=log, stderr=subprocess.STDOUT)
            started_at = time.time()
            started = time.monotonic()
            told = started
            try:
                while process.poll() is None:
                    time.sleep(0.2)
                    if time.monotonic() - told > 2:
                        told = time.monotonic()
                        progress(f"  {told - started:4.0f} s, {_downloaded_mb(started_at):5.1f} MB downloaded")
            finally:  # a Ctrl-C here must not leave Maven behind, writing into a folder that goes
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode != 0:
            tail = (work / "maven.log").read_text(errors="replace").strip().splitlines()[-5:]
            raise PrerequisiteMissing(
                "Maven could not copy Apache Kafka. Check its network and settings (`mvn -version` must work), then "
                "run this again. Maven said:\n" + "\n".join(tail)
            )
        jars = list(libs.glob("*.jar"))
        (work / "complete").write_text(f"{len(jars)} jars\n")
        (work / "pom.xml").unlink()
        if folder.exists():  # left behind by something older, without its mark
            shutil.rmtree(folder)
        work.rename(folder)
        work.mkdir()  # so that the temporary folder's own clean-up finds what it expects
    progress(f"  {len(jars)} jars are in place")
    return folder


def _downloaded_mb(since: float) -> float:
    """What Maven has put into its own repository since a moment (epoch seconds); it copies only at the very end."""
    repository = Path.home() / ".m2" / "repository"
    size = 0
    for file in repository.rglob("*"):
        with suppress(OSError):  # Maven renames files while we look
            stat = file.stat()
            size += stat.st_size if stat.st_mtime >= since and file.is_file() else 0
    return size / 1e6
