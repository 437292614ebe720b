"""Key folders: one a role, so that each role can be deployed alone.

    keys/seal/identity.key      the role's Ed25519 private key (hex, or PEM), mode 0600
    keys/seal/state.key         32 bytes (as such a key) for the role's own state, mode 0600; others derive from it
    keys/seal/trusted.json      public: every role's identity, the governance and operator keys, the deployment
    keys/governance/reviewer-N.key  a reviewer's private key; no role needs it
    keys/operator/operator.key  the operator's private key, which lets a stopped partition go on; no role needs it

A private file that others may read is refused, not mended: it may have been read already. One kind of file that its
group may read is none of those: what root has mounted for this process (:func:`read_private`).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secure_agg.errors import KeyFileError
from secure_agg.identity import ROLES, Identity, PinnedIdentities
from secure_agg.key_text import private_bytes

GOVERNANCE = "governance"
OPERATOR = "operator"
HOLDERS = (*ROLES, GOVERNANCE, OPERATOR)
"""Whose folders there are."""

IDENTITY_FILE = "identity.key"
STATE_FILE = "state.key"
OPERATOR_FILE = "operator.key"
TRUSTED_FILE = "trusted.json"
MOST_REVIEWERS = 64
"""As many approvals as one record of `measurements` holds."""


def write_private(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:  # a full disk, say: half a key is no use to its owner
        partial.unlink(missing_ok=True)
        raise
    # A key that is used before its name is on the disk would be lost with the power, and what it sealed with it.
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def destroy_private(path: Path) -> None:
    """Remove a private file and overwrite what it held, as a courtesy: on an SSD that proves nothing."""
    try:
        with path.open("r+b") as file:
            # Unlinked first: a process killed between the two must not leave noise that stops the next start.
            path.unlink(missing_ok=True)
            file.write(os.urandom(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    # Else a power cut could bring the name back after the role has said that the key is destroyed.
    _sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """Read a private file, refusing one that is missing or open to group or others.

    A Kubernetes Secret in a pod that runs as another user than root is a file of root's with mode 0440, in a group that
    is the pod's alone (fsGroup): no owner's file could be read there. So a file that belongs to root is taken from a
    process that is not root where its group may read it and do nothing else, and others may do nothing at all. Who
    is in that group is root's word, and root reads every file anyway; where this process is root, or the file is not
    root's, a group that may read it is one more reader than there should be.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise KeyFileError(
            f"{path} does not exist; make keys with `evenstream keys init` (or `keys make`), or copy this role's "
            "folder here"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_mounted_secret(found):
        raise KeyFileError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, expected 0600: others may have read it. "
            "Replace the key, or, if you know that nobody did, run `chmod 600` on it. A mounted Secret has mode 0440, "
            "is root's, and is for a process that is not root"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None


def _is_mounted_secret(found: os.stat_result) -> bool:
    beyond = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
    return found.st_uid == 0 and os.geteuid() != 0 and not found.st_mode & beyond


def _read_secret(path: Path) -> bytes:
    return private_bytes(read_private(path), path)


def hex_line(secret: bytes) -> bytes:
    """What a private file holds."""
    return secret.hex().encode() + b"\n"


@dataclass(frozen=True)
class Trusted:
    """The public half of a set of keys, the same in every role's folder.

    Attributes:
        operators: whose word lets a stopped partition go on; none in a set of keys of an earlier version.
    """

    deployment: str
    identities: PinnedIdentities
    governance: tuple[Ed25519PublicKey, ...]
    operators: tuple[Ed25519PublicKey, ...] = ()


