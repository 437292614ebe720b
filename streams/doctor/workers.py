"""Asks each worker for /healthz, /readyz and /metrics, all at once; nobody is waited for longer than some seconds."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from streams.control import ControlPlane
from streams.doctor.look import Worker, WorkerSeen
from streams.errors import InputError
from streams.records.layout import SHARDED_ROLES
from streams.report.terminal import terminal_line
from streams.settings import Settings
from streams.settings.fields import DEFAULT_PORTS

_ANSWER_SECONDS = 2.0
_LINE_BYTES = 2_000
_METRICS_BYTES = 50_000_000
_REFUSALS = {401, 403}
_SCHEMES: tuple[Literal["https", "http"], ...] = ("https", "http")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # to ask at, not to listen on


def addresses(settings: Settings, named: tuple[str, ...], control: ControlPlane | None) -> tuple[Worker, ...]:
    """Where each worker answers.

    Args:
        named: ``ROLE=HOST:PORT`` or ``ROLE.SHARD=HOST:PORT``, over the default ports on ``http.host``; with ``https://``
            or ``http://`` before the host it is asked so, whatever the settings say.
        control: knows how many workers seal and attach have; None: one each.

    Raises:
        InputError: one of them is not of that form, or names no role.
    """
    given: dict[str, tuple[str, int, Literal["http", "https"] | None]] = {}
    for text in named:
        name, _, address = text.partition("=")
        scheme = next((scheme for scheme in _SCHEMES if address.startswith(f"{scheme}://")), None)
        address = address if scheme is None else address.removeprefix(f"{scheme}://").removesuffix("/")
        host, _, port = address.rpartition(":")
        role, dot, shard = name.partition(".")
        known = role in DEFAULT_PORTS and (not dot or (role in SHARDED_ROLES and shard.isdigit()))
        if not known or not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(
                f"--role is {text!r}; expected ROLE=HOST:PORT or ROLE=https://HOST:PORT, with ROLE out of "
                f"{', '.join(sorted(DEFAULT_PORTS))} and for a further worker ROLE.SHARD, such as "
                "attach.1=10.0.0.7:9112"
            )
        given[role if shard in ("", "0") else f"{role}.{int(shard)}"] = host.strip("[]"), int(port), scheme
    host = _EVERYWHERE.get(settings.http.host, settings.http.host)
    workers = {}
    for role, first in DEFAULT_PORTS.items():
        shards = control.layout(role).shards if control is not None and role in SHARDED_ROLES else 1
        for number in range(shards):
            name = role if number == 0 else f"{role}.{number}"
            workers[name] = Worker(name, *given.get(name, (host, first + 10 * number, None)))
    workers |= {name: Worker(name, *address) for name, address in given.items()}
    order = ("seal", "attach", "a", "b", "publish")
    return tuple(sorted(workers.values(), key=lambda worker: (order.index(worker.role), worker.name)))


def ask(workers: tuple[Worker, ...], token: str | None, tls: ssl.SSLContext | None = None) -> tuple[WorkerSeen, ...]:
    """What each says of itself.

    Args:
        token: sent as a bearer token.
        tls: how they speak TLS where nothing else was named; None where they do not. One that is named with
            ``https://`` where this is None is believed by the machine's authorities.
    """
    with ThreadPoolExecutor(max_workers=min(32, len(workers))) as pool:
        return tuple(pool.map(lambda worker: _ask(worker, token, tls), workers))


def _ask(worker: Worker, token: str | None, tls: ssl.SSLContext | None) -> WorkerSeen:
    headers = {"Accept": "text/plain"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        health, health_text = _get(worker, "/healthz", headers, _LINE_BYTES, tls)
        readiness, ready_text = _get(worker, "/readyz", headers, _LINE_BYTES, tls)
        metrics, exposed = _get(worker, "/metrics", headers, _METRICS_BYTES, tls)
    except TimeoutError:
        return WorkerSeen(worker, "mute")
    except (ssl.SSLError, http.client.HTTPException, ConnectionResetError):  # TLS and plain HTTP have met
        return WorkerSeen(worker, "unlike")
    except OSError:
        return WorkerSeen(worker, "closed")
    if {health, readiness} & _REFUSALS:  # by something in front of it: a role refuses its metrics alone
        return WorkerSeen(worker, "refused")
    return WorkerSeen(
        worker,
        "refused" if metrics in _REFUSALS else None,
        health == 200,
        terminal_line(health_text.strip()),
        readiness == 200,
        terminal_line(ready_text.strip()),
        series_of(exposed) if metrics == 200 else {},
    )


def _get(
    worker: Worker, path: str, headers: Mapping[str, str], most: int, tls: ssl.SSLContext | None
) -> tuple[int, str]:
    if worker.scheme == "https" and tls is None:
        tls = ssl.create_default_context()
    connection = (
        http.client.HTTPConnection(worker.host, worker.port, timeout=_ANSWER_SECONDS)
        if tls is None or worker.scheme == "http"
        else http.client.HTTPSConnection(worker.host, worker.port, timeout=_ANSWER_SECONDS, context=tls)
    )
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(most).decode(errors="replace")
    finally:
        connection.close()


def series_of(exposed: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Prometheus text by metric; empty where it is none."""
    series: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    try:
        for family in text_string_to_metric_families(exposed):
            for sample in family.samples:
                series.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
    except ValueError:  # something else answers there
        return {}
    return series
