"""The chart's alerts: its template makes of values what `evenstream alerts render` makes of them, and refuses the same.

The template is rendered in a chart of its own, which holds nothing else.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from chart.rendering import CHART, Refused, refusal, render
from chart.validation import problems

from streams.errors import InputError
from streams.watch.rules import ALERTS, GROUPS, Values
from streams.watch.rules.render import rule_groups

pytestmark = pytest.mark.chart

_TEMPLATE = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ .Release.Name }}
spec:
  groups:
    {{- include "evenstream.rules" (dict "files" .Files "values" .Values.rules "path" "rules") | nindent 4 }}
"""


@pytest.fixture(scope="module")
def small_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart of the rules alone."""
    chart = tmp_path_factory.mktemp("charts") / "rules"
    (chart / "templates").mkdir(parents=True)
    (chart / "files").mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: rules\nversion: 0.1.0\n")
    shutil.copy(CHART / "templates" / "_rules.tpl", chart / "templates")
    shutil.copy(CHART / "files" / "rules.yaml", chart / "files")
    (chart / "templates" / "rule.yaml").write_text(_TEMPLATE)
    return chart


TUNED: dict[str, dict[str, Any]] = {
    "untouched": {},
    "switched off": {"alerts": {"EvenstreamWindowVoid": {"enabled": False}}},
    "a whole group off": {
        "alerts": {name: {"enabled": False} for group in GROUPS[:1] for name in (alert.name for alert in group.alerts)}
    },
    "spans and severity": {
        "alerts": {
            "EvenstreamRoleDown": {"for": "90s", "severity": "warning", "keep_firing_for": "1h30m"},
            "EvenstreamUnequalTreatment": {"keep_firing_for": "0s", "for": "1500ms"},
            "EvenstreamGroupSuppressed": {"window": "1w"},
            "EvenstreamPartitionStalled": {"threshold": "2500ms"},
        }
    },
    "numbers": {
        "alerts": {
            "EvenstreamGapBeyondThreshold": {"threshold": 5},
            "EvenstreamWindowVoidBurn": {"threshold": 0.125, "windows": 1_000_000},
            "EvenstreamPublishSlow": {"threshold": 0.1, "windows": 7, "window": "2h"},
            "EvenstreamMembersMisplaced": {"threshold": -1},
        }
    },
    "roles": {"alerts": {"EvenstreamRoleDown": {"roles": ["publish", "a"]}}},
    "labels": {
        "labels": {"site": "north", "team": "fairness"},  # by name, as Helm goes through them
        "runbooks": "https://wiki.example.com/runbooks/",
        "alerts": {"EvenstreamReviewOverdue": {"labels": {"team": "reviewers", "page": "no"}}},
    },
    "a selector": {"selector": {"namespace": "fairness", "odd": 'a"b\\c'}},
    "everything at once": {
        "selector": {"namespace": "fairness"},
        "labels": {"deployment": "fair"},
        "alerts": {"EvenstreamRoleDown": {"roles": ["seal", "attach"]}, "EvenstreamPartiesApart": {"enabled": False}},
    },
}


@pytest.mark.parametrize("values", TUNED.values(), ids=TUNED)
def test_the_chart_makes_what_the_command_makes(small_chart: Path, values: dict[str, Any]) -> None:
    """Groups, expressions, spans, labels and texts are the same, whatever is tuned, and a PrometheusRule takes them."""
    (made,) = render({"rules": values}, chart=small_chart)
    assert made["spec"] == rule_groups(GROUPS, Values.model_validate(values))
    assert problems([made]) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"alerts": {"EvenstreamRoleDwn": {}}}, "rules.alerts: there is no alert EvenstreamRoleDwn; there are Evenstream"),
    ({"alerts": {"EvenstreamRoleDown": {"fore": "1m"}}}, "rules.alerts.EvenstreamRoleDown.fore: there is no such"),
    ({"alerts": {"EvenstreamRoleDown": {"for": "1 m"}}}, "EvenstreamRoleDown.for: expected a duration such as 90s"),
    ({"alerts": {"EvenstreamRoleDown": {"for": 90}}}, "EvenstreamRoleDown.for: expected a duration such as 90s"),
    ({"alerts": {"EvenstreamRoleDown": {"for": ""}}}, "EvenstreamRoleDown.for: expected a duration such as 90s"),
    ({"alerts": {"EvenstreamWindowVoid": {"window": "0s"}}}, "window: expected a duration above 0"),
    ({"alerts": {"EvenstreamPublishSlow": {"threshold": "2"}}}, "threshold: expected a number, got 2"),
    ({"alerts": {"EvenstreamRoleDown": {"roles": ["sael"]}}}, "expected a list of roles out of seal, attach"),
    ({"alerts": {"EvenstreamRoleDown": {"roles": []}}}, "expected a list of roles out of seal, attach"),
    ({"alerts": {"EvenstreamRoleDown": {"severity": "urgent"}}}, "expected one of critical, warning, info, got urgent"),
    ({"alerts": {"EvenstreamRoleDown": {"enabled": "no"}}}, "enabled: expected true or false, got no"),
    (
        {"alerts": {"EvenstreamRoleDown": {"labels": {"a-b": "x"}}}},
        "RoleDown.labels: expected a label's name",
    ),
    ({"labels": {"severity": "info"}}, "rules.labels: expected a label's name"),
    ({"labels": {"shard": 3}}, "rules.labels.shard: expected text, got 3; put it between quotes"),
    ({"selector": {"a b": "x"}}, "rules.selector: expected a label's name"),
]


@pytest.mark.parametrize(("values", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_the_chart_refuses_what_the_command_refuses(small_chart: Path, values: dict[str, Any], told: str) -> None:
    """What `evenstream alerts render` does not take, the chart does not either, and names the value."""
    with pytest.raises((InputError, ValueError)):
        given = Values.model_validate(values)
        for name in given.alerts:
            given.tuning(ALERTS[name]) if name in ALERTS else _no_such_alert()
    assert told in refusal({"rules": values}, chart=small_chart)


def _no_such_alert() -> None:
    raise InputError("the command refuses it where it reads the file")


def test_a_refusal_must_be_one(small_chart: Path) -> None:
    """`refusal` fails where Helm renders, and `render` where it does not: neither can pass by the other."""
    with pytest.raises(AssertionError, match="expected a refusal, and 1 objects were rendered"):
        refusal({}, chart=small_chart)
    with pytest.raises(Refused, match="there is no alert Nothing"):
        render({"rules": {"alerts": {"Nothing": {}}}}, chart=small_chart)
