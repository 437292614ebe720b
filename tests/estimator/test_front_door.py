"""What the room shows to the outside."""

from __future__ import annotations

import estimator


def test_exported_names() -> None:
    """The front door is these names; a change here is a change for users, and goes into the changelog."""
    assert sorted(estimator.__all__) == [
        "Agreement",
        "CellLayout",
        "Correction",
        "Detectors",
        "Deviations",
        "Disparities",
        "Disparity",
        "Estimate",
        "EstimatorError",
        "Evidence",
        "GROUPS",
        "Gaps",
        "GroupModel",
        "Level",
        "Matches",
        "MemberStore",
        "Moments",
        "NameMatch",
        "NoiseVariance",
        "Population",
        "RaceModel",
        "Recomputation",
        "channels_disagree",
        "check_model",
        "disparities",
        "implausible",
        "rank_exposure",
        "recompute",
        "reestimate",
        "to_fixed_point",
    ]
    assert all(hasattr(estimator, name) for name in estimator.__all__)
    assert estimator.GROUPS == ("white", "black", "api", "hispanic", "native", "multiple")
