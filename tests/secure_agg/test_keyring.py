"""Key folders: one a role, refused when anything about them is not as it must be, never overwritten."""

from __future__ import annotations

import json
import os
import shutil
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from secure_agg import ROLES, KeyFileError, SignatureInvalid
from secure_agg.keyring import (
    create,
    destroy_private,
    load_governance,
    load_operator,
    load_role,
    load_trusted,
    read_private,
    write_private,
)

KEY_FILES = (
    [f"{role}/{name}.key" for role in ROLES for name in ("identity", "state")]
    + [f"governance/reviewer-{number}.key" for number in (1, 2, 3)]
    + ["operator/operator.key"]
)
# RFC 8032, section 7.1, test 1: a private key and its public key.
RFC_SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
RFC_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of keys, made once; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("made") / "keys"
    create(root, "t")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A set of keys that this test may change."""
    return Path(shutil.copytree(made, tmp_path / "keys"))


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below ``root`` with its mode and content, every folder with its mode."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


def write(path: Path, content: str | bytes) -> None:
    """Put other content into a private file."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)


def refused(load: Callable[[], object], root: Path) -> str:
    """The message with which loading is refused: it, and its traceback, hold nothing of any private file."""
    before = snapshot(root)
    with pytest.raises(KeyFileError) as caught:
        load()
    text = "".join(traceback.format_exception(caught.value))
    for name, (_, content) in before.items():
        if name.endswith(".key"):
            hidden = content.decode("latin-1").strip()
            assert len(hidden) < 12 or hidden[:12] not in text
    assert snapshot(root) == before
    return str(caught.value)


# -- making -----------------------------------------------------------------------------------------------------------


def test_every_role_gets_its_folder(made: Path) -> None:
    """All roles load, verify each other's signatures, agree on what is trusted, and only the expected files exist."""
    everyone = {role: load_role(made, role, "t") for role in ROLES}
    for role, keys in everyone.items():
        assert (keys.role, keys.identity.role, keys.identity.deployment, keys.folder) == (role, role, "t", made / role)
        signature = keys.identity.sign("batch", b"x")
        for other, theirs in everyone.items():
            theirs.trusted.identities.verify(role, "batch", signature, b"x")
            if other != role:
                with pytest.raises(SignatureInvalid):
                    theirs.trusted.identities.verify(other, "batch", signature, b"x")
    reviewers = [
        load_governance(made / "governance" / f"reviewer-{number}.key").public_key().public_bytes_raw()
        for number in (1, 2, 3)
    ]
    assert [key.public_bytes_raw() for key in load_trusted(made / "governance").governance] == reviewers
    expected = {
        *KEY_FILES,
        *(f"{name}/trusted.json" for name in (*ROLES, "governance", "operator")),
        *ROLES,
        "governance",
        "operator",
    }
    assert set(snapshot(made)) == expected


def test_an_operator_is_pinned_in_every_folder(made: Path) -> None:
    """Its key is no reviewer's, and every role knows it."""
    operator = load_operator(made / "operator" / "operator.key").public_key().public_bytes_raw()
    for folder in (*ROLES, "governance", "operator"):
        trusted = load_trusted(made / folder)
        assert [key.public_bytes_raw() for key in trusted.operators] == [operator]
        assert operator not in [key.public_bytes_raw() for key in trusted.governance]


def test_keys_of_an_earlier_version_pin_no_operator(root: Path) -> None:
    """They load as before; that nobody can skip is said where a skip record is read."""
    pins = json.loads((root / "a" / "trusted.json").read_text())
    del pins["operators"]
    (root / "a" / "trusted.json").write_text(json.dumps(pins))
    assert load_role(root, "a", "t").trusted.operators == ()


@pytest.mark.parametrize("reviewers", [1, 5, 64])
def test_each_reviewer_gets_a_key(tmp_path: Path, reviewers: int) -> None:
    """As many governance keys as reviewers, all different and all pinned in every folder."""
    create(tmp_path / "keys", "t", reviewers)
    assert len(list((tmp_path / "keys" / "governance").glob("reviewer-*.key"))) == reviewers
    for folder in (*ROLES, "governance"):
        pinned = load_trusted(tmp_path / "keys" / folder).governance
        assert len({key.public_bytes_raw() for key in pinned}) == reviewers


@pytest.mark.parametrize("reviewers", [0, -1, 65])
def test_there_are_1_to_64_reviewers(tmp_path: Path, reviewers: int) -> None:
    """No reviewer could approve nothing, and a record of `measurements` holds 64 approvals; nothing is made then."""
    with pytest.raises(ValueError, match="1 to 64 reviewers"):
        create(tmp_path / "keys", "t", reviewers)
    assert not (tmp_path / "keys").exists()


