"""A trial's keys as Secrets: all of them or none, with the right to create and no other, and no key in any message."""

from __future__ import annotations

import base64
import datetime
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from chart import cluster as clusters
from chart.cluster import Cluster
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secure_agg.keyring import HOLDERS, load_role
from streams.cli import main

TOKEN = "a-token-of-a-service-account"
NAMES = [f"trial-{holder}" for holder in HOLDERS]


class Api:
    """A small API server over TLS: keeps Secrets by name, answers as Kubernetes does, and notes what it is asked.

    Attributes:
        asked: of each request its method, path, query, Authorization and body.
        secrets: what is kept. refuse: answers instead, where it gives an answer for a Secret's name and its dry run.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str, dict[str, list[str]], str | None, dict[str, Any]]] = []
        self.secrets: dict[str, dict[str, Any]] = {}
        self.refuse: Callable[[str, bool], tuple[int, Any] | None] = lambda name, dry_run: None
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                target = urlsplit(self.path)
                query = parse_qs(target.query)
                api.asked.append((self.command, target.path, query, self.headers["Authorization"], body))
                status, answer = api.answer(body, "dryRun" in query)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(_papers(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def answer(self, body: dict[str, Any], dry_run: bool) -> tuple[int, Any]:
        name = body["metadata"]["name"]
        refusal = self.refuse(name, dry_run)
        if refusal is not None:
            return refusal
        if name in self.secrets:
            return 409, {"kind": "Status", "reason": "AlreadyExists", "message": f'secrets "{name}" already exists'}
        if not dry_run:
            self.secrets[name] = body
        return 201, body

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _papers(folder: Path) -> Path:
    """A certificate of its own authority for 127.0.0.1, with its key; ca.crt has the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "api.pem").write_bytes(made + private)
    (folder / "ca.crt").write_bytes(made)
    return folder / "api.pem"


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """What a pod has mounted; ca.crt comes with the server."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("trial")
    return tmp_path


@pytest.fixture
def api(account: Path) -> Iterator[Api]:
    server = Api(account)
    yield server
    server.close()


def init(folder: Path, port: int | str, *more: str, prefix: str = "trial") -> Result:
    """`evenstream keys init --as-secrets` in a pod; keys.dir is a place where nothing can be made."""
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
    given = ["--set", "deployment=t", "--set", "keys.dir=/proc/nowhere", "keys", "init", "--as-secrets", prefix]
    return CliRunner().invoke(main, [*given, "--service-account", str(folder), *more], env=environment)


def test_a_full_set_becomes_secrets(api: Api, account: Path, tmp_path: Path) -> None:
    """One for each holder, with the files of its folder, by which every role loads; nobody's is in another's."""
    done = init(account, api.port, "--reviewers", "2")
    assert done.exit_code == 0, done.output
    assert list(api.secrets) == NAMES
    for holder in HOLDERS:
        secret = api.secrets[f"trial-{holder}"]
        assert (secret["kind"], secret["type"]) == ("Secret", "Opaque")
        assert secret["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "evenstream-keys",
            "app.kubernetes.io/part-of": "evenstream",
        }
        folder = tmp_path / "keys" / holder
        folder.mkdir(parents=True)
        for name, content in secret["data"].items():
            (folder / name).write_bytes(base64.b64decode(content))
            (folder / name).chmod(0o600)
        private = {name for name in secret["data"] if name != "trusted.json"}
        assert private == {
            "governance": {"reviewer-1.key", "reviewer-2.key"},
            "operator": {"operator.key"},
        }.get(holder, {"identity.key", "state.key"})
    for role in HOLDERS[:5]:
        assert load_role(tmp_path / "keys", role, "t").role == role
    assert "for a trial" in done.output
    for secret in api.secrets.values():
        for name, content in secret["data"].items():
            assert name == "trusted.json" or base64.b64decode(content).decode().strip() not in done.output


def test_all_are_asked_for_before_one_is_made(api: Api, account: Path) -> None:
    """Only POSTs to the namespace's Secrets, as the service account: seven dry runs without a key, then seven with."""
    assert init(account, api.port).exit_code == 0
    assert {(method, path, by) for method, path, _, by, _ in api.asked} == {
        ("POST", "/api/v1/namespaces/trial/secrets", f"Bearer {TOKEN}")
    }
    assert [query.get("dryRun") for _, _, query, _, _ in api.asked] == [["All"]] * 7 + [None] * 7
    bodies = [body for *_, body in api.asked]
    assert bodies[7:] == list(api.secrets.values())
    assert all(body["data"] and all(body["data"].values()) for body in bodies[7:])
    assert bodies[:7] == [body | {"data": dict.fromkeys(body["data"], "")} for body in bodies[7:]]


