"""State keys: a role's own keys for its state topic, followed by new ones and destroyed like epochs.

Differences of successive checkpoints are micro-batches, and a log keeps old checkpoints until it is compacted: so what
seals them must end. A key lies in one file, NUMBER.state, written before its first use. The newest one seals; an older
one is kept until no live record of the state topic needs it, and destroyed then.

**Several workers of a role** share the folder, since records of a state topic move between them. Numbers are drawn
under a lock. A worker that has committed everything that it owns under number N or a later one says so in a file of
its own, WORKER.rewritten; a key is destroyed only when every worker of the present layout has passed it. Nobody else
may still commit under an older number: the workers of an earlier layout must be fenced before state is read.

**What was destroyed** is remembered in an empty file, NUMBER.destroyed, until the role has announced it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from secure_agg.errors import KeyFileError
from secure_agg.keyring import destroy_private, read_private, write_private

_KEY_BYTES = 32


@dataclass(frozen=True)
class StateKey:
    """One key.

    Attributes:
        number: rising; the millisecond at which it was made, by the clock of then.
        began_ms: the same, where no clock was set back.
        secret: 32 bytes.
    """

    number: int
    began_ms: int
    secret: bytes = field(repr=False)


class StateKeys:
    """A role's state keys, one file each.

    Args:
        folder: where they lie; made with mode 0700.
        lifetime_ms: after how long a key is followed by a new one.

    Raises:
        KeyFileError: a file is damaged, open to others, or a copy of another.
    """

    def __init__(self, folder: Path, lifetime_ms: int) -> None:
        self.folder = folder
        self.lifetime_ms = lifetime_ms
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keys: dict[int, StateKey] = {}
        with self._locked():
            for number in self._marked("destroyed"):
                self._finish_destroying(number)  # a crash came between the decision and the deed
        self.refresh()

    def refresh(self) -> None:
        """Take in keys that other workers of the role have made, and let go of those that they have destroyed."""
        present = set(self._marked("state"))
        self._keys = {number: key for number, key in self._keys.items() if number in present}
        for number in sorted(present - self._keys.keys()):
            try:
                self._keys[number] = self._read(number)
            except FileNotFoundError:
                continue  # destroyed by another worker since the folder was listed
            except KeyFileError:
                if self._path(number).exists():
                    raise
                continue  # or since it was seen to exist

    def _read(self, number: int) -> StateKey:
        path = self._path(number)
        if not path.exists():
            raise FileNotFoundError(path)
        try:
            stored = json.loads(read_private(path))
            key = StateKey(int(stored["number"]), int(stored["began_ms"]), bytes.fromhex(stored["key"]))
            if key.number != number or len(key.secret) != _KEY_BYTES:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise KeyFileError(
                f"{path.name} is not a state key file (NUMBER.state: JSON with number, began_ms, key). State that was "
                "sealed under it cannot be read without it: restore the file"
            ) from None
        return key

    def newest(self) -> StateKey | None:
        """The key that seals now; None before the first."""
        return self._keys[max(self._keys)] if self._keys else None

    def find(self, number: int) -> bytes | None:
        """The key of this number, also where another worker has just made it; None where it does not exist."""
        known = self._keys.get(number)
        if known is None and self._path(number).exists():
            self.refresh()
            known = self._keys.get(number)
        return None if known is None else known.secret

    def numbers(self) -> tuple[int, ...]:
        """The keys that still exist, oldest first."""
        return tuple(sorted(self._keys))

    def is_due(self, now_ms: int) -> bool:
        """Whether the newest key has had its time, or there is none. A clock that was far ahead once does not hold."""
        newest = self.newest()
        return newest is None or abs(now_ms - newest.began_ms) >= self.lifetime_ms

    def ensure_current(self, now_ms: int) -> StateKey:
        """The key to seal with; a new one, stored, where the newest has had its time."""
        if not self.is_due(now_ms):
            return self._keys[max(self._keys)]
        with self._locked():
            self.refresh()  # another worker may have made it
            newest = self.newest()
            if newest is not None and not self.is_due(now_ms):
                return newest
            number = max([now_ms, *(n + 1 for n in (*self._keys, *self._marked("destroyed")))])
            key = StateKey(number, now_ms, os.urandom(_KEY_BYTES))
            stored = {"number": number, "began_ms": now_ms, "key": key.secret.hex()}
            # Stored before it seals anything: a key that a crash forgets would make state unreadable.
            write_private(self._path(number), json.dumps(stored).encode())
            self._keys[number] = key
            return key

    # -- destruction ----------------------------------------------------------------------------------------------

    def passed(self, worker: str, number: int, workers: Sequence[str]) -> tuple[int, ...]:
        """A worker has committed all that it owns under ``number`` or later ones; destroy what nobody needs any more.

        Args:
            worker: who says it: its place in the present layout.
            workers: every place of that layout.

        Returns:
            The numbers of the keys destroyed.
        """
        if worker not in workers:
            raise ValueError(f"worker {worker!r} is none of {', '.join(workers)}")
        if self._said(worker) != number:
            # Where a fenced one is at the same file, the word is said again after the next commit.
            with suppress(FileExistsError, FileNotFoundError):
                write_private(self.folder / f"{worker}.rewritten", str(number).encode())
        needed = min(number, *(self._said(other) for other in workers))
        newest = max(self._keys, default=0)
        ended = tuple(n for n in self.numbers() if n < min(needed, newest))
        if ended:
            with self._locked():
                for n in ended:
                    (self.folder / f"{n}.destroyed").touch(mode=0o600)
                    self._finish_destroying(n)
                    self._keys.pop(n, None)
            # Said by places of layouts that are gone: nobody asks for them any more.
            for path in self.folder.glob("*.rewritten"):
                if path.stem not in workers:
                    path.unlink(missing_ok=True)
        return ended

    def _said(self, worker: str) -> int:
        try:
            return int(read_private(self.folder / f"{worker}.rewritten"))
        except (KeyFileError, ValueError):  # nothing, so far: then nothing is destroyed on its word
            return 0

    def _finish_destroying(self, number: int) -> None:
        destroy_private(self._path(number))

    def unannounced(self) -> tuple[int, ...]:
        """Keys that were destroyed, and of which the role has not said so."""
        return tuple(sorted(self._marked("destroyed")))

    def announced(self, number: int) -> None:
        """The role has said, durably, that this key is destroyed."""
        (self.folder / f"{number}.destroyed").unlink(missing_ok=True)

    # -- files ----------------------------------------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.state"

    def _marked(self, kind: str) -> Iterator[int]:
        for path in self.folder.glob(f"*.{kind}"):
            if not path.stem.isdigit():
                raise KeyFileError(
                    f"{path} is not a file of a state key (NUMBER.{kind}). A copy would survive its key's destruction: "
                    "remove it"
                )
            yield int(path.stem)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
