"""What a lock file pins: names, versions and the SHA-256 of every file that pip may install."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]*://|--(?:extra-)?index-url|--find-links|--trusted-host|^-[ifer] | @ ", re.MULTILINE
)


class LockUnusable(Exception):
    """A lock says what it must not, or not what it must; the message names the line."""


@dataclass(frozen=True)
class Pinned:
    """One requirement.

    Attributes:
        name: normalised as PEP 503 says. hashes: SHA-256, hexadecimal, of each file that is let in.
    """

    name: str
    version: str
    hashes: tuple[str, ...]


def normalised(name: str) -> str:
    """A project's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path) -> list[Pinned]:
    """All requirements, in order.

    Raises:
        LockUnusable: a requirement without a version or a hash, or an address.
    """
    text = path.read_text()
    statements = [line for line in _statements(text) if line]
    for line in statements:
        if _ADDRESS.search(line):
            raise LockUnusable(f"{path.name}: expected no address and no option, got {line[:60]!r}; run make lock")
    return [_pinned(path, line) for line in statements]


def _statements(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        yield line.partition("#")[0].strip()


def _pinned(path: Path, line: str) -> Pinned:
    found, hashes = _PIN.match(line), tuple(_HASH.findall(line))
    if found is None or not hashes:
        raise LockUnusable(
            f"{path.name}: expected NAME==VERSION with one --hash=sha256 or more, got {line[:60]!r}; run make lock"
        )
    return Pinned(normalised(found["name"]), found["version"], hashes)
