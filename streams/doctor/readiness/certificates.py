"""Check: how long are the certificates valid that the role shows, to those who ask it and to Kafka's brokers?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from streams.doctor.findings import Finding
from streams.doctor.readiness.subject import WORKERS, Subject
from streams.errors import EvenstreamError
from streams.kafka.clients import admin_config
from streams.watch.access import server_tls, token_of

CHECK = "certificates"

_LEAST = timedelta(days=14)


def check(subject: Subject) -> Iterator[Finding]:
    """One finding for each certificate; nothing is said of a role that has none."""
    http = subject.settings.http
    if subject.role in WORKERS:
        try:
            server_tls(http)
            if http.token_file is not None:
                token_of(http.token_file)
        except EvenstreamError as error:
            yield Finding(CHECK, "wrong", str(error), "mend the file, or leave the setting out")
        if http.certificate_file is not None:
            yield from _file(subject, "http.certificate_file", http.certificate_file)
    properties = admin_config(subject.settings)
    for name in ("ssl.certificate.location", "ssl.ca.location"):
        path = properties.get(name)
        if path is not None and not Path(str(path)).is_dir():  # a folder of authorities is the system's to renew
            yield from _file(subject, name, Path(str(path)))
    for name in ("ssl.certificate.pem", "ssl.ca.pem"):
        if name in properties:
            yield from _pem(subject, name, str(properties[name]).encode())


def _file(subject: Subject, name: str, path: Path) -> Iterator[Finding]:
    try:
        content = path.read_bytes()
    except OSError as error:
        yield Finding(CHECK, "wrong", f"{name}: {path} cannot be read: {error.strerror}", "mount it, or mend the path")
        return
    yield from _pem(subject, f"{name} ({path})", content)


def _pem(subject: Subject, name: str, content: bytes) -> Iterator[Finding]:
    try:
        chain = x509.load_pem_x509_certificates(content)
    except ValueError:
        yield Finding(CHECK, "wrong", f"{name} holds no PEM certificate", "give a PEM file with the certificate first")
        return
    now = datetime.fromtimestamp(subject.now_ms / 1000, UTC)
    # Of a bundle of authorities one may have ended long ago; a chain is as good as its first to end.
    pick = max if "ca." in name.partition(" ")[0] else min
    until = pick(certificate.not_valid_after_utc for certificate in chain)
    since = min(certificate.not_valid_before_utc for certificate in chain)
    day = f"{until:%Y-%m-%d %H:%M} UTC"
    if until <= now:
        yield Finding(CHECK, "wrong", f"{name} has ended on {day}", "put a new one in its place")
    elif until - now < _LEAST:
        days = (until - now) / timedelta(days=1)
        yield Finding(CHECK, "wrong", f"{name} ends in {days:.1f} days, on {day}", "put a new one in its place")
    elif since > now:
        yield Finding(
            CHECK, "wrong", f"{name} begins only on {since:%Y-%m-%d %H:%M} UTC", "set the clock (NTP), or wait"
        )
    else:
        yield Finding(CHECK, "ok", f"{name} is valid until {day}")
