"""What the checks of `evenstream doctor --as ROLE` say, without a broker; on a real Kafka: test_readiness_kafka.py."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry

from privacy import Limits, parse_measurement
from secure_agg.epochs import EpochKeys
from secure_agg.keyring import create, load_role, load_trusted
from secure_agg.state_keys import StateKeys
from streams.cli import main
from streams.control import ControlPlane
from streams.doctor.findings import Finding
from streams.doctor.look import Worker, WorkerSeen
from streams.doctor.readiness import certificates, clock, keys, listen, memory, progress, specs, storage
from streams.doctor.readiness.reach import check as reach
from streams.doctor.readiness.reach import split_address
from streams.doctor.readiness.storage import storage_of
from streams.doctor.readiness.subject import Subject
from streams.free_ports import free_port
from streams.records.keys import sign_epoch_key
from streams.settings import Settings
from streams.watch.health import RoleHealth
from streams.watch.http import HealthServer

MakeSettings = Callable[..., Settings]

NOW_MS = 1_764_000_100_000
HOUR_MS = 3_600_000
SPEC = """
id: feed
purpose: readiness
source: {topic: events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s, rollups: [1m], lateness: 1s, max_future: 1s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
"""


@pytest.fixture
def settings(make_settings: MakeSettings, tmp_path: Path) -> Settings:
    """Of a deployment with keys, whose parties keep theirs apart from each other."""
    made = make_settings("127.0.0.1:1", "keys.governance_threshold=2", f"http.port={free_port()}")
    create(tmp_path / "keys", made.deployment)
    return made


def said(findings: list[Finding]) -> list[tuple[str, str]]:
    """Verdicts and words."""
    return [(finding.verdict, finding.says) for finding in findings]


# -- keys and folders -------------------------------------------------------------------------------------------------


def test_what_a_folder_lies_on(tmp_path: Path) -> None:
    """The longest mount point counts, the later of two, and one with a space; a folder that is yet to be is as good."""
    inner = tmp_path / "with space" / "keys"
    shown = str(tmp_path / "with space").replace(" ", "\\040")
    mounts = f"overlay / overlay rw 0 0\ndisk {tmp_path} xfs rw 0 0\nt {tmp_path} ext4 rw 0 0\nm {shown} tmpfs rw 0 0\n"
    assert storage_of(tmp_path / "a" / "b", mounts).kind == "ext4"
    assert storage_of(tmp_path / "a" / "b", mounts).there == tmp_path
    assert not storage_of(inner, mounts).in_memory  # nothing is there yet, and above it lies the disk
    inner.mkdir(parents=True)
    assert storage_of(inner, mounts).in_memory
    assert storage_of(Path("/"), mounts).in_container
    assert storage_of(inner).writable
    assert not storage_of(Path("/proc")).writable or os.geteuid() == 0


def test_keys_before_and_after_a_role_has_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """None yet, then their ages; beyond two lifetimes it is a fault of a role that runs."""
    monkeypatch.setattr(storage, "_mounts", lambda: "disk / ext4 rw 0 0\n")
    subject = Subject(settings, "attach", now_ms=NOW_MS)
    for finding, kind, folder in zip(
        list(keys.check(subject))[1:],
        ("epoch", "state"),
        (settings.epoch_folder("attach"), settings.state_folder("attach")),
        strict=True,
    ):
        assert finding.verdict == "ok"
        lies = storage_of(folder).kind
        assert finding.says.startswith(f"{kind} keys: none yet, and they can be written to {folder} ({lies}, ")
    EpochKeys("attach", settings.epoch_folder("attach"), settings.epoch_lifetime_ms).ensure_current(NOW_MS - HOUR_MS)
    StateKeys(settings.state_folder("attach"), settings.state_lifetime_ms).ensure_current(NOW_MS - 49 * HOUR_MS)
    _, epoch, state = keys.check(subject)
    assert epoch.verdict == state.verdict == "ok"
    assert "epoch keys: 1 in" in epoch.says
    assert "1.0 to 1.0 h old, of a lifetime of 24 h" in epoch.says
    assert "destroys the oldest once it has caught up" in state.says
    subject.__dict__["at_first"] = (_seen("attach"),)
    _, _, state = keys.check(subject)
    assert (state.verdict, state.do) == ("wrong", "docs/runbooks/EvenstreamKeyNotDestroyed.md")


def _seen(role: str) -> WorkerSeen:
    series: dict[str, list[tuple[Mapping[str, str], float]]] = {"evenstream_build_info": [({"role": role}, 1.0)]}
    return WorkerSeen(Worker(role, "127.0.0.1", 9100), None, True, "ok", True, "ok", series)


def test_a_key_that_others_may_read(settings: Settings) -> None:
    """The role would refuse it, so this does: at once, and by its name alone."""
    folder = settings.epoch_folder("a")
    EpochKeys("a", folder, settings.epoch_lifetime_ms).ensure_current(NOW_MS)
    (path,) = folder.glob("*.epoch")
    path.chmod(0o644)
    (only,) = [f for f in keys.check(Subject(settings, "a", now_ms=NOW_MS)) if f.verdict == "wrong"]
    assert path.name in only.says
    assert "mode 0644" in only.says


def test_a_folder_that_cannot_be_written_to(settings: Settings) -> None:
    """A file lies in its place, which binds even root: told with the setting that moves it."""
    settings.state_folder("seal").write_bytes(b"")
    (only,) = [f for f in keys.check(Subject(settings, "seal")) if f.verdict == "wrong"]
    assert "state keys cannot be written" in only.says
    assert "keys.state_dir" in only.do


def test_keys_in_a_containers_own_layer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be gone with the container: wrong, but on a test cluster, where it is only said."""
    monkeypatch.setattr(storage, "_mounts", lambda: "overlay / overlay rw 0 0\n")
    cluster = settings.model_copy(update={"test_cluster": False})
    for asked, verdict in ((cluster, "wrong"), (settings, "ok")):
        found = list(keys.check(Subject(asked, "seal")))[-1]
        assert (found.verdict, "gone with the container" in found.says) == (verdict, True)


def test_an_empty_folder_in_memory_may_be_a_hooks_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Job's scratch folder says nothing of where the role keeps its keys; once keys lie there, it does."""
    monkeypatch.setattr(storage, "_mounts", lambda: "tmpfs / tmpfs rw 0 0\n")
    subject = Subject(settings, "attach", now_ms=NOW_MS)
    for finding, kind, folder in zip(
        list(keys.check(subject))[1:],
        ("epoch", "state"),
        (settings.epoch_folder("attach"), settings.state_folder("attach")),
        strict=True,
    ):
        assert said([finding]) == [(
            "ok",
            f"{kind} keys: {folder} is empty, can be written to, and is in memory (tmpfs); where attach itself has "
            "another folder, that is not looked at from here",
        )]  # fmt: skip
    StateKeys(settings.state_folder("attach"), settings.state_lifetime_ms).ensure_current(NOW_MS)
    state = list(keys.check(subject))[-1]
    assert "(tmpfs, in memory: gone with the machine or pod, and state with it)" in state.says


def test_both_parties_in_one_hand(settings: Settings) -> None:
    """A party that can read the other's keys is wrong, but on a test cluster; with its own folder alone it is well."""
    cluster = settings.model_copy(update={"test_cluster": False})

    def parted() -> list[Finding]:
        return [f for f in keys.check(Subject(cluster, "a")) if "one hand" in f.says]

    assert [f.verdict for f in parted()] == ["wrong"]
    assert [f.verdict for f in keys.check(Subject(settings, "a")) if "one hand" in f.says] == ["ok"]
    (settings.keys.dir / "b" / "identity.key").unlink()
    assert parted() == []


def test_more_approvals_than_reviewers(settings: Settings) -> None:
    """A threshold that nothing can reach is told, and so are public keys that are missing."""
    changed = settings.keys.model_copy(update={"governance_threshold": 4})
    (only,) = keys.check(Subject(settings.model_copy(update={"keys": changed}), "publish"))
    assert (only.verdict, "pins 3 governance keys" in only.says) == ("wrong", True)
    for name in ("operator", "governance"):
        (settings.keys.dir / name / "trusted.json").unlink()
    (only,) = keys.check(Subject(settings, "operator"))
    assert (only.verdict, "does not exist" in only.says) == ("wrong", True)
    (only,) = keys.check(Subject(settings, "retention"))
    assert only.verdict == "ok"


# -- certificates -----------------------------------------------------------------------------------------------------


def certificate(folder: Path, days: float, since: float = 100) -> tuple[Path, Path]:
    """A certificate that began so many days ago and ends in so many, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=since))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.mark.parametrize(("days", "verdict", "words"), [
    (60, "ok", "is valid until"), (13, "wrong", "ends in 13.0 days"), (-1, "wrong", "has ended on"),
])  # fmt: skip
def test_when_certificates_end(
    make_settings: MakeSettings, tmp_path: Path, days: float, verdict: str, words: str
) -> None:
    """That of the role's own server and that which it shows to Kafka, two weeks ahead."""
    shown, key = certificate(tmp_path, days)
    made = make_settings(
        "127.0.0.1:1",
        f"http.certificate_file={shown}",
        f"http.key_file={key}",
        f"kafka.properties.ssl.certificate.location={shown}",
    )
    found = list(certificates.check(Subject(made, "publish")))
    assert [f.verdict for f in found] == [verdict] * 2
    assert all(words in f.says for f in found)
    assert ["http.certificate_file" in found[0].says, "ssl.certificate.location" in found[1].says] == [True, True]


@pytest.mark.parametrize(("days", "verdict"), [(3, "ok"), (1, "wrong")])
def test_certificates_that_live_for_a_week(
    make_settings: MakeSettings, tmp_path: Path, days: float, verdict: str
) -> None:
    """They are renewed in time to spare: only in its last quarter is one late."""
    shown, _ = certificate(tmp_path, days, since=7 - days)
    made = make_settings("127.0.0.1:1", f"kafka.properties.ssl.certificate.location={shown}")
    assert [f.verdict for f in certificates.check(Subject(made, "retention"))] == [verdict]


def test_a_key_of_another_certificate(make_settings: MakeSettings, tmp_path: Path) -> None:
    """Told before the server refuses to start."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    shown, _ = certificate(tmp_path / "one", 60)
    _, key = certificate(tmp_path / "two", 60)
    made = make_settings("127.0.0.1:1", f"http.certificate_file={shown}", f"http.key_file={key}")
    found = list(certificates.check(Subject(made, "a")))
    assert [f.verdict for f in found] == ["wrong", "ok"]
    assert "of no use together: KEY_VALUES_MISMATCH" in found[0].says


def test_certificate_files_that_are_none(make_settings: MakeSettings, tmp_path: Path) -> None:
    """One that is missing, one that holds no certificate, and a token that is too short: each by its setting's name."""
    other = tmp_path / "other.pem"
    other.write_text("no certificate")
    made = make_settings(
        "127.0.0.1:1",
        f"http.token_file={other}",
        f"kafka.properties.ssl.certificate.location={tmp_path / 'gone.pem'}",
        f"kafka.properties.ssl.ca.location={other}",
    )
    found = said(list(certificates.check(Subject(made, "b"))))
    assert [verdict for verdict, _ in found] == ["wrong"] * 3
    assert "token" in found[0][1]
    assert "cannot be read: No such file" in found[1][1]
    assert "ssl.ca.location" in found[2][1]
    assert "holds no PEM certificate" in found[2][1]


# -- clock, memory, port ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stamp_ms", "verdict", "words"), [
    (1_500, "ok", "to within 1.0 s"), (4_000, "ok", "it is the brokers'"), (62_000, "wrong", "60 s behind"),
    (-59_000, "wrong", "60 s ahead of"),
])  # fmt: skip
def test_a_record_that_comes_bounds_the_clock_from_both_sides(stamp_ms: int, verdict: str, words: str) -> None:
    """Between two readings of this clock, a second apart, a broker stamped a record."""
    found = clock.between(NOW_MS + 1_000, NOW_MS + stamp_ms, NOW_MS + 2_000)
    assert (found.verdict, words in found.says) == (verdict, True)


