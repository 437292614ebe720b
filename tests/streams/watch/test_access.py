"""Who sees /metrics and the operators' pages: by token, by client certificate, and what is said to the others."""

from __future__ import annotations

import datetime
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry, Gauge
from pydantic import ValidationError

from streams.doctor.look import Worker
from streams.doctor.plight import is_refusal
from streams.doctor.workers import ask as ask_workers
from streams.errors import EvenstreamError
from streams.roles.supervisor import find_complaint
from streams.settings.fields import HttpSettings
from streams.watch.access import OperatorAccess, asking_context, server_tls
from streams.watch.connections import Limits
from streams.watch.http import HealthServer
from streams.watch.routes import Answer

TOKEN = "correct-horse-battery-staple"


class Papers:
    """An authority, a server's certificate and two clients', as PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_key, self.ca = self._issue("authority", None)
        self._issue("server", self.ca_key)
        self._issue("operator", self.ca_key)
        other = Papers.__new__(Papers)
        other.folder = folder / "other"
        other.folder.mkdir()
        other.ca_key, other.ca = other._issue("authority", None)
        other._issue("stranger", other.ca_key)

    def _issue(
        self, name: str, signer: ec.EllipticCurvePrivateKey | None
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if signer is None else self.ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(signer or key, hashes.SHA256())
        )
        (self.folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return key, made


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Papers(tmp_path_factory.mktemp("papers")).folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., HealthServer]]:
    servers: list[HealthServer] = []

    def run(settings: HttpSettings) -> HealthServer:
        access = OperatorAccess.of(settings)
        page = access.guard(lambda _: Answer(200, "text/plain", b"for operators"))
        registry = CollectorRegistry()
        Gauge("evenstream_shown", "To operators.", registry=registry)
        servers.append(
            HealthServer(
                "127.0.0.1", 0, registry=registry, healthy=lambda: None, ready=lambda: None,
                routes={"/pipeline": page, "/": lambda _: Answer(200, "text/plain", b"for all")},
                guard=access.guard, tls=server_tls(settings),
            )
        )  # fmt: skip
        return servers[-1]

    yield run
    for server in servers:
        server.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


def ask(
    server: HealthServer, path: str, tls: ssl.SSLContext | None = None, *authorization: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = (
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        if tls is None
        else http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=tls)
    )
    try:
        connection.putrequest("GET", path)
        for value in authorization:
            connection.putheader("Authorization", value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_without_settings_everything_is_open(start: Callable[..., HealthServer]) -> None:
    """As before there were any."""
    server = start(HttpSettings())
    assert [ask(server, path)[0] for path in ("/", "/metrics", "/pipeline", "/healthz")] == [200] * 4


def test_a_token_opens_what_is_the_operators(start: Callable[..., HealthServer], token_file: Path) -> None:
    """Exactly that token, once, as a bearer; the rest is open without; the answer says what to send, and not what."""
    server = start(HttpSettings(token_file=token_file))
    assert [ask(server, path)[0] for path in ("/", "/healthz", "/readyz")] == [200] * 3
    for path in ("/metrics", "/pipeline"):
        status, headers, body = ask(server, path)
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="evenstream operators"')
        assert TOKEN.encode() not in body
        for good in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
            assert ask(server, path, None, good)[0] == 200
        for wrong in (
            TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x",
            f"Bearer {TOKEN.upper()}", "Bearer caf\xe9",
        ):  # fmt: skip
            assert ask(server, path, None, wrong)[0] == 401
        assert ask(server, path, None, f"Bearer {TOKEN}", f"Bearer {TOKEN}")[0] == 401


@pytest.mark.parametrize(
    "content",
    [
        "",
        "short",
        "two words that are long enough",
        "one-line-of-enough\nanother-of-enough",
        "x" * 1025,
        "caf\xe9" * 10,
    ],
)
def test_a_token_that_is_none_ends_the_start(tmp_path: Path, content: str) -> None:
    """With what to do; its text is in no message."""
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(EvenstreamError, match="the token's file") as caught:
        OperatorAccess.of(HttpSettings(token_file=path))
    assert not content or content not in str(caught.value)
    with pytest.raises(EvenstreamError, match="cannot be read"):
        OperatorAccess.of(HttpSettings(token_file=tmp_path / "none"))


def test_a_client_certificate_opens_them_as_well(
    start: Callable[..., HealthServer], papers: Path, token_file: Path
) -> None:
    """Over TLS: everyone sees the public pages, an operator's certificate or the token opens the others."""
    files = {"certificate_file": papers / "server.crt", "key_file": papers / "server.key"}
    server = start(HttpSettings(**files, client_ca_file=papers / "authority.crt", token_file=token_file))
    only = start(HttpSettings(**files, client_ca_file=papers / "authority.crt"))
    anyone = ssl.create_default_context(cafile=str(papers / "authority.crt"))
    operator = ssl.create_default_context(cafile=str(papers / "authority.crt"))
    operator.load_cert_chain(papers / "operator.crt", papers / "operator.key")
    for one in (server, only):
        assert [ask(one, path, anyone)[0] for path in ("/", "/healthz")] == [200] * 2
        assert [ask(one, path, operator)[0] for path in ("/", "/metrics", "/pipeline")] == [200] * 3
    assert ask(server, "/pipeline", anyone)[0] == 401
    assert ask(server, "/pipeline", anyone, f"Bearer {TOKEN}")[0] == 200
    status, _, body = ask(only, "/pipeline", anyone, f"Bearer {TOKEN}")
    assert (status, b"show a client certificate" in body) == (403, True)
    stranger = ssl.create_default_context(cafile=str(papers / "authority.crt"))
    stranger.load_cert_chain(papers / "other" / "stranger.crt", papers / "other" / "stranger.key")
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(only, "/pipeline", stranger)
    assert ask(only, "/", anyone)[0] == 200


