"""How well a company's own members match the group model, in aggregates only.

Nothing about a person leaves this module: every count below ``LEAST_COUNT`` is hidden, and where the others and the
total would give a hidden one away, the next smallest is hidden as well. Opted-out members are in no figure.

Group shares. A share is the mean of p over members. Its variance about *these* members is sum p (1 - p) / n^2: p says
how likely each is of the group, not who is. About the *population that they were drawn from* sampling is added, and
both together are share (1 - share) / n (total variance). Both take p to be calibrated, which Self-ID can check.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimator import GroupModel, Level, NameMatch, RaceModel
from estimator.self_id import masses_of
from secure_agg import SCALE
from streams.errors import InputError
from streams.members_file import MembersFile

F = NDArray[np.float64]

LEAST_COUNT = 20
"""Aggregates over fewer members are not shown."""
LEAST_SELF_ID = 100
"""With fewer Self-IDs calibration is not judged."""

_Z = 1.959963984540054

KINDS = {
    "exact": NameMatch.EXACT,
    "collapsed": NameMatch.COLLAPSED,
    "part of a compound": NameMatch.PART,
    "unmatched": NameMatch.UNMATCHED,
    "missing": NameMatch.MISSING,
}
SUFFIX = "suffix removed (also counted above)"


@dataclass(frozen=True)
class GroupShare:
    """A group's expected share, and half-widths of its 95 % intervals about these members and their population."""

    group: str
    share: float
    of_members: float
    of_population: float


@dataclass(frozen=True)
class Calibration:
    """p against what members said, over those who said a group.

    Attributes:
        group: its name. expected, said: shares; None where fewer than ``LEAST_COUNT`` are expected or said.
        deviations: said less expected, in standard deviations of what chance allows if p is calibrated.
    """

    group: str
    expected: float | None
    said: float | None
    deviations: float | None


@dataclass(frozen=True)
class ModelCheck:
    """The result. A count of None is hidden.

    Attributes:
        members: how many were looked at. opted_out, unreadable, unreadable_self_ids: not among them; members who count
            without their Self-ID.
        surname, given_name, place: members by kind of match, or by level of place; empty for a company's own model.
        shares: by group. self_id: members who said a group. calibration: by group; empty with fewer than
            ``LEAST_SELF_ID``. log_loss: mean -sum R log p over them, nats. baseline: the same for a model that gives
            everyone the shares of the sample's own p.
    """

    members: int
    opted_out: int | None
    unreadable: int | None
    unreadable_self_ids: int | None
    surname: Mapping[str, int | None]
    given_name: Mapping[str, int | None]
    place: Mapping[str, int | None]
    shares: tuple[GroupShare, ...]
    self_id: int | None
    calibration: tuple[Calibration, ...]
    log_loss: float | None
    baseline: float | None


def check_members(model: GroupModel, people: MembersFile) -> ModelCheck:
    """Check a sample.

    Raises:
        InputError: fewer than ``LEAST_COUNT`` members count: whatever is said of so few is about persons.
    """
    counting = ~people.opted_out
    count = int(counting.sum())
    if count < LEAST_COUNT:
        raise InputError(
            f"expected at least {LEAST_COUNT} members who did not opt out; figures about fewer would be about persons: "
            "give a larger sample"
        )
    probabilities = people.probabilities(model)[counting]
    said = people.said[counting]
    self_id = masses_of(people.self_id[counting & people.said], len(model.groups), SCALE) / SCALE
    surname, given_name, place = _matches(model, people, counting)
    enough = int(said.sum()) >= LEAST_SELF_ID
    return ModelCheck(
        members=count,
        opted_out=_shown(int(people.opted_out.sum()) - people.unreadable),
        unreadable=_shown(people.unreadable),
        unreadable_self_ids=_shown(people.unreadable_self_ids),
        surname=surname,
        given_name=given_name,
        place=place,
        shares=tuple(_shares(model.groups, probabilities)),
        self_id=_shown(int(said.sum())),
        calibration=tuple(_calibration(model.groups, probabilities[said], self_id)) if enough else (),
        log_loss=_log_loss(probabilities[said], self_id) if enough else None,
        baseline=_log_loss(np.broadcast_to(probabilities.mean(axis=0), (int(said.sum()), len(model.groups))),
                           self_id) if enough else None,
    )  # fmt: skip


