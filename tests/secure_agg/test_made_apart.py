"""Keys that each domain makes for itself, their public halves brought together, and keys that came as PEM."""

from __future__ import annotations

import datetime
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from secure_agg import ROLES, KeyFileError
from secure_agg.keyring import create, load_governance, load_operator, load_role, load_trusted, load_trusted_file
from secure_agg.made_apart import PublicKeyOf, assemble, make, read_certified, read_public

Domains = dict[str, Path]


@pytest.fixture
def domains(tmp_path: Path) -> Domains:
    """Each role, two reviewers and an operator in a place of their own; the folder with their key."""
    roots = {name: tmp_path / name for name in (*ROLES, "governance", "governance-2", "operator")}
    for name, root in roots.items():
        make(root, name.partition("-")[0], "t")
    return {name: root / name.partition("-")[0] for name, root in roots.items()}


def public(domains: Domains) -> list[PublicKeyOf]:
    return [read_public(folder / "public.json") for folder in domains.values()]


def pem(
    key: Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None
) -> bytes:
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption() if password is None else BestAvailableEncryption(password)
    )


def certificate(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """As cert-manager's self-signed issuer makes one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evenstream-seal")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


# -- making and bringing together -------------------------------------------------------------------------------------


def test_sets_made_apart_work_together(domains: Domains) -> None:
    """With the trusted.json of their public files each loads, and each believes what the others sign."""
    trusted = assemble(public(domains), "t", 2)
    for folder in domains.values():
        (folder / "trusted.json").write_bytes(trusted)
    everyone = {role: load_role(domains[role].parent, role, "t") for role in ROLES}
    for role, keys in everyone.items():
        for other in everyone.values():
            other.trusted.identities.verify(role, "batch", keys.identity.sign("batch", b"x"), b"x")
    pinned = load_trusted(domains["a"])
    reviewers = [load_governance(domains[name] / "reviewer.key") for name in ("governance", "governance-2")]
    assert list(pinned.governance) == [key.public_key() for key in reviewers]
    assert list(pinned.operators) == [load_operator(domains["operator"] / "operator.key").public_key()]


def test_the_file_is_the_one_that_a_set_from_one_place_has(domains: Domains, tmp_path: Path) -> None:
    """The same members in the same order and spelling."""
    create(tmp_path / "set", "t", 2)
    one, other = (tmp_path / "set" / "a" / "trusted.json").read_bytes(), assemble(public(domains), "t", 2)

    def outline(content: bytes) -> str:
        return "".join("x" if c in "0123456789abcdef" else c for c in content.decode())

    assert outline(one) == outline(other)


def test_what_is_handed_out_is_public(domains: Domains) -> None:
    """Private files are their owner's alone, and public.json holds the public key and nothing of them."""
    for name, folder in domains.items():
        private = list(folder.glob("*.key"))
        assert len(private) == (2 if name in ROLES else 1)
        handed_out = (folder / "public.json").read_text()
        assert set(json.loads(handed_out)) == {"deployment", "role", "public_key"}
        for path in private:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert path.read_text().strip() not in handed_out


def test_nothing_is_overwritten(domains: Domains) -> None:
    """A second making is refused and changes no byte; a role that there is not is no role."""
    before = (domains["seal"] / "identity.key").read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        make(domains["seal"].parent, "seal", "t")
    assert (domains["seal"] / "identity.key").read_bytes() == before
    with pytest.raises(ValueError, match="expected one of seal"):
        make(domains["seal"].parent, "retention", "t")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda keys: [k for k in keys if k.role not in ("a", "publish")], ["a: its public", "publish: its public"]),
        (lambda keys: [*keys, keys[0]], ["seal: has 2 keys", "the same key in"]),
        (lambda keys: [key for key in keys if key.role != "governance"], ["governance: has 0 keys, expected 2 "]),
        (lambda keys: keys[:6] + keys[7:], ["governance: has 1 keys, expected 2 "]),
        (lambda keys: [*keys, keys[6]], ["governance: the same key in"]),
        (lambda keys: [*keys, PublicKeyOf("operator", keys[2].key, "t", keys[2].source)], ["a, operator: the same"]),
        (
            lambda keys: [PublicKeyOf("seal", keys[0].key, "u", keys[0].source), *keys[1:]],
            ["public.json is of deployment 'u', but this is 't'"],
        ),
        (lambda keys: [], [f"{role}: its public" for role in ROLES]),
    ],
)  # fmt: skip
def test_what_is_missing_or_twice_is_named(
    domains: Domains, change: Callable[[list[PublicKeyOf]], list[PublicKeyOf]], said: list[str]
) -> None:
    """All of it at once, and nothing is assembled."""
    with pytest.raises(KeyFileError, match="these keys make no trusted") as caught:
        assemble(change(public(domains)), "t", 2)
    assert all(words in str(caught.value) for words in said), str(caught.value)


