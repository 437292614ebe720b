"""Check: is the role's key folder whole and its own, can it keep keys of epochs and state, and how old are they?

No private key leaves the functions that load it. How old a key is, its file's name says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from secure_agg import KeyFileError
from secure_agg.keyring import load_role, read_private
from streams.doctor.findings import Finding
from streams.doctor.readiness.storage import Storage, storage_of
from streams.doctor.readiness.subject import WORKERS, Subject
from streams.errors import InputError, SettingsError

CHECK = "keys"

Kind = Literal["epoch", "state"]

_KEEPS: dict[str, tuple[Kind, ...]] = {
    "seal": ("state",),
    "attach": ("epoch", "state"),
    "a": ("epoch", "state"),
    "b": ("epoch", "state"),
    "publish": (),
}
"""Which keys each role makes and destroys by itself."""

_OTHER_PARTY = {"a": "b", "b": "a"}
_MOST_LIFETIMES = 2.0
"""So old no key of a healthy role becomes (docs/runbooks/EvenstreamKeyNotDestroyed.md)."""
_LEAST_FREE_BYTES = 1_000_000
_HOUR_MS = 3_600_000


def check(subject: Subject) -> Iterator[Finding]:
    """Of workers the folder and what they keep; of others the public keys, where they have any."""
    if subject.role in WORKERS:
        yield from _folder(subject)
        yield from _apart(subject)
        if subject.is_elsewhere:
            yield Finding(
                CHECK, "ok", f"keys of epochs and state lie where {subject.role} runs, and are not looked at from here"
            )
            return
        for kind in _KEEPS[subject.role]:
            yield from _kept(subject, kind)
    elif subject.role in ("retention", "company") and not subject.has_trusted:
        yield Finding(CHECK, "ok", f"{subject.role} needs none, and here are none")
    else:
        yield from _public(subject)


def _folder(subject: Subject) -> Iterator[Finding]:
    settings, role = subject.settings, subject.role
    try:
        load_role(settings.keys.dir, role, settings.deployment)
    except KeyFileError as error:
        yield Finding(
            CHECK,
            "wrong",
            str(error),
            f"give {role} its own folder of the deployment's set, at {settings.keys.dir / role}",
        )
        return
    yield from _public(subject)


def _public(subject: Subject) -> Iterator[Finding]:
    """Whether the public keys are this deployment's, and enough of them can approve."""
    settings = subject.settings
    try:
        trusted = subject.trusted
        if settings.keys.governance_threshold > len(trusted.governance):
            raise SettingsError(
                f"keys.governance_threshold is {settings.keys.governance_threshold}, and trusted.json pins "
                f"{len(trusted.governance)} governance keys: nothing can ever be approved"
            )
    except (KeyFileError, InputError) as error:
        yield Finding(
            CHECK,
            "wrong",
            str(error),
            "copy the trusted.json of the deployment's set of keys here, or name it with --trusted",
        )
        return
    except SettingsError as error:
        yield Finding(
            CHECK,
            "wrong",
            str(error),
            "lower the threshold, the same for every role, or make more keys (`evenstream keys init --reviewers`)",
        )
        return
    whose = f"{subject.role}'s own folder is whole" if subject.role in WORKERS else "the public keys are there"
    yield Finding(
        CHECK,
        "ok",
        f"{whose}, of deployment {trusted.deployment}; {settings.keys.governance_threshold} of "
        f"{len(trusted.governance)} reviewers approve",
    )


def _apart(subject: Subject) -> Iterator[Finding]:
    """Whether this party could be the other one too: who has both keys puts the halves of `shares` together."""
    other = _OTHER_PARTY.get(subject.role)
    if other is None:
        return
    path = subject.settings.keys.dir / other / "identity.key"
    try:
        read_private(path)
    except KeyFileError:
        return
    says = f"the keys of party {other} lie here as well ({path.parent}): one hand holds both halves"
    if subject.settings.test_cluster:
        yield Finding(CHECK, "ok", f"{says}. The settings call this a test cluster (test_cluster)")
    else:
        yield Finding(
            CHECK,
            "wrong",
            says,
            f"leave only {subject.role}'s folder here, and party {other}'s to another machine or account",
        )


