"""The commands of docs/runbooks/, as a person on call would type them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.cli import _COMMANDS
from streams.watch.rules import ALERTS

FOLDER = Path(__file__).parents[1] / "docs" / "runbooks"
PAGES = [FOLDER / f"{name}.md" for name in ALERTS]
READS, CHANGES = "sh", "sh changes"
PROGRAMS = ("evenstream", "promtool", "curl")
FINDS = re.compile(r"evenstream (doctor|retention check)\b")
"""What ends with 1 where it finds something, which is its work."""

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Line:
    """One command line of a page, and what its block is marked as."""

    page: str
    kind: str
    text: str

    @property
    def programs(self) -> list[str]:
        """What it calls, in order."""
        parts = re.split(r"\s*(?:\|\||&&|;|\|)\s*", re.sub(r"\"[^\"]*\"", "TEXT", self.text.partition("  #")[0]))
        return [part.split()[0] for part in parts if part]

    @property
    def evenstream(self) -> str | None:
        """The subcommand of ours that it calls."""
        found = re.match(r"evenstream (\w+)", self.text)
        return found[1] if found else None


def lines_of(page: Path) -> Iterator[Line]:
    """The command lines of a page's blocks."""
    for kind, body in _BLOCK.findall(page.read_text()):
        for text in body.splitlines():
            if text and not text.startswith("#"):
                yield Line(page.stem, kind, text)


def read_lines() -> list[Line]:
    """What all pages have a person read with; each line once."""
    found = [line for page in PAGES for line in lines_of(page) if line.kind == READS]
    return list({line.text: line for line in found}.values())


def missing() -> set[str]:
    """Subcommands that pages name and that do not exist."""
    return {line.evenstream for line in read_lines() if line.evenstream} - set(_COMMANDS)


class Shell:
    """Runs lines against a deployment.

    Args:
        folder: for a program `evenstream` that speaks to the deployment.
        arguments: its global options. roles: host:port of each. variables: as the list of pages names them.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], roles: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        program = folder / "evenstream"
        asked = " ".join(f"--role {role}={address}" for role, address in roles.items())
        options = " ".join(f"'{argument}'" for argument in arguments)
        # The doctor asks the default ports unless it is told where the roles are.
        program.write_text(
            f'#!/bin/sh\n[ "$1" = doctor ] && set -- "$@" {asked}\nexec {sys.executable} -m streams.cli {options} "$@"\n'
        )
        program.chmod(0o700)
        self._environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", **variables}

    def problem(self, line: Line) -> str | None:
        """What went wrong with a line, or None; a program that is not installed is none of ours."""
        if any(shutil.which(program) is None for program in line.programs if program in ("promtool", "curl")):
            return None
        result = subprocess.run(
            ["bash", "-c", line.text], env=self._environment, capture_output=True, text=True, timeout=90, check=False
        )
        said = result.stdout + result.stderr
        allowed = (0, 1) if FINDS.match(line.text) else (0,)
        if result.returncode not in allowed or "Traceback" in said or "Usage:" in said or not said.strip():
            return f"{line.page}: `{line.text}` ended with {result.returncode}: {said.strip()[-600:] or 'nothing'}"
        return None
