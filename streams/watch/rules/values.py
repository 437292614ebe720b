"""What a deployment sets of the rules: a YAML file, refused where it names what is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streams.errors import InputError
from streams.watch.rules.alert import SEVERITIES, Alert

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN = ("enabled", "severity", "labels")


@dataclass(frozen=True)
class Tuning:
    """What one alert is set to. ``parameters`` holds all of them, those that are as they were too."""

    severity: str
    parameters: Mapping[str, Any]
    enabled: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def untouched(cls, alert: Alert) -> Tuning:
        """The alert's own defaults."""
        return cls(alert.severity, {name: parameter.default for name, parameter in alert.tunable().items()})


class Manifest(BaseModel):
    """Metadata of the PrometheusRule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("evenstream", pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class Values(BaseModel):
    """A values file.

    Attributes:
        selector: labels that series must have, where one Prometheus scrapes several deployments.
        labels: of every alert and recorded series.
        runbooks: where docs/runbooks/ is served; begins each runbook_url.
        manifest: of the PrometheusRule.
        alerts: by name, what is set of it; see :meth:`tuning`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    selector: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    runbooks: str = "docs/runbooks"
    manifest: Manifest = Manifest()
    alerts: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("selector", "labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        return _labels(labels)

    def tuning(self, alert: Alert) -> Tuning:
        """What an alert is set to.

        Raises:
            InputError: it has no such parameter, or the value is none.
        """
        given = self.alerts.get(alert.name, {})
        known = alert.tunable()
        values = {name: parameter.default for name, parameter in known.items()}
        severity, enabled, labels = str(alert.severity), True, dict[str, str]()
        for name, value in given.items():
            try:
                if name in known:
                    values[name] = known[name].read(value)
                elif name == "enabled":
                    enabled = _flag(value)
                elif name == "severity":
                    severity = _severity(value)
                elif name == "labels":
                    labels = _labels(value)
                else:
                    raise ValueError(f"there is no such parameter; there are {', '.join((*known, *_OWN))}")
            except ValueError as error:
                raise InputError(f"alerts.{alert.name}.{name}: {error}") from None
        return Tuning(severity, values, enabled, labels)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {value!r}")
    return value


def _severity(value: object) -> str:
    if value not in SEVERITIES:
        raise ValueError(f"expected one of {', '.join(SEVERITIES)}, got {value!r}")
    return str(value)


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"expected labels, name: value, got {value!r}")
    for name, text in value.items():
        if not isinstance(name, str) or not _LABEL.fullmatch(name) or name in ("alertname", "severity"):
            raise ValueError(f"expected a label's name (letters, digits and _; not alertname, severity), got {name!r}")
        if not isinstance(text, str):
            raise ValueError(f"expected text for the label {name}, got {text!r}; put it between quotes")
    return value


def read_values(path: Path, alerts: Mapping[str, Alert]) -> Values:
    """Read and check a values file.

    Raises:
        InputError: it cannot be read, or names an alert, a parameter or anything else that is not there.
    """
    try:
        given = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        values = Values.model_validate({} if given is None else given)
    except ValidationError as error:
        told = "; ".join(_problem(one) for one in error.errors())
        raise InputError(f"{path} is not a file of values: {told}") from None
    for name in values.alerts:
        if name not in alerts:
            raise InputError(f"{path}: there is no alert {name!r}; there are {', '.join(alerts)}")
    try:
        for name in values.alerts:
            values.tuning(alerts[name])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return values


def _problem(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        known = Manifest.model_fields if where.startswith("manifest.") else Values.model_fields
        return f"there is no {where}; there are {', '.join(known)}"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"