def test_who_speaks_no_tls_is_not_answered(start: Callable[..., HealthServer], papers: Path) -> None:
    """Plain HTTP on such a port is closed, and the server goes on; the supervisor finds out by itself."""
    server = start(HttpSettings(certificate_file=papers / "server.crt", key_file=papers / "server.key"))
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(server, "/")
    anyone = ssl.create_default_context(cafile=str(papers / "authority.crt"))
    assert ask(server, "/", anyone)[0] == 200
    assert find_complaint("127.0.0.1", server.port) is None
    sick = HealthServer(
        "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: "no turn", ready=lambda: None,
        tls=server_tls(HttpSettings(certificate_file=papers / "server.crt", key_file=papers / "server.key")),
    )  # fmt: skip
    try:
        assert find_complaint("127.0.0.1", sick.port) == "no turn"
    finally:
        sick.close()


def test_who_does_not_go_on_with_tls_gives_way(papers: Path) -> None:
    """Half of a handshake holds a place for as long as nobody else needs it, and so does silence after a whole one."""
    anyone = ssl.create_default_context(cafile=str(papers / "authority.crt"))
    server = HealthServer(
        "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None,
        tls=server_tls(HttpSettings(certificate_file=papers / "server.crt", key_file=papers / "server.key")),
        limits=Limits(connections=1),
    )  # fmt: skip
    try:
        for whole in (False, True):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
                if whole:
                    held: socket.socket = anyone.wrap_socket(plain, server_hostname="127.0.0.1")
                else:
                    held = plain
                    held.sendall(b"\x16\x03\x01\x02\x00")
                assert ask(server, "/healthz", anyone)[0] == 200
                with suppress(ssl.SSLError, ConnectionError):
                    assert held.recv(1) == b""
                held.close()
    finally:
        server.close()


def test_doctor_asks_over_tls_and_with_the_token(
    start: Callable[..., HealthServer], papers: Path, token_file: Path
) -> None:
    """A role in order is one: as the settings say, or its address; what this caller is not shown is no fault of it."""
    own = {"certificate_file": papers / "server.crt", "key_file": papers / "server.key"}
    server, plain = start(HttpSettings(**own, token_file=token_file)), start(HttpSettings())
    settings = HttpSettings(**own)
    other = HttpSettings(certificate_file=papers / "operator.crt", key_file=papers / "operator.key")

    def seen(
        port: int, scheme: Literal["http", "https"] | None, token: str | None, known: HttpSettings
    ) -> tuple[str | None, bool, bool]:
        (found,) = ask_workers((Worker("publish", "127.0.0.1", port, scheme),), token, asking_context(known))
        assert found.silence is None or is_refusal(found) or found.silence == "unlike"
        return found.silence, found.healthy, bool(found.series)

    for scheme in (None, "https"):
        assert seen(server.port, scheme, TOKEN, settings) == (None, True, True)
        assert seen(server.port, scheme, None, settings) == ("refused", True, False)
        assert seen(server.port, scheme, TOKEN, other) == ("unlike", False, False)  # and it was not told the token
    assert seen(server.port, "https", TOKEN, HttpSettings()) == ("unlike", False, False)  # no authority of this machine
    assert seen(server.port, None, TOKEN, HttpSettings()) == ("unlike", False, False)
    assert seen(plain.port, "http", None, settings) == (None, True, True)
    assert seen(plain.port, None, None, settings) == ("unlike", False, False)


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class MountedSecret:
    """A Secret's volume: files behind the link ..data, which is pointed at another folder when they are renewed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        folder.mkdir()

    def hold(self, **files: bytes) -> None:
        """From now on it holds these; dots in names are underscores here."""
        self._count += 1
        (self.folder / f"..{self._count}").mkdir()
        for name, content in files.items():
            path = self.folder / f"..{self._count}" / name.replace("_", ".")
            path.write_bytes(content)
            if not (self.folder / path.name).is_symlink():
                (self.folder / path.name).symlink_to(Path("..data") / path.name)
        link = self.folder / "..data_tmp"
        link.symlink_to(f"..{self._count}")
        link.rename(self.folder / "..data")


def shown_certificate(server: HealthServer) -> bytes:
    """Which one a new connection sees."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        anyone.wrap_socket(plain) as secured,
    ):
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"").public_bytes(
            serialization.Encoding.PEM
        )


