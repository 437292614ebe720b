"""Keys as Kubernetes mounts a Secret: root's files, which a group of the pod's own may read, behind links.

What a file's owner may do is only true for a process that is not root, so each test reads in a process of its own that
becomes another user first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from secure_agg.keyring import create

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make root's files, and become somebody else")

UID, FS_GROUP, OTHER_GROUP = 10001, 10002, 10003
_AS_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from secure_agg.errors import KeyFileError
from secure_agg.keyring import load_role, read_private
# Folders above this one are root's alone: it is found from within.
folder, uid, group, role = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.chdir(folder)
os.setgroups([group]); os.setgid(uid); os.setuid(uid)
try:
    print("state secret", load_role(Path(), role, "t").state_secret.hex())
except KeyFileError as error:
    print("refused:", error)
"""


def mounted(root: Path, mode: int = 0o440, owner: int = 0) -> Path:
    """The folder of role a as a Secret's volume: NAME -> ..data/NAME, ..data -> a folder with a time for a name."""
    create(root / "made", "t")
    real = root / "keys" / "a" / "..2026_11_26_14_20_00.123456789"
    real.mkdir(parents=True)
    (real.parent / "..data").symlink_to(real.name)
    for folder in (root / "keys", real.parent, real):
        folder.chmod(0o755)
    for name in ("identity.key", "state.key", "trusted.json"):
        shutil.copyfile(root / "made" / "a" / name, real / name)
        (real / name).chmod(mode if name.endswith(".key") else 0o644)
        os.chown(real / name, owner, FS_GROUP)
        (real.parent / name).symlink_to(Path("..data") / name)
    return root / "keys"


def read(keys: Path, uid: int = UID, group: int = FS_GROUP) -> str:
    """What a process of this user, in this group, says of role a's folder."""
    done = subprocess.run(
        [sys.executable, "-c", _AS_SOMEBODY_ELSE, str(keys), str(uid), str(group), "a"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def expected(root: Path) -> str:
    return f"state secret {(root / 'made' / 'a' / 'state.key').read_text()}"


@pytest.mark.parametrize("mode", [0o440, 0o640, 0o040])
def test_a_mounted_secret_is_read(tmp_path: Path, mode: int) -> None:
    """Root's files that the pod's group may read, through two links, are a role's keys."""
    assert read(mounted(tmp_path, mode)) == expected(tmp_path)


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o441, 0o442, 0o460, 0o660, 0o450])
def test_more_than_reading_by_the_group_is_refused(tmp_path: Path, mode: int) -> None:
    """A file that others may open, or that the group may write or execute, is no Secret for this pod alone."""
    assert f"has mode {mode:04o}, expected 0600" in read(mounted(tmp_path, mode))


def test_a_groups_file_of_anybody_else_is_refused(tmp_path: Path) -> None:
    """One's own file that a group may read is not what root has mounted: somebody else may have read it."""
    assert "has mode 0440, expected 0600" in read(mounted(tmp_path, owner=UID))


def test_root_takes_no_groups_file(tmp_path: Path) -> None:
    """Root needs no group to read its own file, so one that has a group's right has a reader too many."""
    assert "has mode 0440, expected 0600" in read(mounted(tmp_path), uid=0)


def test_whoever_is_not_in_the_group_is_told(tmp_path: Path) -> None:
    """A pod without the fsGroup cannot read the file, and says so in one line."""
    assert "identity.key cannot be read: Permission denied" in read(mounted(tmp_path, 0o440), group=OTHER_GROUP)
