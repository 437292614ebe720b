"""Race probabilities and estimators of disparity. Knows neither Kafka nor cryptography.

Source: DESIGN sections 4 and 6.
"""

from __future__ import annotations

from estimator.cells import CellLayout
from estimator.census import Level
from estimator.disparities import Disparity, Estimate, implausible, weighted
from estimator.errors import EstimatorError
from estimator.groups import GROUPS
from estimator.matching import Matches
from estimator.members import MemberStore
from estimator.model import GroupModel
from estimator.model_checks import check_model
from estimator.names import NameMatch
from estimator.population import Population
from estimator.posterior import RaceModel
from estimator.rounding import to_fixed_point

__all__ = [
    "GROUPS",
    "CellLayout",
    "Disparity",
    "Estimate",
    "EstimatorError",
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
