"""`evenstream keys`: made apart and brought together on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from secure_agg import ROLES
from secure_agg.keyring import load_role
from streams.cli import main


def run(root: Path, *arguments: str) -> Result:
    given = ["--set", "deployment=t", "--set", f"keys.dir={root}", "keys"]
    return CliRunner().invoke(main, [*given, *arguments])


def test_from_five_domains_to_one_trusted_file(tmp_path: Path) -> None:
    """Each makes its own and prints its public key; the file that trusts all of them lets each role load."""
    handed_out = []
    for name in (*ROLES, "governance", "governance-2", "operator"):
        role = name.partition("-")[0]
        made = run(tmp_path / name, "make", role)
        assert made.exit_code == 0, made.output
        handed_out.append(str(tmp_path / name / role / "public.json"))
        assert json.loads(Path(handed_out[-1]).read_text())["public_key"] == made.stdout.strip()
        assert "nothing else" in made.stderr
    out = tmp_path / "trusted.json"
    done = run(tmp_path, "trust", *handed_out, "--out", str(out))
    assert done.exit_code == 0, done.output
    assert done.stdout.count("public.json") == len(handed_out)
    printed = run(tmp_path, "trust", *handed_out)
    assert printed.stdout == out.read_text()
    for role in ROLES:
        (tmp_path / role / role / "trusted.json").write_text(out.read_text())
        assert load_role(tmp_path / role, role, "t").role == role
    again = run(tmp_path, "trust", *handed_out, "--out", str(out))
    assert again.exit_code == 0, again.output
    out.write_text("another")
    refused = run(tmp_path, "trust", *handed_out, "--out", str(out))
    assert (refused.exit_code, out.read_text()) == (1, "another")
    assert "is there already" in refused.output


def test_what_is_wrong_is_one_message(tmp_path: Path) -> None:
    """A key that is missing, a second making, a role that is none: no traceback."""
    assert run(tmp_path, "make", "seal").exit_code == 0
    twice = run(tmp_path, "make", "seal")
    assert (twice.exit_code, "never overwritten" in twice.output) == (1, True)
    alone = run(tmp_path, "trust", str(tmp_path / "seal" / "public.json"))
    assert alone.exit_code == 1
    assert "attach: its public key is missing" in alone.output
    assert "seal: its public" not in alone.output
    named = run(tmp_path, "trust", "--identity", "seal")
    assert (named.exit_code, "expected ROLE=FILE" in named.output) == (1, True)
    assert run(tmp_path, "make", "nobody").exit_code == 2
