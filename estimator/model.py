"""What stands between members' attributes and group probabilities: the protocol that a model fulfils.

:class:`estimator.RaceModel` is one such model. A company may put its own in its place (calibrated on its own Self-ID,
or about other groups than race, such as gender): ``attach.model`` names it, and the measurement's ``groups`` must be
the model's. ``estimator.model_checks`` holds the conformance test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

GROUP_NAME = re.compile("[a-z][a-z0-9_]*")
"""What a group may be called."""

Text = Sequence[str | None]
"""A column of text: one entry a member, None or "" where unknown."""


@runtime_checkable
class GroupModel(Protocol):
    """Group probabilities from attributes, in two steps: codes once a member, probabilities once a batch.

    A model is a pure function of its arguments and of tables that are loaded once: it learns nothing from the members
    that it sees, so that no member's probabilities depend on who else is there.
    """

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the columns: 2 to 16, different, lower-case words."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Fields of `member-attributes` that the model reads; each is text."""

    @property
    def code_width(self) -> int:
        """Words of a member's code, at least 1: 4 bytes each in the member store."""

    def encode(self, attributes: Mapping[str, Text]) -> NDArray[np.uint32]:
        """Code members as they are read.

        Args:
            attributes: for every field of :attr:`attributes`, a column of n entries, None or "" where unknown.

        Returns:
            Shape (n, code_width), uint32. A code must not say more than the attributes do, and is valid in this
            process only. All-zero is the code of a member of whom nothing is known.
        """

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Probabilities of coded members.

        Args:
            codes: shape (n, code_width), uint32, as :meth:`encode` made them.

        Returns:
            Shape (n, groups), float64, rows that sum to 1. A fresh array: whoever asked overwrites it after use.
        """
