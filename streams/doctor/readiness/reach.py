"""Check: does each bootstrap address answer, with these credentials, and can its brokers be reached as they say?

One address of several that is silent, and too few brokers for topics that are all there, are what any maintenance of a
broker looks like: they are told, and are not wrong. librdkafka's own reasons are told apart by their codes; of a
certificate that is not believed, TLS is begun once more, since OpenSSL says which of its rules was broken, and
librdkafka only that one was.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from cryptography import x509

from streams.doctor.findings import Finding
from streams.doctor.readiness.subject import Subject
from streams.doctor.readiness.topics import all_made
from streams.kafka.clients import admin, admin_config
from streams.settings import Settings

BROKERS, AUTHENTICATION = "brokers", "authentication"

_SECONDS = 5.0
"""For how long one address is tried: a user that was just made, or a name, is not known everywhere at once."""
_QUESTION_SECONDS = 0.5
_CONNECT_SECONDS = 3.0

_SSL, _AUTH, _RESOLVE, _DOWN = (
    KafkaError._SSL,  # noqa: SLF001  # librdkafka's own codes begin with _
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001  # which says nothing but that
)


@dataclass(frozen=True)
class Tried:
    """What came of one bootstrap address.

    Attributes:
        brokers: advertised addresses, (host, port), by broker id; None where it did not answer.
        code, reason: why it did not, librdkafka's code and words.
    """

    address: str
    brokers: dict[int, tuple[str, int]] | None = None
    code: int = 0
    reason: str = ""


def check(subject: Subject) -> Iterator[Finding]:
    """One finding for each address that does not answer, one of the brokers, one of who this is."""
    settings = subject.settings
    listed = [part.strip() for part in settings.kafka.bootstrap.split(",") if part.strip()]
    with ThreadPoolExecutor(max_workers=min(16, len(listed))) as pool:
        tried = tuple(pool.map(lambda address: _try(settings, address), listed))
    subject.reached = any(each.brokers is not None for each in tried)
    for each in tried:
        if each.brokers is None:
            yield _told(settings, each, others=subject.reached)
    brokers = next((each.brokers for each in tried if each.brokers is not None), None)
    if brokers is None:
        return
    yield from _of_brokers(subject, brokers, len(listed))
    yield from _who(subject)


def _try(settings: Settings, address: str) -> Tried:
    alone = settings.kafka.model_copy(update={"bootstrap": address})
    errors: list[KafkaError] = []
    client = admin(settings.model_copy(update={"kafka": alone}), error_cb=errors.append)
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            metadata: Any = client.list_topics(timeout=_QUESTION_SECONDS)
            return Tried(address, {n: (broker.host, broker.port) for n, broker in metadata.brokers.items()})
        except KafkaException as error:
            client.poll(0)  # hands out the reasons
            if time.monotonic() > deadline:
                # What comes last may be that the other side hung up, which it does for a reason that came before.
                told = [e for e in errors if e.code() in (_AUTH, _SSL, _RESOLVE)]
                telling = told or [e for e in errors if e.code() != _DOWN] or [error.args[0]]
                return Tried(address, None, int(telling[-1].code()), str(telling[-1].str()))


def _told(settings: Settings, tried: Tried, *, others: bool) -> Finding:
    """Why an address does not answer; where others do, it may be silent for a while, but not refuse this role."""
    address, reason = tried.address, tried.reason
    if tried.code == _AUTH:
        return Finding(
            AUTHENTICATION,
            "wrong",
            f"{address} does not take the credentials of {_name(settings)}: {reason}",
            "give this role its own user's password (kafka.properties), or make the user on the cluster",
        )
    why = _certificate_problem(settings, address) if tried.code == _SSL else None
    says, mend = _silent(tried, why)
    if others and why is None:
        return Finding(BROKERS, "ok", f"{says}. Another address answers, which is enough while this one is down", mend)
    return Finding(BROKERS, "wrong", says, mend)


def _silent(tried: Tried, why: str | None) -> tuple[str, str]:
    """What an address does instead of answering, and what to do about it.

    Args:
        why: its certificate is not believed.
    """
    address, reason = tried.address, tried.reason
    if tried.code == _RESOLVE:
        return (
            f"the name of {address} is not known here: {reason}",
            "mend kafka.bootstrap; in a cluster, see that this pod may ask DNS (NetworkPolicy)",
        )
    if tried.code == _SSL:
        return (
            f"TLS with {address} cannot begin: {why or reason}",
            "name the authority that signed the brokers' certificates (ssl.ca.location of kafka.properties), and the "
            "brokers by a name that their certificates have",
        )
    if _unreachable(split_address(address)) is None:
        return (
            f"{address} accepts connections, and does not speak as it was asked: {reason}",
            "set security.protocol of kafka.properties to what that listener speaks, or name another of its ports",
        )
    return (
        f"nothing answers at {address}: {reason or 'no answer'}",
        "start it, or mend kafka.bootstrap; where it runs, let this pod through to it (NetworkPolicy, firewall)",
    )


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a bootstrap address, which may name a protocol, and needs no port."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else (f"{host}:{port}".strip(":[]"), 9092)


def _certificate_problem(settings: Settings, address: str) -> str | None:
    """Why the broker's certificate is not believed, in OpenSSL's words; None where this cannot tell."""
    properties = admin_config(settings)
    try:
        authority = properties.get("ssl.ca.location")
        known = None if authority is None else str(authority)
        folder = known is not None and Path(known).is_dir()
        context = ssl.create_default_context(
            cafile=None if folder else known, capath=known if folder else None, cadata=properties.get("ssl.ca.pem")
        )
        host, port = split_address(address)
        with (
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not believed: {error.verify_message}"
    except FileNotFoundError:
        return f"ssl.ca.location names {properties.get('ssl.ca.location')}, which is not there"
    except (OSError, ValueError):
        return None


def _of_brokers(subject: Subject, brokers: dict[int, tuple[str, int]], addresses: int) -> Iterator[Finding]:
    """Whether each broker can be reached where it says it is, and whether there are enough of them."""
    well = True
    with ThreadPoolExecutor(max_workers=min(16, len(brokers))) as pool:
        for broker, why in zip(brokers, pool.map(_unreachable, brokers.values()), strict=True):
            if why is not None:
                well = False
                host, port = brokers[broker]
                yield Finding(
                    BROKERS,
                    "wrong",
                    f"broker {broker} says that it is at {host}:{port}, and there it cannot be "
                    f"reached from here: {why}",
                    "set its advertised.listeners to what this role can reach, and let it "
                    "through (NetworkPolicy, firewall)",
                )
    copies = subject.settings.topics.replication_factor
    if copies > len(brokers):
        well = False
        says = f"there are {len(brokers)} brokers, and topics.replication_factor is {copies}"
        mend = "start more brokers, or lower topics.replication_factor and topics.min_insync_replicas"
        if all_made(subject):
            yield Finding(BROKERS, "ok", f"{says}. All topics that {subject.role} uses are there: none is made", mend)
        else:
            yield Finding(BROKERS, "wrong", f"{says}: no topic can be made", mend)
    if well:
        answers = "the address answers" if addresses == 1 else f"of {addresses} addresses at least one answers"
        found = "the one broker" if len(brokers) == 1 else f"each of {len(brokers)} brokers"
        yield Finding(BROKERS, "ok", f"{answers}; {found} can be reached, for {copies} copies of each partition")


def _unreachable(address: tuple[str, int]) -> str | None:
    try:
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except socket.gaierror:
        return "its name is not known"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return str(error.strerror or error)
    return None


def _who(subject: Subject) -> Iterator[Finding]:
    """Who this is, and whether that is who the table of ACLs takes this role for."""
    settings = subject.settings
    properties = admin_config(settings)
    protocol = str(properties.get("security.protocol", "plaintext")).lower()
    wanted = settings.principal(subject.role)
    if protocol == "plaintext":
        yield Finding(
            AUTHENTICATION,
            "ok",
            "the cluster speaks without TLS and without authentication: whoever reaches it reads and writes "
            "everything, unseen. For trials only",
        )
        return
    user = properties.get("sasl.username")
    if user is not None and f"User:{user}" != wanted:
        yield Finding(
            AUTHENTICATION,
            "wrong",
            f"these are the credentials of User:{user}, and {subject.role} is {wanted}",
            f"give {subject.role} its own user, or name this one in principals.names ({subject.role}: 'User:{user}')",
        )
        return
    remark = "" if "ssl" in protocol else ". Without TLS: passwords and records can be read on the way"
    named = None if user is not None else _subject_of(properties)
    if named is not None and f"User:{named}" != wanted:
        remark += f". {subject.role} is {wanted}, which this is only where ssl.principal.mapping.rules say so"
    yield Finding(
        AUTHENTICATION, "ok", f"Kafka takes the credentials of {_name(settings)} ({protocol.upper()}){remark}"
    )


def _name(settings: Settings) -> str:
    """Who these settings are, as far as they tell."""
    properties = admin_config(settings)
    named = _subject_of(properties)
    if "sasl.username" in properties:
        return f"User:{properties['sasl.username']}"
    return "this client" if named is None else f"User:{named}"


def _subject_of(properties: Mapping[str, Any]) -> str | None:
    """Whom a client certificate names, as Kafka writes it; None where there is none that can be read."""
    path, said = properties.get("ssl.certificate.location"), properties.get("ssl.certificate.pem", "")
    try:
        content = Path(str(path)).read_bytes() if path is not None else str(said).encode()
        return x509.load_pem_x509_certificate(content).subject.rfc4514_string()
    except (OSError, ValueError):
        return None
