"""Where settings come from, and what is said of one that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from streams.errors import SettingsError
from streams.settings.fields import ENV_PREFIX, Settings

_OTHER_NAMES = frozenset(("EVENSTREAM_CONFIG", "EVENSTREAM_CACHE", "EVENSTREAM_SUPERVISOR"))
"""Variables with our prefix that are not settings."""

_SERVICE_LINK = re.compile(r"[A-Z0-9_]+_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)")
"""What Kubernetes puts into every pod for a Service named evenstream-...; EVENSTREAM_HTTP__PORT has two underscores."""


@cache
def _text_loader() -> type[yaml.SafeLoader]:
    """YAML whose scalars stay text (or null): pydantic knows what each should be, and a password 0123 is not 83."""
    from privacy.shallow_yaml import ShallowLoader  # here: it brings numpy with it, which `--help` need not wait for

    class TextLoader(ShallowLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own way to say it
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    return TextLoader


def load_settings(
    config: Path | None = None,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read all sources.

    Args:
        config: a YAML file; default: the one that ``EVENSTREAM_CONFIG`` names, if any.
        overrides: ``name=value`` or ``group.name=value``; the value is read as YAML.
        environment: default ``os.environ``.

    Raises:
        SettingsError: one line for each problem, naming the setting, what was expected and what came.
    """
    environment = os.environ if environment is None else environment
    if config is None and environment.get("EVENSTREAM_CONFIG"):
        config = Path(environment["EVENSTREAM_CONFIG"])
    merged: dict[str, Any] = _read_file(config) if config is not None else {}
    if environment.get("KAFKA_BOOTSTRAP"):
        _put(merged, ["kafka", "bootstrap"], environment["KAFKA_BOOTSTRAP"], "KAFKA_BOOTSTRAP")
    for name, value in sorted(environment.items()):
        if name.startswith(ENV_PREFIX) and name not in _OTHER_NAMES and not _is_service_link(name):
            path = _environment_path(name)
            _put(merged, path, _read_value(path, value, name), name)
    _put_all(merged, overrides)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def settings_file(overrides: Sequence[str]) -> str:
    """A settings file, YAML, that says what these ``name=value`` say."""
    content: dict[str, Any] = {}
    _put_all(content, overrides)
    return yaml.safe_dump(content, sort_keys=False)


def _put_all(merged: dict[str, Any], overrides: Sequence[str]) -> None:
    for override in overrides:
        name, separator, value = override.partition("=")
        if not separator:
            raise SettingsError(f"--set {override}: expected name=value, for example --set topics.partitions=8")
        path = _path(name.strip())
        _put(merged, path, _read_value(path, value, f"--set {name}"), f"--set {name}")


def _is_service_link(name: str) -> bool:
    rest = name.removeprefix(ENV_PREFIX)
    return "__" not in rest and _SERVICE_LINK.fullmatch(rest) is not None


def _environment_path(name: str) -> list[str]:
    """``EVENSTREAM_KAFKA__PROPERTIES__SASL_PASSWORD`` is sasl.password: names in a shell hold no dots."""
    parts = name.removeprefix(ENV_PREFIX).lower().split("__")
    if len(parts) > 2 and _is_properties(parts):
        return [*parts[:2], "_".join(parts[2:]).replace("_", ".")]
    return parts


def _path(name: str) -> list[str]:
    """Split ``kafka.properties.security.protocol``: what follows a table of properties is one name with dots."""
    parts = name.split(".")
    if len(parts) > 2 and _is_properties(parts):
        return [*parts[:2], ".".join(parts[2:])]
    return parts


def _is_properties(path: Sequence[Any]) -> bool:
    """Whether a path leads to, or into, a table whose names have dots and whose values are text."""
    return len(path) > 1 and path[0] == "kafka" and str(path[1]).endswith(("properties", "property_files"))


def _may_hold_password(path: Sequence[Any]) -> bool:
    """Whether a value may be, or hold, what is given to Kafka's client: one of its properties, or the whole group."""
    return _is_properties(path) or (len(path) == 1 and path[0] == "kafka")


def _takes_text(path: Sequence[str]) -> bool:
    """Whether the setting is text, which is taken as it stands."""
    if _is_properties(path):
        return len(path) > 2
    fields = Settings.model_fields
    for part in path[:-1]:
        group = fields[part].annotation if part in fields else None
        if not (isinstance(group, type) and issubclass(group, BaseModel)):
            return False
        fields = group.model_fields
    annotation = fields[path[-1]].annotation if path[-1] in fields else None
    if get_origin(annotation) in (dict, tuple):
        return False
    kinds = get_args(annotation) or (annotation,)
    return get_origin(annotation) is Literal or str in kinds or Path in kinds


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(), _text_loader())  # noqa: S506  # it is a SafeLoader
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not YAML{_place(error)}") from None
    except RecursionError:
        raise SettingsError(f"the settings file {path} is nested too deeply to be one of settings") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"the settings file {path} must hold a mapping of settings, not {type(content).__name__}")
    if any(not isinstance(name, str) for name in content):
        raise SettingsError(f"the settings file {path} has an entry without a name; see `evenstream settings`")
    return content


def _place(error: Exception) -> str:
    """Where a file stops being YAML. The parser's own words quote the line, and a password may stand there."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return ": it holds bytes that are no text"
    return (
        f": line {mark.line + 1}, column {mark.column + 1}. Quote a value that begins with one of @ ` % ! & * or holds "
        "': ' or ' #'"
    )


def _read_value(path: Sequence[str], text: str, name: str) -> Any:
    if _takes_text(path):
        return text
    try:
        return yaml.load(text, _text_loader())  # noqa: S506  # it is a SafeLoader
    except (yaml.YAMLError, RecursionError):
        shown = "this" if _may_hold_password(path) else repr(text)
        raise SettingsError(f"{name}: {shown} is not a YAML value; quote it") from None


def _put(merged: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    node = merged
    for part in path[:-1]:
        if node.get(part) is None:  # also a group that the file names and leaves empty
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise SettingsError(f"{name}: {part!r} is a single setting, not a group")
    node[path[-1]] = value


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name}: there is no such setting; `evenstream settings` lists them all")
        elif problem["type"] == "value_error":  # our own words, which say what came
            lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
        elif _may_hold_password(problem["loc"]):
            lines.append(f"{name}: {problem['msg']}")
        else:
            lines.append(f"{name}: {problem['msg']}; got {problem['input']!r}")
    return "\n".join(lines)
