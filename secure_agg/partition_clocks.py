"""How far each partition's senders have come, as the workers of one role have committed it: when an epoch may go.

An epoch's private key opens rows of every partition, and each worker reads only its own. So each writes down, for every
partition of its own, the senders' clock that it has *committed*, and whoever sees that all partitions have passed an
epoch's end destroys it.

One small file a partition, in the folder of the epochs. A clock only rises: the state that it comes from does, so an
old value, which a worker that was stopped for a while may write late, keeps an epoch a little longer and never ends one
early. A file is written only when its partition passes the end of an epoch, and read only while one waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from secure_agg.errors import KeyFileError
from secure_agg.keyring import read_private, write_private


class PartitionClocks:
    """The clocks of all partitions, in files.

    Args:
        folder: that of the role's epochs, shared by its workers.
        partitions: P; a clock that is in no file yet holds every epoch.
    """

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions

    def passed_ms(self, committed: Mapping[int, int], ends: Collection[int]) -> int | None:
        """Write down what this worker has committed, and ask for what all have.

        Args:
            committed: by partition of this worker, a time that all its senders' clocks have passed by committed
                records (epoch milliseconds).
            ends: when the epochs end that still exist (epoch milliseconds).

        Returns:
            A time that the clocks of all partitions have passed; None where no epoch ends by it, or a partition has
            not been heard of.
        """
        due = [end for end in ends if committed and end <= max(committed.values())]
        if not due:
            return None
        for j, clock_ms in committed.items():
            known = self._read(j)
            if any((known is None or known < end) and end <= clock_ms for end in due):
                self._write(j, clock_ms)
        passed: int | None = None
        for j in range(self._partitions):
            clock = self._read(j)
            if clock is None or clock < min(due):
                return None
            passed = clock if passed is None else min(passed, clock)
        return passed

    def _write(self, j: int, clock_ms: int) -> None:
        try:
            write_private(self._path(j), b"%d\n" % clock_ms)
        except (FileExistsError, FileNotFoundError):
            return  # another worker is at the same file; while it is behind, the next commit writes again

    def _read(self, j: int) -> int | None:
        path = self._path(j)
        if not path.exists():
            return None
        try:
            return int(read_private(path))
        except (KeyFileError, ValueError):
            return None  # unreadable is unheard: the epoch stays until its partition writes again

    def _path(self, j: int) -> Path:
        return self._folder / f"{j}.clock"
