"""Race probabilities and estimators of disparity. Knows neither Kafka nor cryptography.

Source: DESIGN sections 4 and 6.
"""

from __future__ import annotations

from estimator.agreement import Agreement
from estimator.cells import CellLayout, rank_exposure
from estimator.disparity import Correction, Disparities, Disparity, Estimate, disparities, implausible
from estimator.errors import EstimatorError
from estimator.groups import GROUPS
from estimator.members import MemberStore
from estimator.model import GroupModel
from estimator.moments import Moments
from estimator.population import Population
from estimator.posterior import RaceModel
from estimator.rates import NoiseVariance
from estimator.rounding import to_fixed_point

__all__ = [
    "GROUPS",
    "Agreement",
    "CellLayout",
    "Correction",
    "Disparities",
    "Disparity",
    "Estimate",
    "EstimatorError",
    "GroupModel",
    "MemberStore",
    "Moments",
    "NoiseVariance",
    "Population",
    "RaceModel",
    "disparities",
    "implausible",
    "rank_exposure",
    "to_fixed_point",
]
