"""Race probabilities and estimators of disparity. Knows neither Kafka nor cryptography.

Source: DESIGN sections 4 and 6.
"""

from __future__ import annotations

from estimator.agreement import Agreement
from estimator.cells import CellLayout, rank_exposure
from estimator.census import Level
from estimator.consistency import channels_disagree
from estimator.detection import Detectors, Deviations, Evidence, Gaps
from estimator.disparity import Correction, Disparities, Disparity, Estimate, disparities, implausible
from estimator.errors import EstimatorError
from estimator.groups import GROUPS
from estimator.matching import Matches
from estimator.members import MemberStore
from estimator.model import GroupModel
from estimator.model_checks import check_model
from estimator.moments import Moments
from estimator.names import NameMatch
from estimator.population import Population
from estimator.posterior import RaceModel
from estimator.rates import NoiseVariance
from estimator.recompute import Recomputation, recompute
from estimator.reestimate import reestimate
from estimator.rounding import to_fixed_point

__all__ = [
    "GROUPS",
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
