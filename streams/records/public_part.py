"""What every part of a public record is: strict, unchangeable, and without infinity or NaN."""

from __future__ import annotations

from pydantic import ConfigDict

from privacy.spec_fields import Part


class PublicPart(Part):
    """A field is set by its name in Python and read by its public name (alias) in JSON."""

    model_config = ConfigDict(allow_inf_nan=False, populate_by_name=True)
