"""Bugs, planted around the product's code and never in it: each breaks the promise in a way that has happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.privacy_audit.neighbours import PAIRS, Pair, Released, Run, plan
from privacy import ChannelNoise
from privacy.caps import ContributionCap
from privacy.noise import sample

_ONE: tuple[str, ...] = ("table",)
_TWO = ("table", "moments")

Planted = Callable[[], AbstractContextManager[object]]


def _sampling(scale: Callable[[ChannelNoise], float]) -> AbstractContextManager[object]:
    def planted(noise: ChannelNoise, size: int) -> NDArray[np.int64]:
        return sample(size, scale(noise))

    return patch.object(ChannelNoise, "sample", planted)


def _half_the_noise() -> AbstractContextManager[object]:
    return _sampling(lambda noise: noise.scale_units / 2)


def _noise_of_the_table() -> AbstractContextManager[object]:
    table = next(iter(plan(_TWO).levels.values())).table.scale_units
    return _sampling(lambda noise: table)


@contextmanager
def _one_row_more() -> Iterator[None]:
    def cap(rule: Literal["first", "hours"], cap: int, *rest: Any, **more: Any) -> ContributionCap:
        return ContributionCap(rule, cap + 1, *rest, **more)

    with patch("streams.roles.counted_rows.ContributionCap", cap):
        yield


@dataclass(frozen=True)
class Plant:
    """One bug.

    Attributes:
        at_rows: around attach, while rows are counted. at_release: around a party, while it draws.
        draws: how often the party draws for each window; the reader takes the mean.
        pair: the neighbouring inputs on which it is looked for. channels: what is measured: no more than it takes.
    """

    name: str
    pair: Pair
    channels: tuple[str, ...] = _ONE
    at_rows: Planted = nullcontext
    at_release: Planted = nullcontext
    draws: int = 1

    def released(self, run: Run, party: str) -> Released:
        """What a reader has of the party's releases under this bug."""
        with self.at_release():
            drawn = [run.release(party).values for _ in range(self.draws)]
        return Released({channel: np.mean([values[channel] for values in drawn], axis=0) for channel in drawn[0]})


PLANTS = (
    Plant("half the noise", PAIRS[0], at_release=_half_the_noise),
    Plant("a noise drawn twice", PAIRS[0], draws=2),
    Plant("a cap of 2 for 1", PAIRS[2], at_rows=_one_row_more),
    Plant("the table's noise on the moments", PAIRS[0], _TWO, at_release=_noise_of_the_table),
)
