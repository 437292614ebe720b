"""What every part of a public record is: strict, unchangeable, and without infinity or NaN."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class PublicPart(BaseModel):
    """A field is set by its name in Python and read by its public name (alias) in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; what was worked out of the fields of before is worked out anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in [name for name in vars(copied) if isinstance(getattr(type(self), name, None), cached_property)]:
            del copied.__dict__[name]
        return copied
