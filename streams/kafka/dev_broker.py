"""A real Kafka on a developer's machine: one KRaft node, from Maven's artefacts, without ceremony.

Apache Kafka and its dependencies are copied once, by Maven, into a cache folder (45 jars, 43 MB) and started with the
machine's own Java. The broker listens on 127.0.0.1 only. It is for development and tests: one copy of everything. It
is open to everyone on this machine, or secured as ``streams.kafka.dev_security`` says.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from secure_agg.keyring import write_private
from streams.errors import KafkaUnavailable
from streams.free_ports import free_port
from streams.kafka import dev_security
from streams.kafka.dev_jars import KAFKA_VERSION, class_archive, ensure_jars, find_java
from streams.kafka.dev_security import ADMIN, BrokerSecurity

_START_SECONDS = 180.0
# A broker of this kind lives for minutes: the second compiler and a collector of many threads would cost it more
# processor time than they save (a start takes 3.3 s of it instead of 6.6).
_JAVA_OPTIONS = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# An archive that does not fit (another Java, other jars) is passed over, and nothing is to be said about it.
_ARCHIVE_OPTIONS = ("-XX:SharedArchiveFile={archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
_STOP_SECONDS = 20.0

_OPEN = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
"""

# A controller that writes an empty record twice a second takes a quarter of what an idle broker takes.
_COMMON = """log.dirs={logs}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.dedupe.buffer.size=16777216
metadata.max.idle.interval.ms=10000
"""


def _require_free(port: int, folder: Path) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise KafkaUnavailable(
                f"Kafka cannot listen on 127.0.0.1:{port} ({error.strerror}). If the Kafka there is yours, set "
                f"KAFKA_BOOTSTRAP=127.0.0.1:{port}; else choose another port (0 takes a free one), and for a broker "
                f"that ran before also another folder than {folder}"
            ) from None


def _java_options(java: str) -> tuple[str, ...]:
    archive = class_archive(java)
    return (
        (*_JAVA_OPTIONS, *(o.format(archive=archive) for o in _ARCHIVE_OPTIONS)) if archive.exists() else _JAVA_OPTIONS
    )