def test_a_repeat_does_nothing(api: Api, account: Path) -> None:
    """All are there: that is what was wanted, and the set that is there stays."""
    assert init(account, api.port).exit_code == 0
    before = dict(api.secrets)
    again = init(account, api.port)
    assert again.exit_code == 0, again.output
    assert "already; nothing was made" in again.output
    assert api.secrets == before
    assert all("dryRun" in query for _, _, query, _, _ in api.asked[14:])


@pytest.mark.parametrize("there", [["trial-b"], NAMES[1:]])
def test_a_part_of_a_set_is_not_made_whole(api: Api, account: Path, there: list[str]) -> None:
    """Keys of two sets do not work together: it names which are there and which are not, and makes none."""
    api.secrets = {name: {"old": name} for name in there}
    before = dict(api.secrets)
    refused = init(account, api.port)
    assert refused.exit_code == 1
    assert f"a part of a set: {', '.join(there)}, and not {', '.join(n for n in NAMES if n not in there)}." in (
        refused.output
    )
    assert api.secrets == before


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (403, {"message": 'secrets is forbidden: User "x" cannot create resource "secrets"'}, 'verbs ["create"]'),
        (403, {"message": "exceeded quota: few"}, "(403): exceeded quota: few"),
        (401, {"message": "Unauthorized"}, "mount a new one"),
        (404, {"message": "namespaces not found"}, "no namespace trial"),
        (409, {"reason": "Conflict", "message": "is being deleted"}, "(409): is being deleted"),
        (500, b"<html>", "(500): without a reason"),
        (200, b"", None),
    ],
)
def test_a_refusal_says_what_to_do(api: Api, account: Path, status: int, answer: Any, said: str | None) -> None:
    """Before anything is made; and an answer of success is one, whatever its text."""
    api.refuse = lambda name, dry_run: (status, answer) if dry_run or said is None else None
    done = init(account, api.port)
    assert done.exit_code == (0 if said is None else 1), done.output
    assert said is None or said in done.output
    assert not api.secrets
    assert TOKEN not in done.output


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {"message": "etcd is gone"}), "etcd is gone. What was made before that is of no use alone"),
        ((409, {"reason": "AlreadyExists"}), "somebody else has made Secret trial-a at the same time"),
    ],
)
def test_what_was_made_half_way_is_named(api: Api, account: Path, answer: tuple[int, Any], said: str) -> None:
    """With the command that takes it away: this account may not delete."""
    api.refuse = lambda name, dry_run: None if dry_run or name != "trial-a" else answer
    done = init(account, api.port)
    assert done.exit_code == 1
    assert said in done.output
    assert "kubectl -n trial delete secret --ignore-not-found trial-seal trial-attach" in done.output
    assert list(api.secrets) == NAMES[:2]


