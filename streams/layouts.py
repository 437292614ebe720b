"""Which layout of a role holds, out of what a reader of `keys` was given; and the one that its workers have begun.

A layout only moves on. Whoever reads `keys` while it runs knows that by himself; a worker that starts knows no more
than the topic holds, and that can go back: somebody with write rights replays an old record, or a backup is restored.
Two generations would then work side by side, unfenced. So the workers of a role keep the signed record of the highest
generation that one of them has begun, in the folder of the role's state keys, which all of them share, and hold the
topic against it: a layout that does not follow it is refused, and what they began goes on.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secure_agg import PinnedIdentities, SignatureInvalid
from secure_agg.keyring import write_private
from streams.errors import EvenstreamError, RecordMalformed
from streams.records.layout import Layout, LayoutRecord, decode_layout


class Layouts:
    """The layouts of all roles, as one reader knows them. Pure."""

    def __init__(self) -> None:
        self._known: dict[str, Layout] = {}
        self._values: dict[str, bytes] = {}
        self._begun: dict[str, Layout] = {}
        self._read: dict[str, Layout] = {}

    def of(self, role: str) -> Layout:
        """The layout in force; generation 0 where none was ever written."""
        return self._known.get(role, Layout())

    def value(self, role: str) -> bytes:
        """The signed record of the layout in force; empty for generation 0, which has none."""
        return self._values.get(role, b"")

    def out_of_place(self, role: str) -> Layout | None:
        """What the topic says last, where that is not the layout in force. Ask when the topic was read to its end."""
        read = self._read.get(role, Layout())
        return None if read == self.of(role) else read

    def begin(self, record: LayoutRecord, value: bytes) -> None:
        """Take in what a role's workers have begun: from now on nothing holds that does not follow it."""
        layout = self._begun[record.role] = Layout.of(record)
        known = self._known.get(record.role)
        if known is None or not known.follows(layout):
            self._known[record.role], self._values[record.role] = layout, value

    def take_in(self, record: LayoutRecord, value: bytes) -> None:
        """Take in a verified record of the topic, or raise :class:`RecordMalformed` where it does not follow."""
        role, layout = record.role, Layout.of(record)
        known, before = self._known.get(role), self._read.get(role, Layout())
        self._read[role] = layout
        if layout == known:
            return  # the same record, told again
        if known is None or layout.follows(known):
            self._known[role], self._values[role] = layout, value
            return
        begun = self._begun.get(role)
        if begun is not None and layout.generation > before.generation and begun.follows(layout):
            return  # what was there before it, which compaction has not taken away yet
        raise RecordMalformed(
            f"a layout of {role!r} with generation {layout.generation} and {layout.shards} shards does not follow "
            f"generation {known.generation} with {known.shards}"
        )


class BegunLayout:
    """The signed record of the highest generation that a worker of the role has begun, in a file.

    Args:
        path: in the folder of the role's state keys, which its workers share (``Settings.layout_file``).
        role: whose layout it is. trusted: who must have signed it.
    """

    def __init__(self, path: Path, role: str, trusted: PinnedIdentities) -> None:
        self.path = path
        self._role = role
        self._trusted = trusted

    def read(self) -> tuple[LayoutRecord, bytes] | None:
        """The record, decoded and as it is; None where no worker has begun any.

        Raises:
            EvenstreamError: there is a file, and it cannot be read, or is no layout that the role has signed.
        """
        try:
            value = self.path.read_bytes()
            record = decode_layout(value, self._trusted)
            if record.role != self._role:
                raise RecordMalformed(f"it is one of {record.role!r}, expected one of {self._role!r}")
            return record, value
        except FileNotFoundError:
            return None
        except (OSError, RecordMalformed, SignatureInvalid) as error:
            raise EvenstreamError(
                f"{self.path} should hold the layout that this role's workers have begun last: {error}. Restore it; "
                "or, where `evenstream scale ROLE` shows the layout that they had last, remove it"
            ) from None

    def keep(self, layout: Layout, value: bytes) -> None:
        """Store the record of a generation that begins, unless a higher one is there. Durable when this returns.

        Raises:
            EvenstreamError: it could not be stored; the generation must not begin.
        """
        try:
            with self._locked():
                known = self.read()
                if known is None or known[0].generation < layout.generation:
                    write_private(self.path, value)
        except OSError as error:
            raise EvenstreamError(
                f"the layout that begins cannot be written to {self.path} ({error.strerror}), and without it an older "
                "one could be put back unnoticed. Make room, or give this role its folder"
            ) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path.parent / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
