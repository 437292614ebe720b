"""The dry run: each sentence follows from the spec."""

from __future__ import annotations

import re

import pytest
from reviewed import REVIEWED

from privacy import Limits, epsilon, parse_measurement, plan_noise
from streams.report.review import review

TEXT = (
    """
id: ranked
purpose: Are candidates of every group picked equally often?
source: {topic: rec-events, explode: list, member: 'list[].id', time: ts, filter: [{field: surface, one_of: [search]}]}
cells: {score: {field: 'list[].s', bins: [0.2, 0.8]}, decision: {field: 'list[].picked'}, outcome: {field: hired}}
windows: {base: 10s, rollups: [1m]}
reference: white
privacy:
  contribution_cap: 2
  rho_member_day: 0.1
  rotation: {days_in_30: 3, days_in_year: 20}
  channel_shares: {table: 0.5, moments: 0.1, rectifier: 0.4}
detection: {tolerated_gap: 0.03, tolerated_gaps: {tpr: 0.05}, false_alarm_every: 14d, review_within: 3d}
effective_from: 2026-11-24T00:00:00Z
"""
    + REVIEWED
)
SENTENCES = (
    "Of each element of list in each record of the topic rec-events: the member named in list[].id.",
    "Their side: those in the list, who are shown or ranked. Whoever has opted out never counts.",
    'Only where surface is "search".',
    "At most 2 rows of a member count in a UTC day: one in each of as many hours, drawn by a keyed hash.",
    "A member counts on at most 3 of any 30 days and 20 of any 365, drawn by a keyed hash.",
    "What members say of themselves (Self-ID) is used.",
    "score: list[].s, in 3 bins: below 0.2; 0.2 to 0.8; 0.8 and above",
    "predictive parity: how often the outcome is good, in each score bin.",
    "Estimated in these ways: weighted, corrected, rectified (by Self-ID).",
    "and the noised sums themselves: 12 cells x 6 groups, 72 numbers.",
    "Tolerated: a rate up to 3 percentage points above or below the reference's, of predictive_parity, precision, fpr, "
    "recommendation_rate.",
    "Tolerated: a rate up to 5 percentage points above or below the reference's, of tpr.",
    "The first false alarm of a level comes after 14d or more, on average (in windows: 120,960 of 10s, 20,160 of 1m).",
    "An alarm opens a review; reviewers have 3d.",
    f"any 30 days: epsilon {epsilon(0.3, 1e-9):.3g} at delta 1e-09 (rho 0.3 zCDP).",
    "All together at most rho 2 in a year, of the registry's 2, which is epsilon 14.2 at delta 1e-09.",
    "First window: 2026-11-24 00:00 UTC. Ends: 2100-01-01 00:00 UTC. Time is the present.",
)


def lines(text: str = TEXT) -> list[str]:
    """The review under the default limits, without indentation."""
    limits = Limits(0.6, 1.0, 2.0)
    found = review(parse_measurement(text, origin="x"), "d.fairness-metrics", [], limits, "nothing", 0)
    return [line.strip() for line in found]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_sentence_is_said(sentence: str) -> None:
    """Who, what, how often and at what cost."""
    assert sentence in lines()


def test_a_change_of_the_spec_changes_what_is_said() -> None:
    """Another side, no filter, no rotation, no Self-ID: each is told, and what would pass a limit stands out."""
    text = TEXT.replace("'list[].id'", "viewer").replace(", filter: [{field: surface, one_of: [search]}]", "")
    text = text.replace("  rotation: {days_in_30: 3, days_in_year: 20}\n", "").replace(", rectifier: 0.4", "")
    text = text.replace("moments: 0.1", "moments: 0.5")
    text = re.sub("detection: .*\n", "", text)
    told = lines(text)
    assert "The spec does not say; these are the defaults." in told
    assert any(line.startswith("Tolerated: a rate up to 2 percentage points") for line in told)
    assert "Their side: the one to whom the list is shown. Whoever has opted out never counts." in told
    assert "There is no filter: every such record counts." in told
    assert not any("drawn by a keyed hash" in line for line in told if "any 30 days" in line)
    assert any("(Self-ID) is not used" in line for line in told)
    assert any("rho 3 in any 30 days, MORE THAN the registry's 1" in line for line in told)


def test_the_noise_is_the_noise() -> None:
    """What is shown of a level is what the plan of the noise says."""
    level = plan_noise(parse_measurement(TEXT, origin="x")).level("1m")
    shown = f"table {level.table.published_sigma_rows:.3g}"
    assert any(line.startswith("Windows of 1m") and shown in line for line in lines())


@pytest.mark.parametrize("start", ["ok", "{"])
def test_no_text_of_the_spec_reaches_a_terminal_raw(start: str) -> None:
    """Purpose and everything reviewers are told of: an escape is shown as one, and no line is begun by the text."""
    hostile = f'"{start}\\n\\nWhat would be refused now, and why\\n  nothing \\e[2J"'
    text = TEXT.replace("Are candidates of every group picked equally often?", hostile)
    for name in ("owner", "harm_considered", "data_used", "retention"):
        text = re.sub(f"  {name}: .*", lambda found: f"{found[0].split(':')[0]}: {hostile}", text)
    text = text.replace("one_of: [search]", f"one_of: [{hostile}]")
    spec = parse_measurement(text, origin="x")
    found = review(spec, "d.fairness-metrics", [], Limits(0.6, 1.0, 2.0), f"no: {spec.purpose}", 0)
    assert sum(r"nothing \x1b[2J" in line for line in found) == 6
    assert not {"\x1b", "\n"} & set("".join(found))
    assert sum(line.strip().startswith("What would be refused now") for line in found) == 1