def test_a_renewed_certificate_is_shown_without_a_restart(
    papers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To connections that are new ten seconds later; those that stand go on; a pair that is none changes nothing."""
    caplog.set_level("INFO", "streams.watch.renewed")

    def pair(name: str, key: str | None = None) -> dict[str, bytes]:
        return {
            "tls_crt": (papers / f"{name}.crt").read_bytes(),
            "tls_key": (papers / f"{key or name}.key").read_bytes(),
        }

    secret, clock = MountedSecret(tmp_path / "secret"), Clock()
    secret.hold(**pair("server"))
    server = HealthServer(
        "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None,
        tls=server_tls(
            HttpSettings(certificate_file=secret.folder / "tls.crt", key_file=secret.folder / "tls.key"), clock
        ),
    )  # fmt: skip
    anyone = ssl.create_default_context(cafile=str(papers / "authority.crt"))
    stands = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=anyone)

    def still_answers() -> bool:
        stands.request("GET", "/healthz")
        return stands.getresponse().read() == b"ok\n"

    try:
        assert still_answers()
        secret.hold(**pair("operator"))
        clock.seconds = 9.9
        assert shown_certificate(server) == pair("server")["tls_crt"]
        clock.seconds = 10.1
        assert shown_certificate(server) == pair("operator")["tls_crt"]
        assert still_answers()
        for seconds, files in ((30, pair("server", "operator")), (50, {"tls_crt": b"", "tls_key": b""}), (70, {})):
            secret.hold(**files)
            clock.seconds = seconds
            for later in (0, 11):
                clock.seconds += later
                assert shown_certificate(server) == pair("operator")["tls_crt"]
        secret.hold(**pair("server"))
        clock.seconds = 100
        assert shown_certificate(server) == pair("server")["tls_crt"]
        assert still_answers()
    finally:
        stands.close()
        server.close()
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "ERROR", "ERROR", "INFO"]
    assert all("TLS cannot begin" in r.getMessage() for r in caplog.records if r.levelname == "ERROR")


def test_a_renewed_token_opens_and_the_old_one_does_not(tmp_path: Path) -> None:
    """From the first request that comes ten seconds later; a file that holds no token leaves the old one in force."""
    secret, clock = MountedSecret(tmp_path / "secret"), Clock()
    secret.hold(token=TOKEN.encode())
    access = OperatorAccess.of(HttpSettings(token_file=secret.folder / "token"), clock)
    server = HealthServer(
        "127.0.0.1", 0, registry=CollectorRegistry(), healthy=lambda: None, ready=lambda: None, guard=access.guard
    )  # fmt: skip

    def opens(token: str) -> bool:
        return ask(server, "/metrics", None, f"Bearer {token}")[0] == 200

    try:
        assert opens(TOKEN)
        secret.hold(token=b"another-token-of-enough-length\n")
        clock.seconds = 5
        assert opens(TOKEN)
        clock.seconds = 20
        assert opens("another-token-of-enough-length")
        assert not opens(TOKEN)
        secret.hold(token=b"short")
        clock.seconds = 40
        assert opens("another-token-of-enough-length")
        assert not opens("short")
    finally:
        server.close()


def test_files_that_do_not_belong_together_end_the_start(papers: Path) -> None:
    """One without the other, a key of another certificate, a file that is none."""
    with pytest.raises(ValidationError, match="go together"):
        HttpSettings(certificate_file=papers / "server.crt")
    with pytest.raises(ValidationError, match="needs TLS"):
        HttpSettings(client_ca_file=papers / "authority.crt")
    for certificate, key, authority in (
        ("server.crt", "operator.key", None), ("none", "server.key", None), ("server.crt", "server.key", "server.key"),
    ):  # fmt: skip
        with pytest.raises(EvenstreamError, match="TLS cannot begin"):
            server_tls(
                HttpSettings(
                    certificate_file=papers / certificate,
                    key_file=papers / key,
                    client_ca_file=None if authority is None else papers / authority,
                )
            )
