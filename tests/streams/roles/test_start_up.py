"""What a role loads when it starts: a role that was killed is away for as long."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAVY = ("matplotlib", "pandas", "polars", "scipy", "sklearn")


@pytest.mark.parametrize("role", ["run_seal", "run_attach", "run_aggregate", "publish_app"])
def test_no_role_loads_a_library_that_it_does_not_use(role: str) -> None:
    """Libraries that happen to be installed, and take seconds to load, stay out of a role's process."""
    code = f"import sys, streams.cli, streams.roles.{role}; print(*sorted(m for m in {_HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
