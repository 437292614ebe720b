"""Sequence numbers: the check that every hop makes, so that a miscount cannot be silent.

Among validly signed batches the sequence of a stream (source, i, j) is contiguous. A repeat is dropped, but only if its
header is the one seen before; a gap, or two headers under one number, stops the partition.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from streams.errors import ProtocolStop

REMEMBERED = 64
"""How many of a stream's last header digests are kept to compare repeats with."""


@dataclass
class StreamSequence:
    """Where one stream stands.

    Attributes:
        next_sequence: the number that its next batch must have.
        digests: header digests of the last batches, oldest first.
    """

    next_sequence: int = 0
    digests: deque[bytes] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def is_next(self, sequence: int, header_digest: bytes) -> bool:
        """True: this batch is next; call :meth:`advance` when it has been taken in. False: a repeat, to be dropped.

        Raises:
            ProtocolStop: batches are missing, or another batch was seen under this number.
        """
        if sequence > self.next_sequence:
            raise ProtocolStop(
                f"sequence gap: expected batch {self.next_sequence}, got {sequence}; "
                f"{sequence - self.next_sequence} batches are missing"
            )
        if sequence == self.next_sequence:
            return True
        back = self.next_sequence - sequence
        # An older repeat than is remembered cannot be compared, but is not folded either.
        if back <= len(self.digests) and self.digests[-back] != header_digest:
            raise ProtocolStop(f"two different batches are signed as number {sequence}")
        return False

    def advance(self, header_digest: bytes) -> None:
        """The batch that was next has been taken in."""
        self.next_sequence += 1
        self.digests.append(header_digest)

    def check_through(self, next_sequence: int) -> bool:
        """Compare with a punctuation's next sequence number. False: the punctuation is an old one.

        Raises:
            ProtocolStop: the punctuation vouches for batches that never came.
        """
        if next_sequence > self.next_sequence:
            raise ProtocolStop(
                f"sequence gap: punctuation says that batches up to {next_sequence - 1} were sent, "
                f"but only {self.next_sequence} came"
            )
        return next_sequence == self.next_sequence
