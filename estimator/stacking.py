"""What is known of several statistics, in one: the same class, its arrays with an axis before the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

Arrays = TypeVar("Arrays", bound=Any)
"""A dataclass, all of whose fields are arrays."""


def stacked(parts: Sequence[Arrays]) -> Arrays:
    """Several as one: each field of shape (parts, ...)."""
    names = [field.name for field in fields(parts[0])]
    one: Arrays = type(parts[0])(**{name: np.array([getattr(part, name) for part in parts]) for name in names})
    return one
