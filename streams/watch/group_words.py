"""What groups are called in sentences and pictures."""

from __future__ import annotations

from collections.abc import Sequence

_GROUPS = {"api": "Asian or Pacific Islander", "multiple": "multiracial"}


def group(name: str) -> str:
    """A group, or a pool of groups, as a label: ``native+multiple`` is "native and multiracial"."""
    return listed([_GROUPS.get(part, part.replace("_", " ")) for part in name.split("+")])


def listed(names: Sequence[str]) -> str:
    """Names in a row: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def capital(text: str) -> str:
    """The first letter large, the others as they are."""
    return text[:1].upper() + text[1:]
