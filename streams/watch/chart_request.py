"""What is asked of the process that draws charts. It loads as little of ours as it can: this and ``shown_record``."""

from __future__ import annotations

import msgspec

HEAD = 4
"""Bytes of a frame's length, big-endian, before it."""


class Wanted(msgspec.Struct, frozen=True):
    """Which picture.

    Attributes:
        kind: "gaps" or "evidence". theme: "light" or "dark", each also with "-narrow".
        metric, score_bin, estimator: which results.
    """

    kind: str
    theme: str
    metric: str
    score_bin: str
    estimator: str


class Drawing(msgspec.Struct, frozen=True):
    """A picture, and the packed records of its windows, oldest first."""

    wanted: Wanted
    windows: tuple[bytes, ...]