def test_only_the_clusters_own_authority_is_believed(api: Api, account: Path, tmp_path: Path) -> None:
    """Another server at that address is told no token."""
    (tmp_path / "other").mkdir()
    _papers(tmp_path / "other")
    (account / "ca.crt").write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
    done = init(account, api.port)
    assert done.exit_code == 1
    assert "does not answer: " in done.output
    assert not api.asked


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "token").unlink(), "token cannot be read: No such file"),
        (lambda folder: (folder / "token").write_text(""), "token must hold one word"),
        (lambda folder: (folder / "ca.crt").write_text("x"), "it is no PEM certificate"),
        (lambda folder: (folder / "ca.crt").unlink(), "ca.crt cannot be used: No such file"),
        (lambda folder: (folder / "namespace").write_text("a/../b"), "the namespace is 'a/../b'"),
    ],
)
def test_a_pod_without_an_account_is_told(api: Api, account: Path, change: Callable[[Path], object], said: str) -> None:
    """Which file is missing or wrong, before anyone is asked."""
    change(account)
    done = init(account, api.port)
    assert done.exit_code == 1
    assert said in done.output
    assert not api.asked


def test_outside_of_a_cluster_it_says_so(account: Path) -> None:
    """No variable, nobody at the address, a name that no Secret can have, options that go together."""
    assert "as Kubernetes sets them in each pod" in init(account, "").output
    (account / "ca.crt").write_bytes(b"")
    _papers(account)
    assert "does not answer: Connection refused" in init(account, 1).output
    assert "a Secret's name is 'Trial-seal'" in init(account, 1, prefix="Trial").output
    alone = CliRunner().invoke(main, ["keys", "init", "--namespace", "x"])
    assert (alone.exit_code, "go with --as-secrets" in alone.output) == (2, True)


# -- the real API server ----------------------------------------------------------------------------------------------

RIGHTS = """
{apiVersion: v1, kind: Namespace, metadata: {name: trial}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: maker, namespace: trial}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: maker, namespace: trial},
rules: [{apiGroups: [""], resources: [secrets], verbs: [create]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: maker, namespace: trial},
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: maker},
subjects: [{kind: ServiceAccount, name: maker, namespace: trial}]}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A control plane of its own."""
    with clusters.running(tmp_path / "cluster") as found:
        yield found


def _authority(cluster: Cluster, namespace: str) -> str:
    """The cluster's own, once a controller has put it into a namespace: it does some time after that is made."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for found in cluster.all_of("configmaps", namespace):
            if found["metadata"]["name"] == "kube-root-ca.crt":
                return str(found["data"]["ca.crt"])
        time.sleep(0.2)
    pytest.fail(f"namespace {namespace} has no kube-root-ca.crt")


@pytest.mark.chart
@pytest.mark.cluster
@pytest.mark.skipif(not clusters.is_built(), reason="no control plane: `make chart-live` builds it, once")
def test_the_right_to_create_is_enough(cluster: Cluster, account: Path) -> None:
    """A real API server, and an account that may create Secrets and do nothing else: made, repeated, a part refused."""
    cluster.kubectl("apply", "--filename", "-", feed=RIGHTS)
    (account / "token").write_text(cluster.token("trial", "maker", 600))
    (account / "ca.crt").write_text(_authority(cluster, "trial"))
    for verb in ("get", "list", "update", "delete"):
        asked = (
            "kubectl",
            "auth",
            "can-i",
            verb,
            "secrets",
            "-n",
            "trial",
            "--as",
            "system:serviceaccount:trial:maker",
        )
        assert cluster.run(*asked, check=False).strip() == "no"
    port = int(cluster.api_server()["KUBERNETES_SERVICE_PORT"])

    def secrets() -> dict[str, dict[str, str]]:
        return {item["metadata"]["name"]: item["data"] for item in cluster.all_of("secrets", "trial")}

    done = init(account, port)
    assert done.exit_code == 0, done.output
    made = secrets()
    assert sorted(made) == sorted(NAMES)
    again = init(account, port)
    assert (again.exit_code, "nothing was made" in again.output) == (0, True)
    assert secrets() == made
    cluster.kubectl("delete", "secret", "trial-b", "--namespace", "trial")
    part = init(account, port)
    assert (part.exit_code, "and not trial-b." in part.output) == (1, True)
    assert sorted(secrets()) == sorted(set(NAMES) - {"trial-b"})
    elsewhere = init(account, port, "--namespace", "default")
    assert (elsewhere.exit_code, 'verbs ["create"] on secrets in namespace default' in elsewhere.output) == (1, True)