def test_operators_are_optional_and_may_be_several(domains: Domains, tmp_path: Path) -> None:
    """Without one nobody can skip, which is said where it is tried; several on call have a key each."""
    make(tmp_path / "second", "operator", "t")
    second = read_public(tmp_path / "second" / "operator" / "public.json")
    for keys, count in (([k for k in public(domains) if k.role != "operator"], 0), ([*public(domains), second], 2)):
        (tmp_path / "trusted.json").write_bytes(assemble(keys, "t", 2))
        assert len(load_trusted_file(tmp_path / "trusted.json").operators) == count


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"deployment": "t", "role": "retention", "public_key": "ab" * 32}),
        json.dumps({"deployment": "t", "role": "a", "public_key": "ab"}),
        json.dumps({"deployment": 1, "role": "a", "public_key": "ab" * 32}),
    ],
)
def test_a_malformed_public_file_is_refused(tmp_path: Path, content: str) -> None:
    """It names the file and what it must hold."""
    path = tmp_path / "public.json"
    path.write_text(content)
    with pytest.raises(KeyFileError, match="must be JSON with deployment, role"):
        read_public(path)
    with pytest.raises(KeyFileError, match="does not exist"):
        read_public(tmp_path / "none")


# -- PEM --------------------------------------------------------------------------------------------------------------


def test_a_key_of_cert_managers_is_an_identity(domains: Domains, tmp_path: Path) -> None:
    """tls.key as identity.key and as state.key, pinned by tls.crt: the role loads, and its secret is those 32 bytes."""
    identity, state = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    for name, key in (("identity.key", identity), ("state.key", state)):
        (domains["seal"] / name).write_bytes(pem(key))
    (tmp_path / "tls.crt").write_bytes(certificate(identity))
    (tmp_path / "public.pem").write_bytes(
        identity.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for file in ("tls.crt", "public.pem"):
        keys = [key for key in public(domains) if key.role != "seal"]
        certified = read_certified("seal", tmp_path / file)
        (domains["seal"] / "trusted.json").write_bytes(assemble([certified, *keys], "t", 2))
        loaded = load_role(domains["seal"].parent, "seal", "t")
        assert loaded.identity.private_key.private_bytes_raw() == identity.private_bytes_raw()
        assert loaded.state_secret == state.private_bytes_raw()


def test_pem_and_digits_are_the_same_secret(tmp_path: Path) -> None:
    """A key may be written anew in the other spelling: everything that is derived stays as it was."""
    create(tmp_path, "t")
    folder = tmp_path / "a"
    before = load_role(tmp_path, "a", "t")
    for name in ("identity.key", "state.key"):
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex((folder / name).read_text()))
        (folder / name).write_bytes(pem(key))
    after = load_role(tmp_path, "a", "t")
    assert after.derive("x") == before.derive("x")
    assert after.identity.sign("batch", b"x") == before.identity.sign("batch", b"x")
    shutil.copy(folder / "identity.key", tmp_path / "operator" / "operator.key")
    assert load_operator(tmp_path / "operator" / "operator.key").public_key() == after.identity.private_key.public_key()


@pytest.mark.parametrize(
    "content",
    [
        pem(Ed25519PrivateKey.generate(), b"hunter2"),
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(rsa.generate_private_key(65537, 2048)),
        certificate(Ed25519PrivateKey.generate()),
        pem(Ed25519PrivateKey.generate())[:-40],
    ],
    ids=["encrypted", "elliptic", "rsa", "certificate", "cut"],
)
def test_another_private_key_in_pem_is_refused(tmp_path: Path, content: bytes) -> None:
    """It says what cert-manager must be told, and nothing of the key."""
    create(tmp_path, "t")
    (tmp_path / "a" / "state.key").write_bytes(content)
    with pytest.raises(KeyFileError, match=r"a/state.key is PEM, expected an Ed25519 private key in PKCS#8") as caught:
        load_role(tmp_path, "a", "t")
    assert content.splitlines()[1].decode()[:12] not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"abc", certificate(ec.generate_private_key(ec.SECP256R1())), pem(Ed25519PrivateKey.generate())]
)
def test_another_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    """Of another kind of key, a private key handed out by mistake, or none."""
    (tmp_path / "tls.crt").write_bytes(content)
    with pytest.raises(KeyFileError, match="must be a PEM certificate or a PEM public key") as caught:
        read_certified("a", tmp_path / "tls.crt")
    assert b"PRIVATE" not in content or content.splitlines()[1].decode()[:12] not in str(caught.value)
