"""What /metrics answers: prometheus-client's text, of which a family that has not changed is not written anew.

A window's numbers stand until the next one, and to write a thousand lines takes the interpreter some 20 ms, in which
`publish` has windows to publish. Collecting them, and seeing that they are the same, takes a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

_END = b"# EOF\n"
"""How OpenMetrics ends: once, whatever comes before."""

_MOST_FORMATS = 4
"""Of which texts are kept: a client may name any version."""


class Exposition:
    """The text of a registry.

    Args:
        registry: whose metrics are shown.
    """

    def __init__(self, registry: Collector) -> None:
        self._registry = registry
        self._writer = lru_cache(_MOST_FORMATS)(_Writer)

    @property
    def formats(self) -> int:
        """In how many formats its text is kept."""
        return self._writer.cache_info().currsize

    def answer(self, accept: str) -> tuple[str, bytes]:
        """(content type, text) in the format that a client accepts. Any number of threads may ask at once.

        Args:
            accept: its header of that name; empty for none.
        """
        encode, content_type = choose_encoder(accept)
        families = list(self._registry.collect())
        return content_type, self._writer(content_type).text(encode, families)


class _Writer:
    """Keeps what it wrote last of each family, in one format."""

    def __init__(self, content_type: str) -> None:
        self._end = _END if content_type.startswith("application/openmetrics-text") else b""
        self._kept: dict[str, tuple[Metric, bytes]] = {}

    def text(self, encode: Callable[[Collector], bytes], families: Iterable[Metric]) -> bytes:
        kept = self._kept
        fresh: dict[str, tuple[Metric, bytes]] = {}
        parts = []
        for family in families:
            known, part = kept.get(family.name, (None, b""))
            if known != family:
                part = encode(_One(family)).removesuffix(self._end)
            fresh[family.name] = family, part
            parts.append(part)
        self._kept = fresh  # at once: another thread sees what was there before, or this
        return b"".join([*parts, self._end])


class _One(Collector):
    """A registry of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)
