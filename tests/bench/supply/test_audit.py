"""The check against known vulnerabilities: ranges as OSV means them, and no success where nothing was checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.supply.audit import CLEAN, KNOWN, NOT_CHECKED, UNREADABLE, is_affected

ROOT = Path(__file__).parents[3]


def spans(*events: dict[str, str]) -> dict[str, object]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


@pytest.mark.parametrize(
    ("version", "affected", "is_so"),
    [
        ("1.2", {"versions": ["1.2"]}, True),
        ("1.2", {"versions": ["1.20"]}, False),
        ("1.2", spans({"introduced": "0"}), True),
        ("1.2", spans({"introduced": "0"}, {"fixed": "1.2"}), False),
        ("1.2", spans({"introduced": "0"}, {"fixed": "1.10"}), True),
        ("1.2", spans({"introduced": "1.3"}), False),
        ("1.2", spans({"introduced": "0"}, {"last_affected": "1.2"}), True),
        ("1.2.1", spans({"introduced": "0"}, {"last_affected": "1.2"}), False),
        ("2.5", spans({"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}, {"fixed": "3.0"}), True),
        ("1.5", spans({"introduced": "2.0"}, {"fixed": "3.0"}, {"introduced": "0"}, {"fixed": "1.0"}), False),
        ("1.2", {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
    ],
)
def test_ranges_mean_what_osv_means(version: str, affected: dict[str, object], is_so: bool) -> None:
    """From "introduced" on, up to before "fixed" or up to "last_affected", in any order of writing."""
    assert is_affected(version, affected) == is_so


def audit(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.supply.audit", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_known_vulnerability_is_told_and_nothing_else(tmp_path: Path) -> None:
    """Of a pinned package under another spelling; not one that was withdrawn, or of another ecosystem."""
    lock, osv = tmp_path / "requirements.lock", tmp_path / "osv"
    lock.write_text(f"my-thing==1.2 --hash=sha256:{64 * '0'}\n")
    osv.mkdir()
    for identifier, ecosystem, more in (
        ("A-1", "PyPI", {}),
        ("A-2", "PyPI", {"withdrawn": "2026-01-01"}),
        ("A-3", "npm", {}),
    ):
        affected = [{"package": {"name": "My_Thing", "ecosystem": ecosystem}, **spans({"introduced": "0"})}]
        entry = {"id": identifier, "summary": "bad", "affected": affected, **more}
        (osv / f"{identifier}.json").write_text(json.dumps(entry))
    done = audit("--lock", str(lock), "--osv", str(osv))
    assert done.returncode == KNOWN
    assert "my-thing 1.2: A-1 bad" in done.stdout
    assert "A-2" not in done.stdout + done.stderr
    assert "1 known" in done.stdout
    (osv / "A-1.json").unlink()
    assert audit("--lock", str(lock), "--osv", str(osv)).returncode == CLEAN
    (osv / "A-4.json").write_text("{")
    assert audit("--lock", str(lock), "--osv", str(osv)).returncode == UNREADABLE


def test_without_a_database_nothing_was_checked_and_that_is_said(tmp_path: Path) -> None:
    """No folder, or an empty one, is no success."""
    for arguments in ((), ("--osv", str(tmp_path))):
        done = audit(*arguments)
        assert done.returncode == NOT_CHECKED
        assert "NOT CHECKED" in done.stderr
