"""The commands of docs/runbooks/, as a person on call would type them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from click.testing import CliRunner

from streams.cli import _COMMANDS, main
from streams.watch.rules import ALERTS

FOLDER = Path(__file__).parents[1] / "docs" / "runbooks"
PAGES = [FOLDER / f"{name}.md" for name in ALERTS]
READS, CHANGES = "sh", "sh changes"
PROGRAMS = ("evenstream", "promtool", "curl")
FINDS = re.compile(r"evenstream (doctor|ledger verify|retention check)\b")
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
        arguments: global options of `evenstream`, which speak to the deployment.
        roles: host:port of each. variables: as the list of pages names them.
    """

    def __init__(self, arguments: Sequence[str], roles: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self._arguments = list(arguments)
        # The doctor asks the default ports unless it is told where the roles are.
        self._asked = [part for role, address in roles.items() for part in ("--role", f"{role}={address}")]
        self._variables = dict(variables)

    def problem(self, line: Line) -> str | None:
        """What went wrong with a line, or None."""
        status, said = self._ours(line) if line.evenstream else self._others(line)
        allowed = (0, 1) if FINDS.match(line.text) else (0,)
        silent = line.evenstream is not None and not said.strip()
        if status not in allowed or "Traceback" in said or silent:
            return f"{line.page}: `{line.text}` ended with {status}: {said.strip()[-600:] or 'nothing'}"
        return None

    def _ours(self, line: Line) -> tuple[int, str]:
        """In this process: Python and its libraries take longer to load than most commands to run."""
        words = shlex.split(Template(line.text).substitute(self._variables), comments=True)[1:]
        if line.evenstream == "doctor":
            words += self._asked
        result = CliRunner().invoke(main, [*self._arguments, *words])
        raised = result.exception
        if raised is not None and not isinstance(raised, SystemExit):
            return 1, "Traceback: " + repr(raised)
        return result.exit_code, result.output

    def _others(self, line: Line) -> tuple[int, str]:
        environment = os.environ | self._variables
        result = subprocess.run(
            ["bash", "-c", line.text], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return result.returncode, result.stdout + result.stderr