def test_private_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """Keys have mode 0600 and their folders 0700, even where the process would let everyone write."""
    mask = os.umask(0)
    try:
        create(tmp_path / "keys", "t")
    finally:
        os.umask(mask)
    modes = {name: mode for name, (mode, _) in snapshot(tmp_path / "keys").items()}
    assert {modes[name] for name in KEY_FILES} == {0o600}
    assert {modes[name] for name in (*ROLES, "governance")} == {0o700}


def test_every_key_is_its_own_and_lies_in_one_file(made: Path, tmp_path: Path) -> None:
    """No two files of two sets hold the same secret, and no other file, public or private, repeats one."""
    create(tmp_path / "keys", "t")
    contents = [content for root in (made, tmp_path / "keys") for _, content in snapshot(root).values() if content]
    secrets = [(root / name).read_bytes().strip() for root in (made, tmp_path / "keys") for name in KEY_FILES]
    assert len(set(secrets)) == 2 * len(KEY_FILES)
    for secret in secrets:
        assert len(bytes.fromhex(secret.decode())) == 32
        assert sum(secret in content for content in contents) == 1


@pytest.mark.parametrize("name", [*ROLES, "governance"])
def test_nothing_is_overwritten_and_nothing_half_done(tmp_path: Path, name: str) -> None:
    """If any one folder is there, if only an empty one, no key is made at all, and the error names it."""
    (tmp_path / "keys" / name).mkdir(parents=True)
    message = refused(lambda: create(tmp_path / "keys", "t"), tmp_path)
    assert f"already holds keys for {name}." in message


def test_a_second_making_changes_nothing(root: Path) -> None:
    """Not for the same deployment, not for another: the first set stays as it was, byte for byte."""
    for deployment in ("t", "u"):
        assert "already holds keys for seal, attach, a, b, publish, governance" in refused(
            lambda deployment=deployment: create(root, deployment),  # type: ignore[misc]
            root,
        )


# -- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trusted.json", "identity.key", "state.key"])
def test_a_missing_file_is_named(root: Path, name: str) -> None:
    """Each file of a folder is needed; the error says which is missing and how to get it."""
    (root / "a" / name).unlink()
    message = refused(lambda: load_role(root, "a", "t"), root)
    assert f"a/{name} does not exist" in message
    assert "evenstream keys init" in message


def test_a_missing_folder_is_a_missing_file(root: Path, tmp_path: Path) -> None:
    """A role of which there is no folder, no root at all, or no reviewer: the same error."""
    for load in (
        lambda: load_role(root, "nobody", "t"),
        lambda: load_role(tmp_path / "nowhere", "a", "t"),
        lambda: load_governance(root / "governance" / "reviewer-4.key"),
    ):
        assert "does not exist" in refused(load, root)


@pytest.mark.parametrize("name", ["trusted.json", "identity.key", "state.key"])
def test_a_folder_in_a_files_place_is_the_rooms_own_error(root: Path, name: str) -> None:
    """It is named as unreadable: a start that fails says so in one line, without a traceback."""
    (root / "a" / name).unlink()
    (root / "a" / name).mkdir(mode=0o700)
    assert f"a/{name} cannot be read: Is a directory" in refused(lambda: load_role(root, "a", "t"), root)


def test_a_file_in_a_folders_place_is_the_rooms_own_error(root: Path) -> None:
    """The same for a path that leads through a file, as for any that the system will not walk."""
    file = root / "a" / "identity.key"
    for load in (lambda: load_role(file, "a", "t"), lambda: load_governance(file / "reviewer-1.key")):
        assert "cannot be read: Not a directory" in refused(load, root)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])
def test_a_private_file_that_others_may_open_is_refused(root: Path, mode: int) -> None:
    """Any right of group or others counts; the error says the mode and does not mend it: it may have been read."""
    for name in ("identity.key", "state.key"):
        (root / "a" / name).chmod(mode)
        message = refused(lambda: load_role(root, "a", "t"), root)
        assert f"a/{name} has mode {mode:04o}, expected 0600" in message
        (root / "a" / name).chmod(0o600)
    (root / "governance" / "reviewer-1.key").chmod(mode)
    assert f"has mode {mode:04o}" in refused(lambda: load_governance(root / "governance" / "reviewer-1.key"), root)


def test_stricter_modes_and_an_open_public_file_are_fine(root: Path) -> None:
    """Read-only keys load, and the public half may be readable by everyone."""
    for name in ("identity.key", "state.key"):
        (root / "a" / name).chmod(0o400)
    (root / "a" / "trusted.json").chmod(0o644)
    assert load_role(root, "a", "t").role == "a"


@pytest.mark.parametrize("content", ["", "ab" * 31, "ab" * 33, "zz" * 32, "0x" + "ab" * 31, "a" * 63, b"\xff" * 64])
def test_a_malformed_private_file_is_refused(root: Path, content: str | bytes) -> None:
    """Neither padded nor cut: the error says what the file must hold, and not what it holds."""
    for name in ("identity.key", "state.key"):
        good = (root / "a" / name).read_bytes()
        write(root / "a" / name, content)
        message = refused(lambda: load_role(root, "a", "t"), root)
        assert f"a/{name} must hold 32 bytes as 64 hexadecimal digits" in message
        write(root / "a" / name, good)
    write(root / "governance" / "reviewer-1.key", content)
    assert "must hold 32 bytes" in refused(lambda: load_governance(root / "governance" / "reviewer-1.key"), root)