@dataclass(frozen=True)
class RoleKeys:
    """All that one role's folder holds."""

    role: str
    identity: Identity
    trusted: Trusted
    folder: Path
    state_secret: bytes = field(repr=False)

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose, by HKDF-SHA-256 (RFC 5869) from the state secret."""
        info = f"evenstream/1/{self.identity.deployment}/{self.role}/{purpose}".encode()
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(self.state_secret)


def trusted_json(
    deployment: str,
    identities: Mapping[str, Ed25519PublicKey],
    governance: Sequence[Ed25519PublicKey],
    operators: Sequence[Ed25519PublicKey],
) -> bytes:
    """The content of trusted.json."""
    trusted = {
        "deployment": deployment,
        "identities": {role: key.public_bytes_raw().hex() for role, key in identities.items()},
        "governance": [key.public_bytes_raw().hex() for key in governance],
        "operators": [key.public_bytes_raw().hex() for key in operators],
    }
    return json.dumps(trusted, indent=2).encode() + b"\n"


def generate(deployment: str, reviewers: int = 3) -> dict[str, dict[str, bytes]]:
    """A full set of keys, in memory: for each of ``HOLDERS`` the files of its folder, by name.

    Args:
        reviewers: how many governance keys, 1 to 64: reviewer-1.key, reviewer-2.key, ...

    Raises:
        ValueError: ``reviewers`` is out of range.
    """
    if not 1 <= reviewers <= MOST_REVIEWERS:
        raise ValueError(f"expected 1 to {MOST_REVIEWERS} reviewers, got {reviewers}")
    private = {role: Ed25519PrivateKey.generate() for role in ROLES}
    governance = [Ed25519PrivateKey.generate() for _ in range(reviewers)]
    operator = Ed25519PrivateKey.generate()
    trusted = trusted_json(
        deployment,
        {role: key.public_key() for role, key in private.items()},
        [key.public_key() for key in governance],
        [operator.public_key()],
    )
    made = {
        role: {IDENTITY_FILE: hex_line(key.private_bytes_raw()), STATE_FILE: hex_line(os.urandom(32))}
        for role, key in private.items()
    }
    made[GOVERNANCE] = {
        f"reviewer-{number}.key": hex_line(key.private_bytes_raw()) for number, key in enumerate(governance, 1)
    }
    made[OPERATOR] = {OPERATOR_FILE: hex_line(operator.private_bytes_raw())}
    return {holder: {**files, TRUSTED_FILE: trusted} for holder, files in made.items()}


def create(root: Path, deployment: str, reviewers: int = 3) -> None:
    """Make a full set of keys below ``root``: five roles, a governance key for each reviewer, and an operator's.

    Raises:
        ValueError: ``reviewers`` is out of range, as for :func:`generate`.
        KeyFileError: a folder of a role is already there. Nothing is overwritten and nothing is half done.
    """
    made = generate(deployment, reviewers)
    taken = [name for name in HOLDERS if (root / name).exists()]
    if taken:
        raise KeyFileError(
            f"{root} already holds keys for {', '.join(taken)}. Keys are never overwritten, since state and rows in "
            "flight would be lost with them: choose another folder, or move the old ones away"
        )
    for holder, files in made.items():
        for name, content in files.items():
            if name == TRUSTED_FILE:
                (root / holder / name).write_bytes(content)
            else:
                write_private(root / holder / name, content)


def load_trusted(folder: Path) -> Trusted:
    """Read ``trusted.json`` of a folder."""
    return load_trusted_file(folder / TRUSTED_FILE)


def load_trusted_file(path: Path) -> Trusted:
    """Read a file of pinned keys, for whoever has it and no folder of keys."""
    try:
        content = json.loads(path.read_text())
        deployment = content["deployment"]
        pinned = {
            role: Ed25519PublicKey.from_public_bytes(bytes.fromhex(value))
            for role, value in content["identities"].items()
        }
        governance, operators = (
            tuple(Ed25519PublicKey.from_public_bytes(bytes.fromhex(value)) for value in keys)
            for keys in (content["governance"], content.get("operators", []))
        )
    except FileNotFoundError:
        raise KeyFileError(
            f"{path} does not exist; make keys with `evenstream keys init` (or `keys make`), or copy this role's "
            "folder here"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KeyFileError(
            f"{path} must be JSON with deployment, identities (role: public key in hex), governance and operators "
            "(public keys)"
        ) from None
    return Trusted(deployment, PinnedIdentities(deployment, pinned), governance, operators)


def load_role(root: Path, role: str, deployment: str) -> RoleKeys:
    """Load one role's folder and check that it fits.

    Raises:
        KeyFileError: something is missing, open to others, of another deployment, or not this role's.
    """
    folder = root / role
    trusted = load_trusted(folder)
    if trusted.deployment != deployment:
        raise KeyFileError(
            f"the keys in {folder} were made for deployment {trusted.deployment!r}, but this is {deployment!r}: "
            "set `deployment`, or point `keys.dir` to the right set"
        )
    private_key = Ed25519PrivateKey.from_private_bytes(_read_secret(folder / IDENTITY_FILE))
    pinned = trusted.identities.keys.get(role)
    if pinned is None or pinned.public_bytes_raw() != private_key.public_key().public_bytes_raw():
        raise KeyFileError(
            f"{folder / IDENTITY_FILE} is not the identity that trusted.json pins for {role!r}: every record signed "
            "with it would be refused. Restore this role's own key"
        )
    return RoleKeys(
        role=role,
        identity=Identity(role, deployment, private_key),
        trusted=trusted,
        folder=folder,
        state_secret=_read_secret(folder / STATE_FILE),
    )


def load_governance(path: Path) -> Ed25519PrivateKey:
    """Read a reviewer's private key file."""
    return Ed25519PrivateKey.from_private_bytes(_read_secret(path))


def load_operator(path: Path) -> Ed25519PrivateKey:
    """Read an operator's private key file."""
    return Ed25519PrivateKey.from_private_bytes(_read_secret(path))