def test_without_a_record_one_side_is_claimed() -> None:
    """A stamp of the future is proof that this clock is behind; one of the past says nothing of whether it is ahead."""
    (behind,) = clock.one_side(NOW_MS, NOW_MS + 60_000)
    assert (behind.verdict, "at least 60 s behind" in behind.says) == ("wrong", True)
    (past,) = clock.one_side(NOW_MS, NOW_MS - HOUR_MS)
    assert (past.verdict, "whether it is ahead cannot be told" in past.says) == ("ok", True)


def test_members_against_the_limit() -> None:
    """Records bound members from above only: too many are said, with the limit that would do, and are no fault."""
    limit = 1024 * 2**20
    few = memory.judge(8_000_000, limit, "its control group")
    assert (few.verdict, "which need up to 1,011 MiB, of 1,024 MiB" in few.says) == ("ok", True)
    many = memory.judge(10_000_000, limit, "its control group")
    assert many.verdict == "ok"
    assert "at most 10,000,000 members" in many.says
    assert "compaction may have left fewer" in many.says
    assert "a limit of 1,163 MiB would be enough for all of them" in many.says


def _machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:       2000000 kB\nMemAvailable:    900000 kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(("groups", "files", "limit"), [
    ("0::/\n", {"sys/fs/cgroup/memory.max": "500000000\n"}, 500_000_000),
    ("0::/a/b\n", {"sys/fs/cgroup/a/memory.max": "4000", "sys/fs/cgroup/a/b/memory.max": "500000000"}, 4_000),
    ("4:memory:/x\n0::/\n", {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "300000000"}, 300_000_000),
    ("4:memory:/x\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 900_000 * 1024),
    ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, 900_000 * 1024),
])  # fmt: skip
def test_whose_memory_counts(tmp_path: Path, groups: str, files: dict[str, str], limit: int) -> None:
    """The least limit of the groups above, of either version; without one, what the machine has left."""
    assert memory.limit_bytes(_machine(tmp_path, groups, files))[0] == limit


