"""The rules as files: what Prometheus reads, and the PrometheusRule of its operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import yaml

from streams.watch.rules.alert import Alert, Group, Recording, filled
from streams.watch.rules.durations import parse_duration, scaled, shown_duration
from streams.watch.rules.promql import selecting
from streams.watch.rules.values import Tuning, Values

Format = Literal["prometheus", "prometheusrule"]


def rule_groups(groups: Iterable[Group], values: Values, time_scale: float = 1.0) -> dict[str, Any]:
    """What stands in a rules file.

    Args:
        time_scale: every time span is divided by it, and nothing else: thresholds stay what they are. For tests.
    """
    made = []
    for group in groups:
        rules = [_recording(recording, values, time_scale) for recording in group.recordings]
        tuned = [(alert, values.tuning(alert)) for alert in group.alerts]
        rules += [_alert(alert, tuning, values, time_scale) for alert, tuning in tuned if tuning.enabled]
        if not rules:
            continue
        interval = {"interval": _span(group.interval, time_scale)} if group.interval else {}
        made.append({"name": group.name, **interval, "rules": rules})
    return {"groups": made}


def _span(text: str, time_scale: float) -> str:
    return shown_duration(scaled(parse_duration(text), time_scale))


def _recording(recording: Recording, values: Values, time_scale: float) -> dict[str, Any]:
    substitutions: dict[str, str] = {}
    for parameter in recording.parameters:
        substitutions |= parameter.fill(parameter.default, time_scale)
    labels = {"labels": dict(values.labels)} if values.labels else {}
    return {"record": recording.name, "expr": _expr(recording.expr, substitutions, values), **labels}


def _alert(alert: Alert, tuning: Tuning, values: Values, time_scale: float) -> dict[str, Any]:
    substitutions: dict[str, str] = {}
    for name, parameter in alert.tunable().items():
        substitutions |= parameter.fill(tuning.parameters[name], time_scale)
    spans = {
        name: substitutions[name] for name in ("for", "keep_firing_for") if tuning.parameters[name]
    }  # 0 is what Prometheus takes where nothing is said
    return {
        "alert": alert.name,
        "expr": _expr(alert.expr, substitutions, values),
        **spans,
        "labels": {"severity": tuning.severity, **values.labels, **tuning.labels},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{values.runbooks.rstrip('/')}/{alert.name}.md",
        },
    }


def _expr(expr: str, substitutions: dict[str, str], values: Values) -> str:
    return selecting(filled(expr, substitutions), values.selector, values.labels)


def manifest(rules: dict[str, Any], values: Values) -> dict[str, Any]:
    """The rules as a PrometheusRule."""
    metadata = values.manifest.model_dump(exclude_none=True)
    labels = {"app.kubernetes.io/name": "evenstream", **metadata.pop("labels")}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {**metadata, "labels": labels},
        "spec": rules,
    }


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as it stands, so that a person can read the query."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_yaml(document: dict[str, Any]) -> str:
    """A document as YAML, its keys in the order in which they are."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True))
