"""``files/rules.yaml``: the alerts and recorded series of ``streams.watch.rules``, before a deployment's values.

The chart's template ``evenstream.rules`` does with it what ``evenstream alerts render`` does with the rules themselves,
and tests/chart/test_rules.py holds the two against each other. In an expression stand:

- ``${threshold}``: a parameter of the alert; ``${threshold_seconds}``: a time span as a number of seconds;
- ``${roles}``: roles as a pattern; ``${absent_roles}``: for each of them ``absent``, joined by ``or``;
- ``${metrics}`` and ``${recorded}`` after a series that has no matchers of its own: the deployment's, between braces;
- ``${metrics,}`` and ``${recorded,}`` before matchers: the deployment's, each with a comma behind it.
"""

from __future__ import annotations

from string import Template
from typing import Any

from streams.watch.health import ROLES
from streams.watch.rules import GROUPS, Alert
from streams.watch.rules.alert import SEVERITIES, Duration, Number, Parameter, Recording, Roles
from streams.watch.rules.durations import shown_duration
from streams.watch.rules.promql import selecting


def rules() -> dict[str, Any]:
    """The groups, and the words that values may use: severities and roles."""
    return {
        "severities": list(SEVERITIES),
        "roles": list(ROLES),
        "absent": _absent(),
        "groups": [
            {
                "name": group.name,
                **({"interval": group.interval} if group.interval else {}),
                "recordings": [_recording(recording) for recording in group.recordings],
                "alerts": [_alert(alert) for alert in group.alerts],
            }
            for group in GROUPS
        ],
    }


def _recording(recording: Recording) -> dict[str, Any]:
    spans = {parameter.name: _default(parameter) for parameter in recording.parameters}
    return {"record": recording.name, "expr": _marked(Template(recording.expr.strip()).safe_substitute(spans))}


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "severity": alert.severity,
        "expr": _marked(alert.expr.strip()),
        "parameters": {
            name: {"kind": type(parameter).__name__.lower(), "default": _default(parameter)}
            for name, parameter in alert.tunable().items()
        },
        "summary": alert.summary,
        "description": alert.description,
    }


def _default(parameter: Parameter) -> Any:
    match parameter:
        case Duration():
            return shown_duration(parameter.default)
        case Number():
            return int(parameter.default) if parameter.default == int(parameter.default) else parameter.default
        case Roles():
            return list(parameter.default)


def _absent() -> str:
    """What an alert on absence asks of one role."""
    word = "role-of-a-release"
    return _marked(Roles("roles", (), "").fill((word,), 1.0)["absent_roles"]).replace(word, "${role}")


def _marked(expr: str) -> str:
    """Every parameter between braces, so that none is the beginning of another; and where matchers go."""
    template = Template(expr)
    text = template.safe_substitute({name: f"${{{name}}}" for name in template.get_identifiers()})
    text = selecting(text, {"metrics": "here"}, {"recorded": "here"})
    for of in ("metrics", "recorded"):
        text = text.replace(f'{{{of}="here", ', f"{{${{{of},}}").replace(f'{{{of}="here"}}', f"${{{of}}}")
    return text
