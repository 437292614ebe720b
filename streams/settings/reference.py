"""The reference of all settings, as `evenstream settings` prints it and docs/settings.md holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from streams.settings.fields import ENV_PREFIX, Group, Settings


@dataclass(frozen=True)
class Setting:
    """One line of the reference."""

    name: str
    default: str
    environment: str
    meaning: str


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + name.upper().replace(".", "__")


def reference() -> Iterator[Setting]:
    """Every setting, in the order of this file."""
    yield from _reference(Settings.model_fields, "")


def _reference(fields: Mapping[str, FieldInfo], prefix: str) -> Iterator[Setting]:
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, Group):
            yield from _reference(type(default).model_fields, f"{prefix}{name}.")
        else:
            path = f"{prefix}{name}"
            shown = "" if default is None or default == {} or default == () else str(default)
            yield Setting(path, shown, environment_name(path), field.description or "")
