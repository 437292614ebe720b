"""Which route answers a path: literal paths, and patterns such as ``/measurements/{measurement}/{level}``.

A path is cut at its slashes first and each part decoded after, so ``%2F`` never makes a part more. A parameter is text
of 1 to 128 characters, without a control character, a slash or a backslash, that does not begin with a dot; whether
there is such a thing is for the route to say.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

MAX_TARGET = 2048
"""Characters of a request's target, path and query together."""

_PARAMETER_CHARACTERS = 128
_PATTERN_PART = re.compile(r"\{([a-z_]+)\}([a-z.]*)")
_NO_PARAMETER = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Request:
    """What a route is told of a request.

    Attributes:
        query: what stands after the question mark.
        headers: as they came; names are compared without case.
        body: of a POST, at most ``http.MAX_FORM_BYTES``; else empty.
        path: as it came.
        parameters: what the pattern's names stand for, decoded.
        certified: whether the client has shown a certificate that this server trusts.
    """

    query: str
    headers: Message
    body: bytes = b""
    path: str = "/"
    parameters: Mapping[str, str] = field(default_factory=dict)
    certified: bool = False


class Answer(NamedTuple):
    """What a route answers. A header of its own takes the place of the server's with the same name.

    Attributes:
        adopt: takes the connection over once the headers are sent, and closes it; the answer has no end of its own.
    """

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    adopt: Callable[[socket.socket], None] | None = None


Route = Callable[[Request], Answer]


class BadPath(ValueError):
    """A path whose escapes are not what RFC 3986 says, or not UTF-8."""


@dataclass(frozen=True)
class Found:
    """A route, and what its pattern's parameters stand for."""

    pattern: str
    route: Route
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class _Pattern:
    text: str
    route: Route
    parts: tuple[re.Match[str] | str, ...]

    @classmethod
    def of(cls, text: str, route: Route) -> _Pattern:
        parts = []
        for part in text.split("/")[1:]:
            parameter = _PATTERN_PART.fullmatch(part)
            assert parameter or "{" not in part, f"no pattern: {text}"
            parts.append(parameter or part)
        return cls(text, route, tuple(parts))

    def rank(self) -> tuple[int, ...]:
        """What is said word for word comes before what is left open, and an ending before none."""
        return tuple(0 if isinstance(part, str) else 1 if part[2] else 2 for part in self.parts)

    def match(self, parts: list[str]) -> dict[str, str] | None:
        found = {}
        for expected, came in zip(self.parts, parts, strict=True):
            if isinstance(expected, str):
                if came != expected:
                    return None
                continue
            value = came.removesuffix(expected[2])
            if (expected[2] and value == came) or not _is_parameter(value):
                return None
            found[expected[1]] = value
        return found


class Routes:
    """The routes of a server, by path or pattern."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._by_length: dict[int, list[_Pattern]] = {}
        for text, route in routes.items():
            pattern = _Pattern.of(text, route)
            self._by_length.setdefault(len(pattern.parts), []).append(pattern)
        for patterns in self._by_length.values():
            patterns.sort(key=_Pattern.rank)
        self.patterns = tuple(sorted(routes))

    def find(self, path: str) -> Found | None:
        """What answers a path, or None.

        Raises:
            BadPath: it is not written as a path is.
        """
        parts = [decoded(part) for part in path.split("/")]
        if parts[0]:
            return None  # "*", or a whole address: this is no proxy
        for pattern in self._by_length.get(len(parts) - 1, ()):
            parameters = pattern.match(parts[1:])
            if parameters is not None:
                return Found(pattern.text, pattern.route, parameters)
        return None


def decoded(text: str) -> str:
    """A part of a path, or :class:`BadPath`."""
    if not text.isascii() or _BAD_ESCAPE.search(text):
        raise BadPath(text)
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise BadPath(text) from None


def _is_parameter(value: str) -> bool:
    return 0 < len(value) <= _PARAMETER_CHARACTERS and value[0] != "." and _NO_PARAMETER.search(value) is None
