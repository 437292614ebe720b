"""Security for `publish`: what librdkafka's properties say is what Faust's client does, or an error."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.errors import SettingsError
from streams.kafka.faust_credentials import credentials

SCRAM = {
    "security.protocol": "sasl_ssl",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "publish",
    "sasl.password": "0123",
}


def test_a_cluster_that_asks_for_nothing_gets_nothing() -> None:
    """Without a security protocol, or with plaintext, there are no credentials."""
    assert credentials({}) is None
    assert credentials({"security.protocol": "PLAINTEXT", "socket.timeout.ms": "5000"}) is None


def test_scram_over_tls_reaches_the_client() -> None:
    """User, password, mechanism and a verifying TLS context arrive at aiokafka as they were set for librdkafka."""
    client = credentials_to_aiokafka_auth(credentials(SCRAM))
    assert client["security_protocol"] == "SASL_SSL"
    assert client["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("publish", "0123")
    assert client["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert client["ssl_context"].check_hostname


def test_tls_alone_and_sasl_alone() -> None:
    """Each half of the security works without the other, and a host name is only left unchecked on request."""
    tls = credentials_to_aiokafka_auth(
        credentials({"security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "none"})
    )
    assert tls["security_protocol"] == "SSL"
    assert not tls["ssl_context"].check_hostname
    assert tls["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    plain = credentials_to_aiokafka_auth(credentials(SCRAM | {"security.protocol": "SASL_PLAINTEXT"}))
    assert plain["security_protocol"] == "SASL_PLAINTEXT"
    assert plain["ssl_context"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sasl.oauthbearer.config": "x"}, "sasl.oauthbearer.config"),
        ({"ssl.crl.location": "x"}, "ssl.crl.location"),
        ({"enable.ssl.certificate.verification": "false"}, "enable.ssl.certificate.verification"),
        ({"sasl.mechanism": "GSSAPI"}, "GSSAPI"),
        ({"sasl.password": ""}, "sasl.password"),
        ({"security.protocol": "carrier-pigeon"}, "CARRIER-PIGEON"),
        ({"ssl.ca.location": "no-such-file.pem"}, "TLS files"),
    ],
)
def test_what_cannot_be_said_again_is_an_error(change: dict[str, str], said: str) -> None:
    """A property that Faust's client cannot follow is refused by name, never ignored, and no password is shown."""
    with pytest.raises(SettingsError, match=said) as caught:
        credentials(SCRAM | change)
    assert "0123" not in str(caught.value)


def test_a_client_certificate_that_is_none_is_an_error(tmp_path: Path) -> None:
    """A file that is no certificate is told, before anything connects without it."""
    wrong = tmp_path / "client.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(SettingsError, match="TLS files"):
        credentials({"security.protocol": "ssl", "ssl.certificate.location": str(wrong)})
