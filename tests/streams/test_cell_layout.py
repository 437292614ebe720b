"""A spec's cells and the estimators' are the same."""

from __future__ import annotations

import itertools

import pytest

from privacy import parse_measurement
from streams.cell_layout import layout_of

_FEATURES = {
    "score": "score: {field: s, bins: [1]}",
    "decision": "decision: {field: d}",
    "outcome": "outcome: {field: o}",
    "rank": "rank: {field: r, bins: [2]}",
}
_CHOICES = [c for n in range(1, 5) for c in itertools.combinations(_FEATURES, n) if {"decision", "outcome"} & set(c)]


@pytest.mark.parametrize("names", _CHOICES, ids="-".join)
def test_a_spec_allows_the_metrics_that_are_estimated(names: tuple[str, ...]) -> None:
    """What a spec may tolerate gaps of, metric by metric, is what results come of, in their order."""
    spec = parse_measurement(
        f"""
id: feed
purpose: Which metrics?
source: {{topic: rec-events, member: m, time: ts}}
cells: {{{", ".join(_FEATURES[name] for name in names)}}}
windows: {{base: 10s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: 0.1}}
""",
        origin="x",
    )
    assert spec.cells.metrics == tuple(dict.fromkeys(each.metric for each in layout_of(spec).statistics()))
