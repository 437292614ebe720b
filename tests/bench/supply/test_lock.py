"""The locks: every file by its hash, no address; and what pyproject.toml asks for is in them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from bench.supply.lock import LockUnusable, normalised, read_lock

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_requirement_is_pinned_by_hash_and_no_address_is_named(name: str) -> None:
    """Reading the lock is the check; nothing is in it twice."""
    lock = read_lock(ROOT / name)
    assert len(lock) > 20
    assert len({pinned.name for pinned in lock}) == len(lock)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.lock", PROJECT["dependencies"]),
        ("requirements-dev.lock", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]),
    ],
)
def test_what_the_project_asks_for_is_locked_at_a_version_that_it_takes(name: str, wanted: list[str]) -> None:
    """Else `make lock` was forgotten."""
    versions = {pinned.name: Version(pinned.version) for pinned in read_lock(ROOT / name)}
    for requirement in map(Requirement, wanted):
        assert versions[normalised(requirement.name)] in requirement.specifier, requirement


def test_what_runs_is_what_is_tested() -> None:
    """The developers' lock holds the run-time one, version for version."""
    tested = {pinned.name: pinned.version for pinned in read_lock(ROOT / "requirements-dev.lock")}
    assert {pinned.name: tested.get(pinned.name) for pinned in read_lock(ROOT / "requirements.lock")} == {
        pinned.name: pinned.version for pinned in read_lock(ROOT / "requirements.lock")
    }


HASH = "--hash=sha256:" + 64 * "0"


@pytest.mark.parametrize(
    "text",
    [
        "a==1",
        f"a>=1 {HASH}",
        f"a {HASH}",
        f"a @ https://example.org/a.whl {HASH}",
        f"--index-url https://example.org\na==1 {HASH}",
        f"-e .\na==1 {HASH}",
        f"git+https://example.org/a {HASH}",
        "a==1 --hash=md5:00",
    ],
)
def test_a_lock_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    """No hash, no version, an address in any form, an editable install."""
    path = tmp_path / "requirements.lock"
    path.write_text(f"b==2 \\\n    {HASH} \\\n    {HASH}\n    # via a\n" + text + "\n")
    with pytest.raises(LockUnusable, match="make lock"):
        read_lock(path)
