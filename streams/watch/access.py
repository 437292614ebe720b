"""Who may see what only operators may: /metrics, at every role, and the page /pipeline at `publish`.

Two ways, each enough by itself: a bearer token (RFC 6750), or a client certificate that the server's own authority has
issued (mutual TLS). Without either setting these paths are open, as are all others in any case: the live page is for
everyone, and probes have no secret to keep.

Certificates and tokens end before a role does: their files are read again when they have changed
(``streams.watch.renewed``).
"""

from __future__ import annotations

import hmac
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from pathlib import Path

from streams.errors import EvenstreamError
from streams.settings.fields import HttpSettings
from streams.watch.renewed import Renewed
from streams.watch.routes import Answer, Request, Route

_LEAST_TOKEN = 16
_MOST_TOKEN = 1024
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class OperatorAccess:
    """What an operator shows.

    Attributes:
        token: SHA-256 of the bearer token that its file holds now; None where none is asked for.
        certificates: a client certificate will do.
    """

    token: Callable[[], bytes] | None = None
    certificates: bool = False

    @classmethod
    def of(cls, settings: HttpSettings, clock: Callable[[], float] = time.monotonic) -> OperatorAccess:
        """As the settings say, or EvenstreamError where the token's file is not one."""
        path = settings.token_file
        token = None if path is None else Renewed((path,), lambda: sha256(token_of(path).encode()).digest(), clock).now
        return cls(token, settings.client_ca_file is not None)

    @property
    def is_open(self) -> bool:
        """Whether nothing is asked for."""
        return self.token is None and not self.certificates

    def guard(self, route: Route) -> Route:
        """The route, for operators only."""
        if self.is_open:
            return route

        @wraps(route)
        def guarded(request: Request) -> Answer:
            if (self.certificates and request.certified) or self._has_token(request):
                return route(request)
            if self.token is None:
                return Answer(403, _TEXT, b"this is for operators: show a client certificate\n")
            realm = (("WWW-Authenticate", 'Bearer realm="evenstream operators"'),)
            return Answer(401, _TEXT, b"this is for operators: send Authorization: Bearer TOKEN\n", realm)

        return guarded

    def _has_token(self, request: Request) -> bool:
        if self.token is None:
            return False
        values = request.headers.get_all("Authorization") or []
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        # Digests of equal length are compared, in a time that does not tell how far they agree.
        digest = sha256(token.strip().encode("utf-8", "replace")).digest()
        return hmac.compare_digest(digest, self.token()) and scheme.lower() == "bearer"


def token_of(path: Path) -> str:
    """The token of a file, or EvenstreamError where it holds none."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise EvenstreamError(f"the token's file {path} cannot be read: {why}") from None
    if not _LEAST_TOKEN <= len(text) <= _MOST_TOKEN or not text.isprintable() or " " in text:
        raise EvenstreamError(
            f"the token's file {path} must hold one token of {_LEAST_TOKEN} to {_MOST_TOKEN} characters, no spaces; "
            "make one with: openssl rand -hex 32"
        )
    return text


def server_tls(
    settings: HttpSettings, clock: Callable[[], float] = time.monotonic
) -> Callable[[], ssl.SSLContext] | None:
    """Says how the server speaks TLS with whoever connects now; None where it does not.

    Connections that stand go on under the certificate that they began with.

    Raises:
        EvenstreamError: a file is not what it must be.
    """
    files = (settings.certificate_file, settings.key_file, settings.client_ca_file)
    if settings.certificate_file is None:
        return None
    named = tuple(path for path in files if path is not None)
    # A new context each time: one that has half of a new pair loaded could serve neither the old one nor the new.
    return Renewed(named, lambda: _server_context(settings), clock).now


def _server_context(settings: HttpSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load("http.certificate_file, http.key_file", lambda: context.load_cert_chain(
        str(settings.certificate_file), str(settings.key_file), password=_no_password
    ))  # fmt: skip
    if settings.client_ca_file is not None:
        _load("http.client_ca_file", lambda: context.load_verify_locations(str(settings.client_ca_file)))
        context.verify_mode = ssl.CERT_OPTIONAL  # the public pages ask nobody who they are
    return context


def asking_context(settings: HttpSettings) -> ssl.SSLContext | None:
    """How a command on the same settings asks a role, or None where it speaks no TLS.

    It believes the very certificate that the settings name, whatever the name or address under which it asks.
    """
    if settings.certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load("http.certificate_file", lambda: context.load_verify_locations(str(settings.certificate_file)))
    return context


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted")  # nobody is there to type a password


def _load(names: str, load: Callable[[], None]) -> None:
    try:
        load()
    except OSError as error:  # SSLError is one
        why = error.reason if isinstance(error, ssl.SSLError) and error.reason else error.strerror or str(error)
        raise EvenstreamError(f"{names}: TLS cannot begin: {why}; give PEM files that belong together") from None
