"""Check: can the role answer /metrics, /healthz and /readyz where its settings say, or does it already?"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from streams.doctor.findings import Finding
from streams.doctor.readiness.subject import WORKERS, Subject, is_of

CHECK = "http"


def check(subject: Subject) -> Iterator[Finding]:
    """One finding a worker that answers, else one of whether its port can be had."""
    if subject.role not in WORKERS:
        return
    answering = [seen for seen in subject.at_first if is_of(seen, subject.role)]
    for seen in answering:
        yield Finding(CHECK, "ok", f"its worker answers at {seen.worker.address}", role=seen.worker.name)
    if answering:
        return
    if subject.is_elsewhere:
        where = ", ".join(worker.address for worker in subject.workers)
        yield Finding(CHECK, "ok", f"no worker of it answers at {where} yet")
        return
    host, port = subject.settings.http.host, subject.settings.port(subject.role)
    try:
        _listen(host, port)
    except socket.gaierror:
        yield Finding(
            CHECK,
            "wrong",
            f"http.host {host} is no address that is known here",
            "set http.host to an address of this machine, or to 0.0.0.0",
        )
    except OSError as error:
        yield Finding(
            CHECK,
            "wrong",
            f"{host}:{port} cannot be listened on: {error.strerror}, and what answers there "
            f"is no worker of {subject.role}",
            "set http.port to a free port, or http.host to an address of this machine",
        )
    else:
        yield Finding(CHECK, "ok", f"{host}:{port} is free" if port else "any free port will be taken")


def _listen(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port just left is free
        tried.bind(address)
