"""Epoch keys: short-lived private keys whose destruction is the deletion of what was sent to them.

A recipient publishes an epoch's public key, signed, and destroys the private one as soon as every row sealed to it has
been folded and that fold is committed. What Kafka still holds of those rows is noise from then on (crypto-shredding).

For a restart the private key lies in one file. Put the folder on memory-backed storage: overwriting a file on an SSD
proves nothing, so :meth:`EpochKeys.destroy_ended` overwrites only as a courtesy.

Epochs belong to the role: where it has several workers, all share one folder, and each finds there what another began.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secure_agg.envelopes import KemPrivateKey
from secure_agg.errors import EnvelopeUnreadable, KeyFileError
from secure_agg.keyring import destroy_private, read_private, write_private


@dataclass(frozen=True)
class EpochPublicKey:
    """What senders need of a recipient's epoch.

    Attributes:
        role: the recipient.
        epoch: its number, rising; the millisecond at which it began.
        not_after_ms: senders must not use it from this time on (epoch milliseconds).
        kem_public: 1216 bytes.
    """

    role: str
    epoch: int
    not_after_ms: int
    kem_public: bytes


@dataclass(frozen=True)
class Epoch:
    """A recipient's epoch with its private key."""

    role: str
    number: int
    not_after_ms: int
    key: KemPrivateKey

    def public(self) -> EpochPublicKey:
        """The part that is announced."""
        return EpochPublicKey(self.role, self.number, self.not_after_ms, self.key.public_bytes())


class EpochKeys:
    """A recipient's epochs, one file each.

    Args:
        role: the recipient.
        folder: where private keys lie; made with mode 0700.
        lifetime_ms: how long senders may use an epoch. The next one begins after half of it, so that senders
            always have one that is good for at least that half.
    """

    def __init__(self, role: str, folder: Path, lifetime_ms: int) -> None:
        self.role = role
        self.lifetime_ms = lifetime_ms
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in self.unannounced():
            destroy_private(self._path(number))  # a crash came between the decision and the deed
        self._epochs: dict[int, Epoch] = {}
        self._find_new()

    def _find_new(self) -> None:
        """Take in the epochs that are in the folder and not known yet."""
        known = {self._path(number) for number in self._epochs}
        self._epochs |= {epoch.number: epoch for epoch in self._load(known)}

    def _load(self, known: set[Path]) -> Iterator[Epoch]:
        for path in sorted(set(self._folder.glob("*.epoch")) - known):
            try:
                content = read_private(path)
            except KeyFileError:
                if path.exists():
                    raise
                continue  # another worker has destroyed it meanwhile
            try:
                stored = json.loads(content)
                key = KemPrivateKey(bytes.fromhex(stored["key"]))
                key.public_bytes()
                number = int(stored["epoch"])
                if path != self._path(number):
                    # A copy would survive the destruction of its epoch, and come back at the next start.
                    raise ValueError
                yield Epoch(self.role, number, int(stored["not_after_ms"]), key)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError, EnvelopeUnreadable):
                raise KeyFileError(
                    f"{path.name} is not an epoch key file (NUMBER.epoch: JSON with epoch, not_after_ms, key). "
                    "If it was damaged, rows sealed to that epoch are lost: remove the file and expect that partition "
                    "to stop"
                ) from None

    def current(self, now_ms: int) -> Epoch | None:
        """The newest epoch that senders may still use at ``now_ms``."""
        usable = [epoch for epoch in self._epochs.values() if epoch.not_after_ms > now_ms]
        return max(usable, key=lambda epoch: epoch.number, default=None)

    def ensure_current(self, now_ms: int) -> Epoch:
        """Return an epoch with at least half its lifetime left, beginning (and storing) one where there is none."""
        newest = self.current(now_ms)
        if newest is not None and self._serves(newest, now_ms):
            return newest
        with self._locked():
            return self._begin(now_ms)

    def _serves(self, epoch: Epoch, now_ms: int) -> bool:
        return epoch.not_after_ms - now_ms >= self.lifetime_ms // 2

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One worker of the role at a time."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _begin(self, now_ms: int) -> Epoch:
        self._find_new()
        newest = self.current(now_ms)
        if newest is not None and self._serves(newest, now_ms):
            return newest  # another worker began it while this one waited
        number = max(now_ms, max(self._epochs, default=0) + 1)
        epoch = Epoch(self.role, number, now_ms + self.lifetime_ms, KemPrivateKey.generate())
        stored = {"epoch": number, "not_after_ms": epoch.not_after_ms, "key": epoch.key.raw.hex()}
        # Stored before it is announced: an announced key that a crash forgets would make rows unreadable.
        write_private(self._path(number), json.dumps(stored).encode())
        self._epochs[number] = epoch
        return epoch

    def private(self, number: int) -> KemPrivateKey:
        """The private key of an epoch, or :class:`EnvelopeUnreadable` where it is unknown or destroyed."""
        if number not in self._epochs:
            self._find_new()
        epoch = self._epochs.get(number)
        if epoch is None:
            raise EnvelopeUnreadable(
                f"role {self.role!r} holds no private key for its epoch {number}: it was destroyed, never stored here, "
                "or belongs to another installation"
            )
        return epoch.key

    def numbers(self) -> tuple[int, ...]:
        """The epochs whose private keys still exist, oldest first."""
        return tuple(sorted(self._epochs))

    def ends(self) -> tuple[int, ...]:
        """``not_after_ms`` of the epochs whose private keys still exist, in order."""
        return tuple(sorted(epoch.not_after_ms for epoch in self._epochs.values()))

    def drop_destroyed(self) -> tuple[int, ...]:
        """Let go of the keys whose files are gone: another worker destroyed them. The numbers of these epochs."""
        gone = tuple(number for number in sorted(self._epochs) if not self._path(number).exists())
        for number in gone:
            del self._epochs[number]
        return gone

    def destroy_ended(self, senders_clock_ms: int) -> tuple[int, ...]:
        """Destroy the private keys that no row in flight can need.

        Args:
            senders_clock_ms: a time that every sender's clock has passed by *committed, folded* punctuation. A sender
                does not use an epoch from ``not_after_ms`` on, so nothing more can arrive for an older one.

        Returns:
            The numbers of the epochs destroyed.
        """
        ended = tuple(n for n, epoch in sorted(self._epochs.items()) if epoch.not_after_ms <= senders_clock_ms)
        for number in ended:
            self._mark(number).touch(mode=0o600)
            destroy_private(self._path(number))
            del self._epochs[number]
        return ended

    def unannounced(self) -> tuple[int, ...]:
        """Epochs that were destroyed, and of which the role has not said so."""
        return tuple(sorted(int(path.stem) for path in self._folder.glob("*.destroyed") if path.stem.isdigit()))

    def announced(self, number: int) -> None:
        """The role has said, durably, that this epoch's key is destroyed."""
        self._mark(number).unlink(missing_ok=True)

    def _mark(self, number: int) -> Path:
        return self._folder / f"{number}.destroyed"

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.epoch"
