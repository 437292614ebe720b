"""What a rule is: an expression with parameters that a deployment may set, and the text that a person on call reads.

An expression names its parameters as ``$threshold``. A time span is there twice: ``$window`` as Prometheus writes it
(``15m``), ``${window_seconds}`` as a number. Texts are Prometheus templates: their ``{{ $labels.group }}`` is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Literal, get_args

from streams.watch.health import ROLES
from streams.watch.rules.durations import parse_duration, scaled, shown_duration

Severity = Literal["critical", "warning", "info"]
SEVERITIES = get_args(Severity)


@dataclass(frozen=True)
class Number:
    """A parameter that counts or compares; the same at every time scale."""

    name: str
    default: float
    meaning: str

    def read(self, value: object) -> float:
        """The value, if it is one. ``ValueError`` says what was expected."""
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or value != value:
            raise ValueError(f"expected a number, got {value!r}")
        return float(value)

    def fill(self, value: float, time_scale: float) -> dict[str, str]:
        """What an expression may name."""
        return {self.name: f"{value:.12g}"}

    def shown(self, value: float) -> str:
        """For a table."""
        return f"{value:.12g}"


@dataclass(frozen=True)
class Duration:
    """A parameter that is a time span, milliseconds; divided by the time scale."""

    name: str
    default: int
    meaning: str
    least_ms: int = 1

    def read(self, value: object) -> int:
        """The value, if it is one. ``ValueError`` says what was expected."""
        if not isinstance(value, str):
            raise ValueError(f"expected a duration such as 90s, 15m or 1h30m, got {value!r}")
        milliseconds = parse_duration(value)
        if milliseconds < self.least_ms:
            raise ValueError(f"expected a duration above 0, got {value!r}")
        return milliseconds

    def fill(self, value: int, time_scale: float) -> dict[str, str]:
        """What an expression may name."""
        milliseconds = scaled(value, time_scale)
        return {self.name: shown_duration(milliseconds), f"{self.name}_seconds": f"{milliseconds / 1000:.12g}"}

    def shown(self, value: int) -> str:
        """For a table."""
        return shown_duration(value)


@dataclass(frozen=True)
class Roles:
    """A parameter that names roles: whose absence is noticed."""

    name: str
    default: tuple[str, ...]
    meaning: str

    def read(self, value: object) -> tuple[str, ...]:
        """The value, if it is one. ``ValueError`` says what was expected."""
        if not isinstance(value, list) or not value or not set(map(str, value)) <= set(ROLES):
            raise ValueError(f"expected a list of roles out of {', '.join(ROLES)}, got {value!r}")
        return tuple(role for role in ROLES if role in value)

    def fill(self, value: tuple[str, ...], time_scale: float) -> dict[str, str]:
        """What an expression may name: the roles as a pattern, and that one of them is absent."""
        absent = "\nor\n".join(f'absent(evenstream_build_info{{role="{role}"}})' for role in value)
        return {self.name: "|".join(value), f"absent_{self.name}": absent}

    def shown(self, value: tuple[str, ...]) -> str:
        """For a table."""
        return ", ".join(value)


Parameter = Number | Duration | Roles


@dataclass(frozen=True)
class Alert:
    """One alert.

    Attributes:
        name: as Alertmanager shows it; the page of the same name in docs/runbooks/ says what to do.
        meaning: when it fires, in words.
        severity: "critical" wakes someone, "warning" is for working hours, "info" is to be known.
        expr: PromQL with parameters.
        summary, description: templates for the notification.
        holds, keeps: ``for`` and ``keep_firing_for``.
        parameters: what can be tuned besides.
    """

    name: str
    meaning: str
    severity: Severity
    expr: str
    summary: str
    description: str
    holds: str = "0s"
    keeps: str = "0s"
    parameters: tuple[Parameter, ...] = ()

    def tunable(self) -> dict[str, Parameter]:
        """Every parameter by its name, ``for`` and ``keep_firing_for`` with this alert's defaults among them."""
        holds = Duration("for", parse_duration(self.holds), "how long it must hold before it fires", least_ms=0)
        keeps = Duration(
            "keep_firing_for", parse_duration(self.keeps), "how long it fires on once it no longer holds", least_ms=0
        )
        return {parameter.name: parameter for parameter in (*self.parameters, holds, keeps)}


@dataclass(frozen=True)
class Recording:
    """A series that Prometheus works out beforehand, for alerts and dashboards.

    Attributes:
        name: ``evenstream:WHAT:HOW``. meaning: what it holds, in words. expr: PromQL. windows: its time spans.
    """

    name: str
    meaning: str
    expr: str
    parameters: tuple[Duration, ...] = ()


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, recordings first. ``interval``: how often; else as Prometheus is set."""

    name: str
    alerts: tuple[Alert, ...]
    recordings: tuple[Recording, ...] = ()
    interval: str | None = None


def filled(template: str, substitutions: Mapping[str, str]) -> str:
    """A template with its parameters; one that it names and that is not there is our own mistake (``KeyError``)."""
    return Template(template.strip()).substitute(substitutions)