def _kept(subject: Subject, kind: Kind) -> Iterator[Finding]:
    """Whether keys of one kind can be stored, on what, whether the role may read them, and how old they are."""
    settings, role = subject.settings, subject.role
    folder = settings.epoch_folder(role) if kind == "epoch" else settings.state_folder(role)
    setting = "keys.epoch_dir" if kind == "epoch" else "keys.state_dir"
    lies = storage_of(folder)
    if not lies.writable:
        yield Finding(
            CHECK,
            "wrong",
            f"{kind} keys cannot be written to {folder}: {lies.there} is not writable for this process",
            f"mount a volume there that this user may write to, or set {setting}",
        )
        return
    if lies.free_bytes < _LEAST_FREE_BYTES:
        yield Finding(
            CHECK,
            "wrong",
            f"{kind} keys cannot be written to {folder}: it is full",
            "make room, or give it a larger volume",
        )
        return
    if lies.in_container and not settings.test_cluster:
        yield Finding(
            CHECK,
            "wrong",
            f"{kind} keys lie in {folder}, which is gone with the container, and with them what they open",
            f"mount a volume there, or set {setting}",
        )
        return
    if lies.in_memory and not any(folder.glob("*")):
        # As likely the scratch folder of a Job that only runs this command as the role's own before its first start.
        yield Finding(
            CHECK,
            "ok",
            f"{kind} keys: {folder} is empty, can be written to, and is in memory ({lies.kind}); where {role} itself "
            "has another folder, that is not looked at from here",
        )
        return
    files = {path: int(path.stem) for path in folder.glob(f"*.{kind}") if path.stem.isdigit()}
    yield from _openable(kind, files)
    yield _age(subject, kind, files, f"{folder} ({_words(kind, lies)})")


def _words(kind: Kind, lies: Storage) -> str:
    """On what keys lie, and what follows from that."""
    if lies.in_memory:
        return f"{lies.kind}, in memory" + (
            ": gone with the machine or pod, and state with it" if kind == "state" else ""
        )
    if lies.in_container:
        return f"{lies.kind}, gone with the container"
    proves = ": that a destroyed key cannot be restored from it is not certain" if kind == "epoch" else ""
    return f"{lies.kind or 'unknown'}, persistent{proves}"


def _openable(kind: Kind, files: dict[Path, int]) -> Iterator[Finding]:
    for path in sorted(files):
        try:
            read_private(path)
        except KeyFileError as error:
            if path.exists():  # else its role has destroyed it meanwhile
                yield Finding(CHECK, "wrong", f"{kind} key: {error}", "the role does not start with it as it is")


def _age(subject: Subject, kind: Kind, files: dict[Path, int], where: str) -> Finding:
    settings = subject.settings
    lifetime_ms = settings.epoch_lifetime_ms if kind == "epoch" else settings.state_lifetime_ms
    if not files:
        return Finding(CHECK, "ok", f"{kind} keys: none yet, and they can be written to {where}")
    oldest, newest = (subject.now_ms - edge(files.values()) for edge in (min, max))
    says = (
        f"{kind} keys: {len(files)} in {where}, {max(0, newest) / _HOUR_MS:.1f} to {max(0, oldest) / _HOUR_MS:.1f} h "
        f"old, of a lifetime of {lifetime_ms / _HOUR_MS:g} h"
    )
    if oldest <= _MOST_LIFETIMES * lifetime_ms:
        return Finding(CHECK, "ok", says)
    if subject.runs:
        return Finding(
            CHECK, "wrong", f"{says}: the oldest should be destroyed", "docs/runbooks/EvenstreamKeyNotDestroyed.md"
        )
    return Finding(CHECK, "ok", f"{says}. The role does not run; it destroys the oldest once it has caught up")
