"""The group model that a command uses."""

from __future__ import annotations

from estimator import GroupModel, RaceModel
from streams.cli import Invocation


def group_model(invocation: Invocation) -> GroupModel:
    """The model that `attach` uses under these settings."""
    return RaceModel.load()
