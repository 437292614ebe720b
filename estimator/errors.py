"""What can go wrong in the estimators' room.

EstimatorError
├── PackDamaged        the Census pack in the package is not what this version expects
├── SourceChanged      a file that the pack is built from is not the one that was reviewed
├── UnequalColumns     arrays that describe the same members have different lengths or types
├── NotProbabilities   rows that should be probabilities do not sum to 1, are negative, or are not numbers
├── ModelBroken        a group model does not keep the protocol of estimator.GroupModel
└── RecordUnusable     what should be a published record is none, or its parts do not fit together
"""

from __future__ import annotations


class EstimatorError(Exception):
    """Base of this room's errors."""


class PackDamaged(EstimatorError):
    """The Census pack cannot be used."""


class SourceChanged(EstimatorError):
    """A build source is not the one that was reviewed (checksum, or what its contents must satisfy)."""


class UnequalColumns(EstimatorError, ValueError):
    """Columns do not describe the same members."""


class NotProbabilities(EstimatorError, ValueError):
    """A row is no probability distribution, so counting it would make or lose people."""


class ModelBroken(EstimatorError):
    """A group model breaks a rule of its protocol; the message begins with the rule's name."""


class RecordUnusable(EstimatorError, ValueError):
    """What should be a record of `fairness-metrics` is none, has no table, or its parts do not fit together."""
