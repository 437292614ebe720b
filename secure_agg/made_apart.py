"""Keys that are made in several places, so that nobody ever has them all, and what brings their public halves together.

Each domain makes its own (:func:`make`) and hands out ``public.json``: the deployment, the role and the public key.
Whoever has all of these assembles trusted.json from them (:func:`assemble`), the same file that a set made in one place
has, and everybody puts a copy beside their own private key. Nothing that is handed out is secret, but who hands it out
matters: whoever can change it on its way can be that role. Compare the public keys over another channel.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from secure_agg.errors import KeyFileError
from secure_agg.identity import ROLES
from secure_agg.key_text import public_key
from secure_agg.keyring import (
    GOVERNANCE,
    HOLDERS,
    IDENTITY_FILE,
    MOST_REVIEWERS,
    OPERATOR,
    OPERATOR_FILE,
    STATE_FILE,
    hex_line,
    trusted_json,
    write_private,
)

PUBLIC_FILE = "public.json"
REVIEWER_FILE = "reviewer.key"


@dataclass(frozen=True)
class PublicKeyOf:
    """Whose public key it is.

    Attributes:
        role: one of ``HOLDERS``.
        deployment: for which it was made; None where the file does not say.
        source: the file, for errors.
    """

    role: str
    key: Ed25519PublicKey
    deployment: str | None
    source: Path


def make(root: Path, role: str, deployment: str) -> Ed25519PublicKey:
    """Make the keys of one role, reviewer or operator below ``root``/``role``, with the file to hand out.

    Raises:
        ValueError: ``role`` is none of ``HOLDERS``.
        KeyFileError: the folder is there already; nothing is overwritten.
    """
    if role not in HOLDERS:
        raise ValueError(f"expected one of {', '.join(HOLDERS)}, got {role!r}")
    folder = root / role
    if folder.exists():
        raise KeyFileError(
            f"{folder} is already there. Keys are never overwritten, since state and rows in flight would be lost with "
            "them: choose another folder (keys.dir), or move the old one away"
        )
    key = Ed25519PrivateKey.generate()
    name = {GOVERNANCE: REVIEWER_FILE, OPERATOR: OPERATOR_FILE}.get(role, IDENTITY_FILE)
    write_private(folder / name, hex_line(key.private_bytes_raw()))
    if role in ROLES:
        write_private(folder / STATE_FILE, hex_line(os.urandom(32)))
    public = {"deployment": deployment, "role": role, "public_key": key.public_key().public_bytes_raw().hex()}
    (folder / PUBLIC_FILE).write_text(json.dumps(public, indent=2) + "\n")
    return key.public_key()


def read_public(path: Path) -> PublicKeyOf:
    """Read a ``public.json``, or raise :class:`KeyFileError`."""
    try:
        content = json.loads(_read(path))
        role, deployment = content["role"], content["deployment"]
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(content["public_key"]))
        is_one = role in HOLDERS and isinstance(deployment, str)
    except (ValueError, KeyError, TypeError, RecursionError):
        is_one = False
    if not is_one:
        raise KeyFileError(
            f"{path} must be JSON with deployment, role (one of {', '.join(HOLDERS)}) and public_key (64 hexadecimal "
            "digits), as `evenstream keys make` writes it. A certificate is named with its role: --identity ROLE=FILE"
        )
    return PublicKeyOf(role, key, deployment, path)


def read_certified(role: str, path: Path) -> PublicKeyOf:
    """Read a role's public key from a PEM certificate or a PEM public key, or raise :class:`KeyFileError`."""
    return PublicKeyOf(role, public_key(_read(path), path), None, path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KeyFileError(
            f"{path} does not exist; each domain hands out its own, from `evenstream keys make`"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None


def assemble(keys: Sequence[PublicKeyOf], deployment: str, threshold: int) -> bytes:
    """trusted.json of these keys: each of the five roles once, enough reviewers, and whatever operators there are.

    Args:
        threshold: how many governance keys must approve a measurement.

    Raises:
        KeyFileError: one line for each thing that is missing, there twice, or another deployment's.
    """
    by_role = {role: [key for key in keys if key.role == role] for role in HOLDERS}
    problems = [
        *_of_another_deployment(keys, deployment),
        *(f"{role}: its public key is missing" for role in ROLES if not by_role[role]),
        *(
            f"{role}: has {len(by_role[role])} keys: {_files(by_role[role])}"
            for role in ROLES
            if len(by_role[role]) > 1
        ),
        *_equal(keys),
    ]
    reviewers = len(by_role[GOVERNANCE])
    if not threshold <= reviewers <= MOST_REVIEWERS:
        problems.append(
            f"governance: has {reviewers} keys, expected {threshold} (keys.governance_threshold) to {MOST_REVIEWERS}"
        )
    if problems:
        raise KeyFileError("these keys make no trusted.json:\n" + "\n".join(f"  {problem}" for problem in problems))
    return trusted_json(
        deployment,
        {role: by_role[role][0].key for role in ROLES},
        [one.key for one in by_role[GOVERNANCE]],
        [one.key for one in by_role[OPERATOR]],
    )


def _of_another_deployment(keys: Iterable[PublicKeyOf], deployment: str) -> list[str]:
    return [
        f"{key.role}: {key.source} is of deployment {key.deployment!r}, but this is {deployment!r} (`deployment`)"
        for key in keys
        if key.deployment not in (None, deployment)
    ]


def _equal(keys: Iterable[PublicKeyOf]) -> list[str]:
    """Keys that are there twice: two who hold one key are one, for whoever counts approvals or believes a role."""
    by_key: dict[bytes, list[PublicKeyOf]] = {}
    for key in keys:
        by_key.setdefault(key.key.public_bytes_raw(), []).append(key)
    return [
        f"{', '.join(dict.fromkeys(key.role for key in same))}: the same key in {_files(same)}"
        for same in by_key.values()
        if len(same) > 1
    ]


def _files(keys: Iterable[PublicKeyOf]) -> str:
    return " and ".join(str(key.source) for key in keys)
