"""What the roles' own programs hold that reads like a place or a name: in some library's documentation, say.

A canary that lived in such a place, or had the first name of a library's author, would be found in a role that never
heard of it. So the roles' modules are loaded in a process of its own before any canary is drawn, and no canary is given
a place or a name that stands there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module

from streams.canary.places import Memory
from streams.errors import EvenstreamError

MODULES = (
    "streams.roles.run_seal",
    "streams.roles.run_attach",
    "streams.roles.run_aggregate",
    "streams.roles.publish_app",
)
_SECONDS = 120.0
_PLACE = re.compile(rb"""(?<=["'])[0-9]{5}(?=["'])|(?<=zcta=)[0-9]{5}|(?<![0-9])[0-9]{11}(?![0-9])""")
"""As the canary looks for ZCTAs and for tracts."""
_WORD = re.compile(rb"[A-Za-z]{8,}")
"""What may hold a canary's name: those have eight letters or more."""


def texts_in_programs(modules: Iterable[str] = MODULES) -> frozenset[str]:
    """ZCTAs and tracts, or what reads so, and long words in small letters: in the memory of a process that has loaded
    these modules and no more.

    Raises:
        EvenstreamError: the process failed.
    """
    command = [sys.executable, "-m", "streams.canary.own_texts", *modules]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise EvenstreamError(f"what the roles' programs hold could not be read: {done.stderr[-500:]}")
    return frozenset(done.stdout.split())


def main(modules: list[str]) -> None:
    """Print them, one a line."""
    for module in modules:
        import_module(module)
    memory = Memory(os.getpid())
    pieces = memory.pieces() if memory.readable() else ()
    found: set[bytes] = set()
    for piece in pieces:
        found.update(match.group() for match in _PLACE.finditer(piece))
        found.update(match.group().lower() for match in _WORD.finditer(piece))
    sys.stdout.write("\n".join(sorted(text.decode() for text in found)))


if __name__ == "__main__":
    main(sys.argv[1:])
