"""What the room shows to the outside."""

from __future__ import annotations

import estimator


def test_exported_names() -> None:
    """The front door is these names; a change here is a change for users, and goes into the changelog."""
    assert sorted(estimator.__all__) == [
        "CellLayout",
        "Disparity",
        "Estimate",
        "EstimatorError",
        "GROUPS",
        "GroupModel",
        "Level",
        "Matches",
        "MemberStore",
        "NameMatch",
        "Population",
        "RaceModel",
        "check_model",
        "implausible",
        "to_fixed_point",
        "weighted",
    ]
    assert all(hasattr(estimator, name) for name in estimator.__all__)
    assert estimator.GROUPS == ("white", "black", "api", "hispanic", "native", "multiple")