def _cluster_id() -> str:
    """A random identity in Kafka's form: a UUID in base64url without padding; one that begins with - is an option."""
    while (found := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return found


@dataclass(frozen=True)
class BrokerProcess:
    """A broker that was started here."""

    pid: int
    started_ticks: int
    port: int
    folder: Path

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    def is_running(self) -> bool:
        """Whether the process with this id is still the one that was started."""
        return _start_ticks(self.pid) == self.started_ticks


def _start_ticks(pid: int) -> int:
    """When a process began, in clock ticks since boot; -1 where there is none. A reused id has another value."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return -1
    return -1 if fields[0] == "Z" else int(fields[19])


class DevBroker:
    """One broker, with its data and its process id in one folder.

    Args:
        folder: of its own; a folder keeps the port, and the security, of its first start.
        secure: with TLS, SCRAM users and ACLs (``streams.kafka.dev_security``).
        java_options: further ones of the broker itself.
    """

    def __init__(self, folder: Path, *, secure: bool = False, java_options: Sequence[str] = ()) -> None:
        self.folder = folder.absolute()
        self._java_options = tuple(java_options)
        self._pid_file = self.folder / "broker.json"
        self._secure = secure

    @property
    def security(self) -> BrokerSecurity | None:
        """Certificates and users, where this folder's broker is a secured one."""
        found = BrokerSecurity(self.folder / "security")
        return found if found.authority.exists() else None

    def properties(self) -> dict[str, str]:
        """librdkafka properties with which this process may administer the broker."""
        security = self.security
        return {} if security is None else security.properties(ADMIN)

    def running(self) -> BrokerProcess | None:
        """The broker of this folder, if it runs."""
        try:
            stored = json.loads(self._pid_file.read_text())
            process = BrokerProcess(stored["pid"], stored["started_ticks"], stored["port"], self.folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return process if process.is_running() else None

    def start(self, port: int = 0, progress: Callable[[str], None] = lambda line: None) -> BrokerProcess:
        """Start the broker, or return the one that runs already.

        Args:
            port: 0 takes a free one. A folder keeps the port of its first start.
            progress: told what is going on.

        Raises:
            PrerequisiteMissing, KafkaUnavailable.
        """
        properties = self.folder / "server.properties"
        if properties.exists() and self._secure != (self.security is not None):
            raise KafkaUnavailable(
                f"the broker of {self.folder} was made {'open' if self._secure else 'secured'}; choose another folder, "
                f"or start it {'without' if self._secure else 'with'} --secure"
            )
        running = self.running()
        if running is not None:
            return running
        java = find_java()
        jars = ensure_jars(progress)
        self.folder.mkdir(parents=True, exist_ok=True)
        classpath = f"{jars}/libs/*"
        if properties.exists():
            known = dict(line.split("=", 1) for line in properties.read_text().splitlines() if "=" in line)
            port = int(known["listeners"].split(":")[2].split(",")[0])
            _require_free(port, self.folder)
        else:
            port = port or free_port()
            _require_free(port, self.folder)
            # The file gets its name when the storage is formatted: a start that was interrupted begins anew.
            draft = self.folder / "server.properties.new"
            if draft.exists():
                shutil.rmtree(self.folder / "data", ignore_errors=True)
            draft.write_text(self._listeners(port) + _COMMON.format(logs=self.folder / "data"))
            self._format(java, classpath, draft)
            draft.rename(properties)
        progress(f"starting Kafka {KAFKA_VERSION} on 127.0.0.1:{port} ...")
        log4j = self.folder / "log4j2.properties"
        log4j.write_text(
            "rootLogger.level=WARN\nrootLogger.appenderRefs=f\nrootLogger.appenderRef.f.ref=F\nappenders=f\n"
            f"appender.f.type=File\nappender.f.name=F\nappender.f.fileName={self.folder}/broker.log\n"
            "appender.f.layout.type=PatternLayout\nappender.f.layout.pattern=%d %p %c{1} %m%n\n"
        )
        with (self.folder / "stdout.log").open("ab") as out:
            process = subprocess.Popen(
                [
                    java,
                    *_java_options(java),
                    *self._java_options,
                    f"-Dlog4j2.configurationFile={log4j}",
                    "-cp",
                    classpath,
                    "kafka.Kafka",
                    str(properties),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for us; the broker is stopped last
            )
        try:
            started = BrokerProcess(process.pid, _start_ticks(process.pid), port, self.folder)
            self._pid_file.write_text(
                json.dumps({"pid": started.pid, "started_ticks": started.started_ticks, "port": started.port}) + "\n"
            )
            self._await(started, process)
        except BaseException:  # a Ctrl-C while it starts must not leave it behind
            process.terminate()
            process.wait()
            raise
        return started

    def _listeners(self, port: int) -> str:
        if not self._secure:
            return _OPEN.format(port=port, controller=free_port())
        security = BrokerSecurity.create(self.folder / "security")
        return dev_security.PROPERTIES.format(
            port=port, broker=free_port(), controller=free_port(), folder=security.folder
        )

    def _format(self, java: str, classpath: str, properties: Path) -> None:
        security = self.security
        users = () if security is None else ("--add-scram", security.scram_argument())
        arguments = ("format", "-t", _cluster_id(), "--standalone", "-c", str(properties), *users)
        # In a file, since other users of this machine can read a command line, and one argument may be a password.
        file = self.folder / "storage-tool.arguments"
        words = (*_java_options(java), "-cp", classpath, "kafka.tools.StorageTool", *arguments)
        write_private(file, "".join(f'"{word}"\n' for word in words).encode())
        try:
            done = subprocess.run([java, f"@{file}"], capture_output=True, text=True, check=False)
        finally:
            file.unlink()
        if done.returncode != 0:
            raise KafkaUnavailable(f"Kafka's StorageTool failed: {(done.stderr or done.stdout).strip()[-400:]}")

    def _await(self, started: BrokerProcess, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                tail = (self.folder / "stdout.log").read_text(errors="replace").strip().splitlines()[-5:]
                raise KafkaUnavailable(
                    f"Kafka ended with status {process.returncode} while starting; its log is in {self.folder}:\n"
                    + "\n".join(tail)
                )
            with socket.socket() as probe:
                probe.settimeout(0.5)
                listening = probe.connect_ex(("127.0.0.1", started.port)) == 0
            if listening:
                try:
                    client = AdminClient({"bootstrap.servers": started.bootstrap, "log_level": 0, **self.properties()})
                    if client.list_topics(timeout=3.0).brokers:
                        return
                except KafkaException:
                    pass
            time.sleep(0.1)
        self.stop()
        raise KafkaUnavailable(f"Kafka did not come up within {_START_SECONDS:.0f} s; its log is in {self.folder}")

    def stop(self) -> bool:
        """Stop the broker of this folder; False where none runs. Ends only the process that was started here."""
        running = self.running()
        if running is None:
            self._pid_file.unlink(missing_ok=True)
            return False
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while running.is_running():
            if time.monotonic() > deadline:
                os.kill(running.pid, signal.SIGKILL)
                deadline = float("inf")
            with suppress(ChildProcessError):
                os.waitpid(running.pid, os.WNOHANG)  # where it is this process's own child
            time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)
        return True


@contextmanager
def temporary_broker(
    folder: Path, progress: Callable[[str], None] = lambda line: None, *, secure: bool = False
) -> Iterator[BrokerProcess]:
    """A broker that lives as long as the block."""
    broker = DevBroker(folder, secure=secure)
    try:
        yield broker.start(progress=progress)
    finally:
        broker.stop()