def test_a_port_that_is_taken_or_free(settings: Settings) -> None:
    """Free; taken by something else; and answered by the role's own worker, which is no fault."""
    port = settings.port("a")
    (free,) = listen.check(Subject(settings, "a"))
    assert said([free]) == [("ok", f"127.0.0.1:{port} is free")]
    with socket.create_server(("127.0.0.1", port)):
        (taken,) = listen.check(Subject(settings, "a"))
    assert (taken.verdict, "cannot be listened on" in taken.says) == ("wrong", True)
    registry = CollectorRegistry()
    RoleHealth("b", registry)
    server = HealthServer("127.0.0.1", port, registry=registry, healthy=lambda: None, ready=lambda: None)
    try:
        (other,) = listen.check(Subject(settings, "a"))
        (own,) = listen.check(Subject(settings, "b"))
    finally:
        server.close()
    assert (other.verdict, own.verdict) == ("wrong", "ok")
    assert f"its worker answers at 127.0.0.1:{port}" in own.says
    elsewhere = settings.http.model_copy(update={"host": "192.0.2.1"})
    (foreign,) = listen.check(Subject(settings.model_copy(update={"http": elsewhere}), "a"))
    assert foreign.verdict == "wrong"


@pytest.mark.parametrize(("address", "parts"), [
    ("kafka:9093", ("kafka", 9093)), ("SASL_SSL://[::1]:9093", ("::1", 9093)), ("kafka", ("kafka", 9092)),
])  # fmt: skip
def test_bootstrap_addresses(address: str, parts: tuple[str, int]) -> None:
    """As librdkafka takes them."""
    assert split_address(address) == parts


