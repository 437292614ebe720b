"""``make audit-deps``: the lock against an export of known vulnerabilities, without a network.

The export is a folder of JSON files in the format of the Open Source Vulnerability schema (OSV), as vulnerability
databases publish them for the ecosystem PyPI; whoever runs this brings it. Without one nothing can be checked, which
is said and is no success.

Exit status: 0 nothing known, 1 something is known, 2 what was given cannot be read, 3 nothing was checked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from bench.supply.lock import LockUnusable, Pinned, normalised, read_lock

_ROOT = Path(__file__).parents[2]
CLEAN, KNOWN, UNREADABLE, NOT_CHECKED = range(4)


@dataclass(frozen=True)
class Known:
    """A vulnerability that a pinned version has."""

    pinned: Pinned
    identifier: str
    summary: str


def known_in(lock: list[Pinned], entries: Iterator[dict[str, Any]]) -> Iterator[Known]:
    """The vulnerabilities of the pinned versions."""
    by_name = {pinned.name: pinned for pinned in lock}
    for entry in entries:
        if entry.get("withdrawn"):
            continue
        for affected in entry.get("affected", ()):
            package = affected.get("package", {})
            pinned = by_name.get(normalised(str(package.get("name", ""))))
            if package.get("ecosystem") == "PyPI" and pinned is not None and is_affected(pinned.version, affected):
                yield Known(pinned, str(entry.get("id")), str(entry.get("summary", "")))
                break


def is_affected(version: str, affected: dict[str, Any]) -> bool:
    """Whether a version is listed, or lies in a range (OSV schema, "affected[].ranges[].events")."""
    if version in affected.get("versions", ()):
        return True
    own = Version(version)
    ranges = [span for span in affected.get("ranges", ()) if span.get("type") == "ECOSYSTEM"]
    return any(_in_range(own, span.get("events", ())) for span in ranges)


def _in_range(own: Version, events: Any) -> bool:
    within = False
    for kind, at in sorted(((k, v) for event in events for k, v in event.items()), key=_order):
        if kind == "introduced" and (at == "0" or own >= _version(at)):
            within = True
        elif (kind == "fixed" and own >= _version(at)) or (kind == "last_affected" and own > _version(at)):
            within = False
    return within


def _order(event: tuple[str, str]) -> tuple[Version, bool]:
    kind, at = event
    return (Version("0.dev0") if at == "0" else _version(at), kind != "introduced")


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0.dev0")  # no version of Python's kind: taken as affecting everything after it


def entries_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Every entry of an export: JSON files, in folders of any depth."""
    for path in sorted(folder.rglob("*.json")):
        yield json.loads(path.read_text())


def main() -> int:
    """Check, and print what is known; the exit status."""
    parser = argparse.ArgumentParser(description="Check the locked dependencies against known vulnerabilities.")
    parser.add_argument("--osv", type=Path, help="folder of an OSV export for PyPI")
    parser.add_argument("--lock", type=Path, default=_ROOT / "requirements.lock")
    options = parser.parse_args()
    try:
        lock = read_lock(options.lock)
        if options.osv is None:
            print(
                f"NOT CHECKED: there is no database of vulnerabilities here, and none is asked over the network. The "
                f"lock pins {len(lock)} packages. Unpack an OSV export for PyPI and run: make audit-deps OSV=FOLDER; "
                "or, where a vulnerability service can be reached: pip-audit --require-hashes --disable-pip "
                "-r requirements.lock",
                file=sys.stderr,
            )
            return NOT_CHECKED
        entries = list(entries_of(options.osv))
    except (LockUnusable, OSError, ValueError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return UNREADABLE
    if not entries:
        print(f"NOT CHECKED: {options.osv} holds no entry of an OSV export", file=sys.stderr)
        return NOT_CHECKED
    found = list(known_in(lock, iter(entries)))
    for known in found:
        print(f"{known.pinned.name} {known.pinned.version}: {known.identifier} {known.summary}")
    print(f"{len(lock)} packages against {len(entries)} entries: {len(found)} known vulnerabilities")
    return KNOWN if found else CLEAN


if __name__ == "__main__":
    raise SystemExit(main())
