"""The developer's broker, secured: TLS, SCRAM users, and nobody allowed anything without an ACL.

Three listeners, each on 127.0.0.1. Clients speak SASL_SSL with SCRAM-SHA-512. The broker speaks to itself and to its
controller by mutual TLS, and its own certificate is the only one that its authority has ever signed: the authority's
private key is never written anywhere, so whoever reaches these two ports is refused. ``StandardAuthorizer`` lets in
nobody by default; the broker's certificate and the user ``admin`` are super users.

Passwords lie in files of mode 0600 and are given to Kafka in such files too: a command line can be read by everyone.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its API
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secure_agg.keyring import write_private
from streams.errors import KafkaUnavailable
from streams.settings import settings_file

ADMIN = "admin"
"""The user who may do everything; for making users and ACLs, never for a role."""

MECHANISM = "SCRAM-SHA-512"
_ITERATIONS = 4096
_BROKER_NAME = "evenstream-dev-broker"
_VALID = timedelta(days=3650)
_REQUEST_SECONDS = 20.0

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=CLIENTS://127.0.0.1:{port},BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{port},BROKER://127.0.0.1:{broker}
listener.security.protocol.map=CLIENTS:SASL_SSL,BROKER:SSL,CONTROLLER:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
ssl.client.auth=required
listener.name.clients.ssl.client.auth=none
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:admin;User:CN=evenstream-dev-broker
"""
"""In place of the plain broker's lines on listeners."""


@dataclass(frozen=True)
class BrokerSecurity:
    """Certificates and users of one broker.

    Attributes:
        folder: of mode 0700: ``ca.pem`` for clients, ``broker.pem`` with the broker's key, ``passwords.json``.
    """

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> BrokerSecurity:
        """Make an authority, the broker's certificate, and the user ``admin``."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, certificate = _certificates()
        write_private(folder / "ca.pem", authority)
        write_private(folder / "broker.pem", certificate)
        made = cls(folder)
        made._keep({ADMIN: secrets.token_hex(16)})
        return made

    @property
    def authority(self) -> Path:
        """The certificate by which clients know the broker."""
        return self.folder / "ca.pem"

    def properties(self, user: str) -> dict[str, str]:
        """librdkafka properties with which a client is this user.

        Raises:
            KeyError: there is no such user.
        """
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": self._passwords()[user],
            "ssl.ca.location": str(self.authority),
        }

    def scram_argument(self) -> str:
        """What StorageTool takes to make ``admin``: it holds the password, so it belongs in a file of mode 0600."""
        return f"{MECHANISM}=[name={ADMIN},password={self._passwords()[ADMIN]}]"

    def add_users(self, bootstrap: str, names: Iterable[str]) -> None:
        """Make users with passwords of their own; those that exist keep theirs.

        Raises:
            KafkaUnavailable: the broker did not take one.
        """
        known = dict(self._passwords())
        fresh = {name: secrets.token_hex(16) for name in names if name not in known}
        if not fresh:
            return
        client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **self.properties(ADMIN)})
        wanted: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(
                name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS), password.encode()
            )
            for name, password in fresh.items()
        ]
        try:
            for future in client.alter_user_scram_credentials(wanted, request_timeout=_REQUEST_SECONDS).values():
                future.result(_REQUEST_SECONDS)
        except (KafkaException, TimeoutError) as error:
            raise KafkaUnavailable(f"the broker's users could not be made: {error}") from None
        self._keep(known | fresh)

    def _passwords(self) -> Mapping[str, str]:
        stored: dict[str, str] = json.loads((self.folder / "passwords.json").read_text())
        return stored

    def _keep(self, passwords: Mapping[str, str]) -> None:
        write_private(self.folder / "passwords.json", json.dumps(passwords, indent=2).encode() + b"\n")


def client_file(path: Path, overrides: Sequence[str], properties: Mapping[str, str]) -> None:
    """Write a settings file, mode 0600, with which a command or a role is one user.

    Args:
        overrides: further settings, ``name=value``.
        properties: what :meth:`BrokerSecurity.properties` says.
    """
    shown = [*overrides, *(f"kafka.properties.{name}={value}" for name, value in properties.items())]
    write_private(path, settings_file(shown).encode())


def _certificates() -> tuple[bytes, bytes]:
    """(the authority's certificate, the broker's key with its certificate), PEM; the authority's key is let go."""
    begin = datetime.now(UTC) - timedelta(days=1)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evenstream-dev-authority")])
    authority = (
        _begun(authority_name, authority_name, authority_key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _BROKER_NAME)])
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _begun(name, authority_name, key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = authority.public_bytes(serialization.Encoding.PEM)
    return shown, private + certificate.public_bytes(serialization.Encoding.PEM) + shown


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _VALID)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
