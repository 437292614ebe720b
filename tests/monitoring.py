"""Prometheus, Alertmanager and their tools, as Debian packs them, for the tests that run the real ones."""

from __future__ import annotations

import shutil
import subprocess

import pytest

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
"""Debian's package of each program."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed, with the command that installs it."""
    missing = [program for program in programs if shutil.which(program) is None]
    packages = " ".join(sorted({PACKAGES[program] for program in missing}))
    return pytest.mark.skipif(
        bool(missing), reason=f"not here: {', '.join(missing)}; `apt-get install {packages}` brings it"
    )


def run(program: str, *arguments: str) -> str:
    """What a tool says; shown where it fails."""
    result = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
