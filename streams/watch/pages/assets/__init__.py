"""The files that pages are drawn with: a style, a script and an icon, read once.

Their addresses hold a part of their hash, so that a browser keeps them for as long as they stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files

from streams.watch.routes import Answer, Request, Route

_KINDS = {
    "evenstream.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "live.js": "text/javascript; charset=utf-8",
}
_KEEP = (("Cache-Control", "public, max-age=86400"), ("Cross-Origin-Resource-Policy", "same-origin"))


@cache
def content(name: str) -> bytes:
    """A file's bytes."""
    return files(__package__).joinpath(name).read_bytes()


@cache
def address(name: str) -> str:
    """Where a page finds a file."""
    return f"/assets/{name}?{sha256(content(name)).hexdigest()[:12]}"


def routes() -> Mapping[str, Route]:
    """What answers under /assets/."""

    def route(name: str, kind: str) -> Route:
        def answer(request: Request) -> Answer:
            return Answer(200, kind, content(name), _KEEP)

        return answer

    return {f"/assets/{name}": route(name, kind) for name, kind in _KINDS.items()}
