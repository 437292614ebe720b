"""Recording and alerting rules for Prometheus 2.42 or newer, from one source.

Each file of this folder holds the rules of one subject, as data; ``evenstream alerts render`` writes them as Prometheus
and its operator read them, with what a deployment has set in a values file. The label `instance` is aggregated away
everywhere: an alert is the same one after a role has moved. Each alert has a page of its name in docs/runbooks/.
"""

from __future__ import annotations

from streams.watch.rules.alert import Alert, Group, Recording
from streams.watch.rules.detection import DETECTION
from streams.watch.rules.pipeline import PIPELINE
from streams.watch.rules.promises import PROMISES
from streams.watch.rules.render import Format, as_yaml, manifest, rule_groups
from streams.watch.rules.values import Tuning, Values, read_values
from streams.watch.rules.windows import DAYS, WINDOWS

GROUPS = (DETECTION, DAYS, WINDOWS, PROMISES, PIPELINE)

ALERTS = {alert.name: alert for group in GROUPS for alert in group.alerts}
"""Every alert, by its name."""

RECORDINGS = {recording.name: recording for group in GROUPS for recording in group.recordings}
"""Every recorded series, by its name."""

__all__ = ["ALERTS", "GROUPS", "RECORDINGS", "Alert", "Format", "Group", "Recording", "Tuning", "Values", "read_values",
           "render"]  # fmt: skip


def render(values: Values | None = None, output: Format = "prometheus", time_scale: float = 1.0) -> str:
    """All rules as YAML.

    Args:
        values: what the deployment sets; without it, everything as it is here.
        output: "prometheus", a rules file, or "prometheusrule", a manifest for the Prometheus operator.
        time_scale: every time span is divided by it, for tests that cannot wait.
    """
    values = values or Values()
    rules = rule_groups(GROUPS, values, time_scale)
    return as_yaml(manifest(rules, values) if output == "prometheusrule" else rules)
