"""librdkafka's security properties, said again for Faust, whose client (aiokafka) is another one.

An operator states security once, as librdkafka properties (``streams.kafka.properties``). What has no counterpart here
is an error and never left out in silence: a role that speaks in the clear because a property was ignored is how
passwords are lost.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import faust

from streams.errors import SettingsError

_SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TRANSLATED = frozenset(
    (
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
    )
)


def credentials(properties: Mapping[str, str]) -> Any | None:
    """Faust's credentials for these librdkafka properties; None for a cluster that asks for none.

    Raises:
        SettingsError: a security property has no counterpart, or one that is needed is missing.
    """
    security = {name for name in properties if name.removeprefix("enable.").startswith(("sasl.", "ssl.", "security."))}
    unknown = sorted(security - _TRANSLATED)
    if unknown:
        raise SettingsError(
            f"kafka.properties: {', '.join(unknown)} cannot be used by role publish, whose client is aiokafka; "
            f"it takes {', '.join(sorted(_TRANSLATED))}"
        )
    protocol = properties.get("security.protocol", "plaintext").upper()
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context=_context(properties))
    if protocol not in ("SASL_PLAINTEXT", "SASL_SSL"):
        raise SettingsError(
            f"kafka.properties: security.protocol is {protocol}, expected plaintext, ssl, sasl_plaintext or sasl_ssl"
        )
    mechanism = properties.get("sasl.mechanism") or properties.get("sasl.mechanisms") or "(none)"
    if mechanism not in _SASL_MECHANISMS:
        raise SettingsError(
            f"kafka.properties: sasl.mechanism is {mechanism}; role publish takes {', '.join(_SASL_MECHANISMS)}"
        )
    missing = [name for name in ("sasl.username", "sasl.password") if not properties.get(name)]
    if missing:
        raise SettingsError(f"kafka.properties: {mechanism} needs {' and '.join(missing)}")
    return faust.SASLCredentials(
        username=properties["sasl.username"],
        password=properties["sasl.password"],
        mechanism=mechanism,
        ssl_context=_context(properties) if protocol == "SASL_SSL" else None,
    )


def _context(properties: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
        certificate = properties.get("ssl.certificate.location")
        if certificate:
            context.load_cert_chain(certificate, properties.get("ssl.key.location"), properties.get("ssl.key.password"))
    except OSError as error:  # ssl.SSLError is one: a wrong password, a file that is no certificate
        raise SettingsError(f"kafka.properties: the TLS files cannot be used: {error}") from None
    context.check_hostname = properties.get("ssl.endpoint.identification.algorithm", "https") == "https"
    return context