def hidden_below(counts: Mapping[str, int], least: int = LEAST_COUNT) -> dict[str, int | None]:
    """Counts of kinds that exclude each other, those below ``least`` hidden (None).

    The total is known. So where the hidden ones together are fewer than ``least``, the next smallest is hidden as well.
    """
    rising = sorted(counts, key=lambda kind: counts[kind])
    hidden = [kind for kind in rising if counts[kind] < least]
    together = sum(counts[kind] for kind in hidden)
    if (0 < together < least or len(hidden) == 1) and len(hidden) < len(rising):
        hidden.append(rising[len(hidden)])
    return {kind: None if kind in hidden else count for kind, count in counts.items()}


def _shown(count: int) -> int | None:
    return count if count >= LEAST_COUNT else None


_Counts = dict[str, int | None]


def _matches(model: GroupModel, people: MembersFile, counting: NDArray[np.bool_]) -> tuple[_Counts, _Counts, _Counts]:
    """Members by kind of match: surnames, given names, places."""
    if not isinstance(model, RaceModel):
        return {}, {}, {}
    columns = people.attributes
    found = model.match(
        columns["family_name"],
        given_names=columns.get("given_name"),
        tracts=columns["tract"],
        zctas=[zcta or zip_ for zcta, zip_ in zip(columns["zcta"], columns["zip"], strict=True)],
        counties=columns["county"],
        states=columns["state"],
    )
    levels = {level.name.lower(): int((found.place[counting] == level).sum()) for level in reversed(Level)}
    return _by_kind(found.surname[counting]), _by_kind(found.given_name[counting]), hidden_below(levels)


def _by_kind(flags: NDArray[np.uint8]) -> _Counts:
    kinds = flags & ~np.uint8(NameMatch.SUFFIX_REMOVED)
    counts = hidden_below({name: int((kinds == int(kind)).sum()) for name, kind in KINDS.items()})
    return counts | {SUFFIX: _shown(int((flags & np.uint8(NameMatch.SUFFIX_REMOVED) > 0).sum()))}


def _shares(groups: Sequence[str], probabilities: F) -> list[GroupShare]:
    count = probabilities.shape[0]
    mean = probabilities.mean(axis=0)
    of_members = _Z * np.sqrt((probabilities * (1 - probabilities)).sum(axis=0)) / count
    of_population = _Z * np.sqrt(mean * (1 - mean) / count)
    columns = zip(groups, mean.tolist(), of_members.tolist(), of_population.tolist(), strict=True)
    return [GroupShare(*column) for column in columns]


def _calibration(groups: Sequence[str], probabilities: F, self_id: F) -> list[Calibration]:
    count = probabilities.shape[0]
    expected, said = probabilities.sum(axis=0), self_id.sum(axis=0)
    deviation = np.sqrt((probabilities * (1 - probabilities)).sum(axis=0))
    # Each count with all the others gives the total: what hides one must not be worked out.
    # Shares of a multi-select are fractions: the smaller of both is rounded up, so that half a person is one to hide.
    smaller = np.ceil(np.minimum(expected, said) - 1e-9).astype(int)
    visible = hidden_below(dict(zip(groups, smaller.tolist(), strict=True)))
    return [
        Calibration(
            group,
            float(expected[k] / count) if visible[group] is not None else None,
            float(said[k] / count) if visible[group] is not None else None,
            float((said[k] - expected[k]) / deviation[k]) if visible[group] is not None else None,
        )
        for k, group in enumerate(groups)
    ]


def _log_loss(probabilities: F, self_id: F) -> float:
    return float(-(self_id * np.log(np.maximum(probabilities, math.exp(-30)))).sum(axis=1).mean())
