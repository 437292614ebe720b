"""The check of a company's members: aggregates that are right, and nothing about a person."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_examples import primaries
from hypothesis import given
from hypothesis import strategies as st

from estimator import GROUPS, RaceModel
from estimator.self_id import masses_of
from streams.errors import InputError
from streams.members_file import load_members_file
from streams.model_check import LEAST_COUNT, SUFFIX, ModelCheck, check_members, hidden_below


def check(path: Path, records: Iterable[dict[str, Any]]) -> ModelCheck:
    """Check members with these attributes."""
    model, file = RaceModel.load(), path / "members.jsonl"
    lines = (json.dumps({"member_id": f"m{k}"} | record) + "\n" for k, record in enumerate(records))
    file.write_text("".join(lines))
    return check_members(model, load_members_file(file, model))


def test_matches_are_counted_by_kind(tmp_path: Path) -> None:
    """Exact, collapsed, part, unmatched, missing, suffix; given names likewise; places by the level that decided."""
    kinds: list[tuple[dict[str, Any], int]] = [
        ({"family_name": "Garcia", "given_name": "Mary", "zip": "02139"}, 50),
        ({"family_name": "O'Brien", "state": "MA"}, 40),
        ({"family_name": "Smith-Xyzzyq", "given_name": "Qzxv"}, 30),
        ({"family_name": "Xyzzyq"}, 25),
        ({}, 35),
        ({"family_name": "Nguyen Jr"}, 22),
    ]
    found = check(tmp_path, [record for record, count in kinds for _ in range(count)])
    assert dict(found.surname) == {
        "exact": 72, "collapsed": 40, "part of a compound": 30, "unmatched": 25, "missing": 35, SUFFIX: 22,
    }  # fmt: skip
    assert (found.given_name["exact"], found.given_name["unmatched"], found.given_name["missing"]) == (50, 30, 122)
    assert (found.place["zcta"], found.place["state"], found.place["nation"]) == (50, 40, 112)


def test_shares_are_means_with_their_two_errors() -> None:
    """On the primaries log: the mean of p, its spread given p, and with sampling; Self-ID against p."""
    _, model, members, _ = primaries()
    p, found = members.probabilities(model), check_members(model, members)
    for k, one in enumerate(found.shares):
        assert one.share == pytest.approx(p[:, k].mean())
        assert one.of_members == pytest.approx(1.96 * np.sqrt((p[:, k] * (1 - p[:, k])).sum()) / len(p), rel=1e-3)
        assert one.of_population == pytest.approx(1.96 * np.sqrt(one.share * (1 - one.share) / len(p)), rel=1e-3)
        assert one.of_members < one.of_population
    black = found.calibration[GROUPS.index("black")]
    said = members.said
    masses = masses_of(members.self_id[said], 6, 1 << 20) / (1 << 20)
    assert black.said == pytest.approx(masses[:, 1].mean())
    assert black.expected == pytest.approx(p[said, 1].mean())
    assert found.log_loss == pytest.approx(-(masses * np.log(p[said])).sum(axis=1).mean())
    assert found.log_loss < (found.baseline or 0)
    assert found.self_id == 288


def test_calibration_waits_for_enough_self_ids(tmp_path: Path) -> None:
    """Fewer than a hundred Self-IDs judge nothing."""
    found = check(tmp_path, [{"family_name": "Smith", "self_id": ["white"]}] * 99 + [{"family_name": "Smith"}])
    assert (found.calibration, found.log_loss, found.self_id) == ((), None, 99)


def test_members_who_opted_out_are_in_no_figure(tmp_path: Path) -> None:
    """They are neither matched nor shared out; only that there are some is told, from twenty on."""
    records = [{"family_name": "Smith"}] * 30 + [{"family_name": "Nguyen", "opt_out": True}] * 25
    found, without = check(tmp_path, records), check(tmp_path, records[:30])
    assert (found.members, found.opted_out, without.opted_out) == (30, 25, None)
    assert (found.shares, found.surname) == (without.shares, without.surname)


def test_too_few_members_are_an_error(tmp_path: Path) -> None:
    """Figures about nineteen people would be about persons."""
    with pytest.raises(InputError, match="at least 20 members"):
        check(tmp_path, [{"family_name": "Smith"}] * 19)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8))
def test_no_count_below_the_least_can_be_worked_out(counts: list[int]) -> None:
    """Small counts are hidden; if any of them is of someone, the hidden ones together are 20 or more, or all."""
    named = {f"k{k}": count for k, count in enumerate(counts)}
    shown = hidden_below(named)
    hidden = [named[kind] for kind, count in shown.items() if count is None]
    assert all(count is None or (count == named[kind] and count >= LEAST_COUNT) for kind, count in shown.items())
    assert sum(hidden) == 0 or sum(hidden) >= LEAST_COUNT or len(hidden) == len(counts)
    assert len(hidden) != 1 or len(counts) == 1  # the total is known, and would tell what is alone


def test_half_a_person_cannot_be_worked_out(tmp_path: Path) -> None:
    """One member of many ticked a second group: its share is hidden, and so is another, or the rest would tell it."""
    people = [{"family_name": "Smith", "self_id": ["white"]} for _ in range(400)]
    people += [{"family_name": "Washington", "self_id": ["black"]} for _ in range(300)]
    people[0] = {"family_name": "Smith", "self_id": ["white", "native"]}
    result = check(tmp_path, people)
    said = {row.group: row.said for row in result.calibration}
    assert said["native"] is None
    assert sum(share is None for share in said.values()) >= 2
    shown = sum(share for share in said.values() if share is not None)
    assert not abs((1 - shown) * len(people) - 0.5) < 1e-6
