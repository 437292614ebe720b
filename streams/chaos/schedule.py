"""Which faults a run injects, in which order: a pure function of the seed.

Between two faults the run waits until metrics flow again and then for the fault's ``pause_seconds``, so the sequence,
the targets and the pauses are the seed's, while the moments follow the clock. A storm does not wait: its kills fall
within seconds of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal[
    "kill",
    "kill in a transaction",
    "kill twice in a second",
    "kill in start-up",
    "kills all over",
    "broker kill",
    "broker stall",
    "transaction time-out",
    "zombie",
    "hand-over",
    "hand-over with kills",
]

ROLES = ("seal", "attach", "a", "b", "publish")
TRANSACTIONAL = ("seal", "attach", "a", "b")
"""Roles whose transactions can be caught open; one of `publish` is there for some milliseconds a window."""
DIVIDED = ("seal", "attach")
"""Roles that may have several workers."""
SHARDS = 3

LEAST_KILLS = 60
"""Of roles, in the form of eight minutes."""

FULL_MINUTES = 8.0
# In so many minutes, and at least in any run.
_COUNTS: dict[Kind, tuple[int, int]] = {
    "kill": (25, 5),
    "kill in a transaction": (12, 3),
    "kill twice in a second": (5, 1),
    "kill in start-up": (5, 1),
    "kills all over": (2, 0),
    "broker kill": (2, 1),
    "broker stall": (1, 0),
    "transaction time-out": (2, 0),
    "zombie": (2, 1),
    "hand-over": (2, 0),
    "hand-over with kills": (2, 0),
}

_WITHOUT_KILLS = ("transaction time-out", "zombie", "hand-over")
_ROLES_OF: dict[Kind, Sequence[str]] = {
    "kill in a transaction": TRANSACTIONAL,
    "transaction time-out": TRANSACTIONAL,
    "hand-over": DIVIDED,
    "hand-over with kills": DIVIDED,
}


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        roles: whom it strikes, in order: a role or, where it has several workers, one of them ("seal.1"); for a fault
            of the broker, the role that is killed meanwhile.
        pause_seconds: how long metrics have flowed before it strikes.
        offsets_seconds: when each stroke comes, counted from the fault's beginning, or, for the second kill of "in
            start-up" and "twice in a second", from the moment when the supervisor has started the role again.
    """

    kind: Kind
    roles: tuple[str, ...]
    pause_seconds: float
    offsets_seconds: tuple[float, ...]

    @property
    def kills(self) -> int:
        """How many kill -9 of roles it holds."""
        return 0 if self.kind in _WITHOUT_KILLS else len(self.offsets_seconds)


def plan(seed: int, minutes: float, only: Sequence[str] = ()) -> tuple[Fault, ...]:
    """The faults of a run of about so many minutes.

    Args:
        seed: decides everything.
        minutes: 8 gives at least 60 kills of roles.
        only: kinds of which there are some; all by default. The others are left out, and nothing takes their place.
    """
    rng = np.random.default_rng(seed)
    faults: list[Fault] = []
    for kind, (full, least) in _COUNTS.items():
        turns = _turns(rng, _ROLES_OF.get(kind, ROLES), max(least, round(full * minutes / FULL_MINUTES)))
        faults += [_fault(rng, kind, role) for role in turns]
    order = rng.permutation(len(faults)).tolist()
    return tuple(faults[k] for k in order if not only or faults[k].kind in only)


def _turns(rng: np.random.Generator, roles: Sequence[str], count: int) -> list[str]:
    """So many roles, each as often as the others, in random order within each round."""
    turns: list[str] = []
    while len(turns) < count:
        turns += rng.permutation(roles).tolist()
    return turns[:count]


def _fault(rng: np.random.Generator, kind: Kind, role: str) -> Fault:
    pause = round(float(rng.uniform(0.3, 2.5)), 2)
    if kind == "kill twice in a second":
        return Fault(kind, (role, role), pause, (0.0, _between(rng, 0.05, 0.7)))
    if kind == "kill in start-up":
        return Fault(kind, (role, role), pause, (0.0, _between(rng, 0.2, 3.0)))
    if kind == "kills all over":
        order = tuple(rng.permutation(ROLES).tolist())
        return Fault(kind, order, pause, tuple(sorted(_between(rng, 0.0, 2.0) for _ in order)))
    if kind in ("broker kill", "broker stall"):
        return Fault(kind, (role,), pause, (_between(rng, 0.5, 4.0),))
    if kind == "hand-over with kills":
        # One worker of the new layout while it takes over, and one that is left when it becomes one again.
        workers = [role, *(f"{role}.{shard}" for shard in range(1, SHARDS))]
        struck = tuple(workers[k] for k in rng.integers(0, SHARDS, 2).tolist())
        return Fault(kind, struck, pause, (_between(rng, 0.0, 2.5), _between(rng, 0.0, 2.5)))
    return Fault(kind, (role,), pause, (0.0,))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 2)


KINDS = tuple(_COUNTS)
"""Every kind of fault."""