def test_a_certificate_of_another_name(make_settings: MakeSettings, tmp_path: Path) -> None:
    """TLS is told from what else may go wrong, with the rule that was broken: the name is not in the certificate."""
    shown, key = certificate(tmp_path, 10)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown, key)
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as server:
        server.settimeout(0.2)
        made = make_settings(
            f"127.0.0.1:{server.getsockname()[1]}",
            "kafka.properties.security.protocol=SSL",
            f"kafka.properties.ssl.ca.location={shown}",
        )
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    server.accept()[0].close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            (only,) = reach(Subject(made, "a"))
        finally:
            ended.set()
            thread.join()
    assert (only.check, only.verdict) == ("brokers", "wrong")
    assert "certificate is not valid for '127.0.0.1'" in only.says


# -- measurements -----------------------------------------------------------------------------------------------------


@pytest.fixture
def subject(settings: Settings) -> Subject:
    """Seal, with a registry that a test fills."""
    made = Subject(settings, "seal", now_ms=NOW_MS)
    trusted = load_trusted(settings.keys.dir / "seal")
    made.__dict__["control"] = ControlPlane(trusted, test_cluster=False, limits=Limits.of_day(1.0))
    made.__dict__["measurements"] = ()
    made.__dict__["at_first"] = ()
    return made