PINS = {"deployment": "t", "identities": {"a": RFC_PUBLIC}, "governance": [RFC_PUBLIC]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        b"\xff\xfe\x00",
        "null",
        "[]",
        '"t"',
        json.dumps(PINS)[:-1],
        *(json.dumps({k: v for k, v in PINS.items() if k != gone}) for gone in PINS),
        *(
            json.dumps(PINS | change)
            for change in (
                {"identities": None},
                {"identities": [RFC_PUBLIC]},
                {"identities": {"a": RFC_PUBLIC[:-2]}},
                {"identities": {"a": "zz" * 32}},
                {"identities": {"a": 5}},
                {"governance": None},
                {"governance": 5},
                {"governance": [None]},
                {"governance": [RFC_PUBLIC + "00"]},
                {"governance": RFC_PUBLIC},
            )
        ),
    ],
)
def test_a_malformed_trusted_file_is_refused(root: Path, content: str | bytes) -> None:
    """Whatever is wrong with it, nothing is trusted, and the error says what the file must hold."""
    write(root / "a" / "trusted.json", content)
    message = refused(lambda: load_role(root, "a", "t"), root)
    assert "a/trusted.json must be JSON with deployment, identities" in message


def test_keys_of_another_deployment_are_refused(root: Path) -> None:
    """The error names both deployments and what to set."""
    message = refused(lambda: load_role(root, "a", "production"), root)
    assert "were made for deployment 't', but this is 'production'" in message


def test_another_roles_identity_is_refused(root: Path) -> None:
    """A role started with a colleague's key would have every record refused: it does not start."""
    shutil.copy(root / "b" / "identity.key", root / "a" / "identity.key")
    assert "not the identity that trusted.json pins for 'a'" in refused(lambda: load_role(root, "a", "t"), root)
    shutil.rmtree(root / "a")
    shutil.copytree(root / "b", root / "a")
    assert "Restore this role's own key" in refused(lambda: load_role(root, "a", "t"), root)


def test_an_identity_that_nobody_pins_is_refused(root: Path) -> None:
    """Without its own pin a role does not start, even if all others are there."""
    pins = json.loads((root / "a" / "trusted.json").read_text())
    del pins["identities"]["a"]
    (root / "a" / "trusted.json").write_text(json.dumps(pins))
    assert "pins for 'a'" in refused(lambda: load_role(root, "a", "t"), root)


def test_files_hold_the_keys_of_rfc_8032(root: Path) -> None:
    """The RFC's private key in hex, with or without a newline, is the identity whose public key the RFC prints."""
    pins = json.loads((root / "a" / "trusted.json").read_text())
    pins["identities"]["a"] = RFC_PUBLIC
    (root / "a" / "trusted.json").write_text(json.dumps(pins))
    for text in (RFC_SECRET, RFC_SECRET + "\n", RFC_SECRET.upper() + "\r\n"):
        write(root / "a" / "identity.key", text)
        loaded = load_role(root, "a", "t").identity.private_key
        assert loaded.public_key().public_bytes_raw().hex() == RFC_PUBLIC


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_private_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off before it is on disk, the file is not there; nothing but its content is, afterwards."""
    path = tmp_path / "new" / "some.key"

    def kill(_: int) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", kill)
        with pytest.raises(KeyboardInterrupt):
            write_private(path, b"content")
    assert not path.exists()
    write_private(path, b"content")
    assert read_private(path) == b"content"
    assert [entry.name for entry in path.parent.iterdir()] == ["some.key"]


def test_what_lies_in_the_way_gets_no_secret(tmp_path: Path) -> None:
    """A link or an open file planted under the unfinished file's name is replaced, not written through."""
    bystander = tmp_path / "bystander"
    bystander.write_text("untouched")
    (tmp_path / "one.key.partial").symlink_to(bystander)
    (tmp_path / "two.key.partial").touch(mode=0o666)
    for name in ("one.key", "two.key"):
        write_private(tmp_path / name, b"secret")
        assert stat.S_IMODE((tmp_path / name).lstat().st_mode) == 0o600
        assert not (tmp_path / name).is_symlink()
    assert bystander.read_text() == "untouched"


def test_destruction_is_on_the_disk_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder without the name is synced as well: else a power cut brings a key back that was said to be gone."""
    path = tmp_path / "some.key"
    write_private(path, b"content")
    synced: list[tuple[bool, bool]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    destroy_private(path)
    assert synced == [(False, False), (True, False)]
    destroy_private(path)  # what is not there is no error
    assert len(synced) == 2
