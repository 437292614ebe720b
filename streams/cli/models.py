"""The group model that a command uses."""

from __future__ import annotations

from estimator import GroupModel
from streams.cli import Invocation
from streams.roles.group_model import load_group_model


def group_model(invocation: Invocation) -> GroupModel:
    """The model that `attach` uses under these settings."""
    return load_group_model(invocation.settings().attach.model)
