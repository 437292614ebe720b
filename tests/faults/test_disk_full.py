"""A full disk on a role's own side: no half of a key, and the epoch that is there goes on while it is valid."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from secure_agg import EpochKeys
from streams.roles.process import RoleProcess

LIFETIME_MS = 100_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system may not be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more fits."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            return path


def test_an_epoch_that_cannot_be_stored_is_none(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The old one stays in use and on disk, the log says what to do once a minute, and room makes it go on."""
    epochs = EpochKeys("attach", small_disk / "epochs", LIFETIME_MS)
    announced: list[Any] = []
    role: Any = SimpleNamespace(
        role="attach",
        not_stored_said_ms=0,
        settings=SimpleNamespace(epoch_folder=lambda role: small_disk / "epochs"),
        keys=SimpleNamespace(identity=SimpleNamespace(role="attach", sign=lambda *parts: bytes(64))),
        control=SimpleNamespace(epoch_public=lambda role, now_ms: None),
        reader=SimpleNamespace(announce=announced.append, catch_up=lambda: None),
    )
    role._say_not_stored = lambda error, now_ms: RoleProcess._say_not_stored(role, error, now_ms)
    start_ms = 1_000_000
    first = epochs.ensure_current(start_ms)
    filler = fill(small_disk)
    with caplog.at_level(logging.ERROR):
        for later_ms in (60_000, 61_000, 62_000):
            RoleProcess.announce_epoch(role, epochs, start_ms + later_ms)
    assert announced == []
    assert [record.getMessage() for record in caplog.records if "Make room" in record.getMessage()] != []
    assert len(caplog.records) == 1
    assert epochs.numbers() == (first.number,)
    assert epochs.current(start_ms + LIFETIME_MS - 1) == first
    assert epochs.current(start_ms + LIFETIME_MS) is None  # from here on senders pause
    assert [path.name for path in (small_disk / "epochs").iterdir()] == [f"{first.number}.epoch"]
    assert EpochKeys("attach", small_disk / "epochs", LIFETIME_MS).numbers() == (first.number,)
    filler.unlink()
    RoleProcess.announce_epoch(role, epochs, start_ms + 63_000)
    assert len(announced) == 1
    assert len(epochs.numbers()) == 2