def admit(subject: Subject, begins_ms: int, ends_ms: int | None = None, arrival: str = "live") -> None:
    """Have a measurement approved."""
    text = SPEC.replace("topic: events", f"topic: events, arrival: {arrival}")
    spec = parse_measurement(text, origin="test").with_effective_from(begins_ms // 60_000 * 60_000)
    spec = spec if ends_ms is None else spec.with_expires(ends_ms // 60_000 * 60_000)
    subject.control.admit(spec, b"s" * 32, 0)


def test_a_deployment_without_a_measurement(subject: Subject) -> None:
    """Nothing is wrong, nothing is waited for, and the recipient that has never run is named with what to do."""
    none, recipient = specs.check(subject)
    assert said([none]) == [("ok", "no measurement is approved yet: nothing is measured until one is")]
    assert (recipient.verdict, recipient.do) == ("ok", "start attach")
    subject.reached = True
    (waited,) = progress.wait(subject, (), 0.0, lambda text: None)
    assert said([waited]) == [("ok", "no live measurement is active: there is nothing to wait for")]


def test_how_measurements_stand(subject: Subject) -> None:
    """When it starts, when it ends, and a week ahead that it ends, which is wrong for those only whose task it is."""
    admit(subject, NOW_MS + HOUR_MS)
    assert "scheduled, starts" in next(specs.check(subject)).says
    subject.reached = True
    (waited,) = progress.wait(subject, (), 0.0, lambda text: None)
    assert "no measurement is active before" in waited.says
    for role, days, verdict, words in (
        ("publish", 30, "ok", "expires 20"), ("publish", 6, "ok", "expires in 6.0 days"),
        ("operator", 6, "wrong", "expires in 6.0 days"),
    ):  # fmt: skip
        again = Subject(subject.settings, role, now_ms=NOW_MS)
        again.__dict__["measurements"] = ()
        control = ControlPlane(subject.trusted, test_cluster=False, limits=Limits.of_day(1.0))
        again.__dict__["control"] = control
        admit(again, NOW_MS - HOUR_MS, NOW_MS + days * 24 * HOUR_MS)
        found = next(specs.check(again))
        assert (found.verdict, words in found.says) == (verdict, True), found.says


def test_a_recipient_that_is_missing_holds_up_a_role_that_runs(subject: Subject) -> None:
    """Then it is wrong, and once the recipient has announced a key it is well, until that key ends."""
    admit(subject, NOW_MS - HOUR_MS)
    subject.__dict__["at_first"] = (_seen("seal"),)
    settings = subject.settings
    found = list(specs.check(subject))[-1]
    assert (found.verdict, found.do) == ("wrong", "start attach")
    own = load_role(settings.keys.dir, "attach", settings.deployment)
    epochs = EpochKeys("attach", settings.epoch_folder("attach"), settings.epoch_lifetime_ms)
    subject.control.apply_key(sign_epoch_key(own.identity, epochs.ensure_current(NOW_MS).public()).value)
    assert list(specs.check(subject))[-1].verdict == "ok"
    subject.now_ms += settings.epoch_lifetime_ms
    assert list(specs.check(subject))[-1].verdict == "wrong"


# -- progress ---------------------------------------------------------------------------------------------------------


class Served:
    """A role's real server, with the metrics and the readiness that a test gives it."""

    def __init__(self, role: str, port: int) -> None:
        registry = CollectorRegistry()
        self.health = RoleHealth(role, registry)
        self.ready: str | None = None
        self.note: str | None = None
        self.server = HealthServer(
            "127.0.0.1", port, registry=registry, healthy=lambda: None, ready=lambda: self.ready, note=lambda: self.note
        )


@pytest.fixture
def served(subject: Subject) -> Iterator[Served]:
    """Seal's worker, with a measurement in force."""
    admit(subject, NOW_MS - HOUR_MS)
    del subject.__dict__["at_first"]
    subject.reached = True
    made = Served("seal", subject.settings.port("seal"))
    made.health.watermark("events", 0, 100.0)
    yield made
    made.server.close()


def test_a_watermark_that_moves(subject: Subject, served: Served) -> None:
    """It ends once the worker has moved since the command began, and not for what had moved before."""
    watched = progress.begin(subject)
    (still,) = progress.wait(subject, watched, 0.1, lambda text: None)
    assert (still.verdict, still.role) == ("wrong", "seal")
    assert "its watermark to move" in still.says
    served.health.watermark("events", 1, 50.0)  # a partition that was not shown before may be another worker's
    (still,) = progress.wait(subject, watched, 0.1, lambda text: None)
    assert still.verdict == "wrong"
    served.health.watermark("events", 0, 101.0)
    (moved,) = progress.wait(subject, watched, 5.0, lambda text: None)
    assert said([moved]) == [("ok", "healthy, ready, and it has moved")]


def test_a_worker_that_is_not_ready_or_stands_by(subject: Subject, served: Served) -> None:
    """The time-out says its own readiness line; one that stands by has nothing to move."""
    watched = progress.begin(subject)
    served.health.watermark("events", 0, 101.0)
    served.ready = "waits for a valid epoch key of attach on keys"
    (held,) = progress.wait(subject, watched, 0.1, lambda text: None)
    assert held.verdict == "wrong"
    assert "valid epoch key of attach" in held.says
    assert "start attach" in held.do
    served.ready, served.note = None, "standing by: seal is divided into 1"
    (by,) = progress.wait(subject, progress.begin(Subject(subject.settings, "seal")), 0.1, lambda text: None)
    assert said([by]) == [("ok", "it stands by, with nothing to move")]


def test_a_partys_first_window_counts(subject: Subject) -> None:
    """A counter that is born after the worker was first heard has moved; one that was there before has not."""
    served = Served("a", subject.settings.port("a"))
    try:
        asked = Subject(subject.settings, "a", reached=True)
        watched = progress.begin(asked)
        assert not watched[0].moved
        served.health.window("feed", "10s", "released")
        (seen,) = asked.ask_workers()
        watched[0].note(seen)
        assert watched[0].moved
        again = progress.begin(Subject(subject.settings, "a"))
        assert not again[0].moved
    finally:
        served.server.close()


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_not_there(settings: Settings) -> None:
    """Status 1: the address is named, what needs Kafka is unseen, and all that does not is looked at all the same."""
    options = [
        part
        for name, value in (
            ("deployment", settings.deployment),
            ("kafka.bootstrap", "127.0.0.1:1"),
            ("keys.dir", str(settings.keys.dir)),
            ("test_cluster", "true"),
        )
        for part in ("--set", f"{name}={value}")
    ]
    begun = time.monotonic()
    result = CliRunner().invoke(main, [*options, "doctor", "--as", "b", "--json"], env={"KAFKA_BOOTSTRAP": ""})
    assert time.monotonic() - begun < 20
    assert result.exit_code == 1, result.output
    told = json.loads(result.output)["findings"]
    assert [(f["check"], f["verdict"]) for f in told[:2]] == [("brokers", "wrong"), ("brokers", "unseen")]
    assert "nothing answers at 127.0.0.1:1" in told[0]["says"]
    assert {"keys", "http"} <= {f["check"] for f in told if f["verdict"] == "ok"}


@pytest.mark.parametrize("options", [["--wait-for-progress", "1"], ["--as", "a", "--watch", "5"], ["--as", "nobody"]])
def test_options_that_do_not_go_together(options: list[str]) -> None:
    """Waiting is for one role, watching for a whole pipeline, and a role must be one."""
    assert CliRunner().invoke(main, ["doctor", *options]).exit_code == 2


def test_a_worker_whose_address_nobody_knows(subject: Subject) -> None:
    """With http.port 0 there is nobody to wait for, and it is said; a --role that is none is refused."""
    admit(subject, NOW_MS - HOUR_MS)
    subject.reached = True
    http = subject.settings.http.model_copy(update={"port": 0})
    subject.settings = subject.settings.model_copy(update={"http": http})
    (only,) = progress.wait(subject, progress.begin(subject), 0.0, lambda text: None)
    assert only.verdict == "unseen"
    result = CliRunner().invoke(main, ["doctor", "--as", "a", "--role", "nobody=h:1"])
    assert (result.exit_code, "expected ROLE=HOST:PORT" in result.output) == (1, True)
