"""The parts of a measurement's spec, each field with its type and range. Rules between fields are in `measurement`.

Nothing is guessed: true is no number, a bare number no time, and NaN, which passes every comparison written as a
refusal, is nowhere let in.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
)

CENSUS_GROUPS = ("white", "black", "api", "hispanic", "native", "multiple")
"""The groups of a measurement that names none: those of the race model, in its order."""

CHANNELS = ("table", "rectifier", "moments")
"""What a measurement may share of its rows, in the order in which it is on the wire."""

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}.*")


def _number(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("not a finite number")
    return value


def _moment(value: Any) -> Any:
    if value is None or isinstance(value, datetime) or (isinstance(value, str) and _MOMENT.fullmatch(value)):
        return value
    raise ValueError("not a time")  # a bare number would be taken for seconds or milliseconds, by its size


Real = Annotated[float, BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]

GroupName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
"""A group's name. A plus sign is kept out of it: estimates of pooled groups are named by it."""

Path = Annotated[str, Field(pattern=r"^[^.\s\[\]]+(\.[^.\s\[\]]+)*(\[\](\.[^.\s\[\]]+)+)?$", max_length=200)]
"""A dotted path in the company's JSON; ``list[].field`` names a field of an exploded list's elements."""

ListPath = Annotated[str, Field(pattern=r"^[^.\s\[\]]+(\.[^.\s\[\]]+)*$", max_length=200)]


@lru_cache(256)  # roles ask for a measurement's lateness at every turn
def parse_duration(text: str) -> int:
    """Milliseconds of a duration like ``10s``, ``1m`` or ``250ms``; ValueError otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a whole number and a unit (ms, s, m, h, d), for example 10s or 1m")
    return int(match.group(1)) * _UNITS_MS[match.group(2)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; what was worked out of the fields of before is worked out anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in [name for name in vars(copied) if isinstance(getattr(type(self), name, None), cached_property)]:
            del copied.__dict__[name]
        return copied


class Condition(Part):
    """A filter: the field must hold one of these values (compared with their JSON type)."""

    field: Path
    one_of: tuple[StrictBool | StrictInt | StrictFloat | StrictStr, ...] = Field(min_length=1, max_length=1000)

    @field_validator("one_of")
    @classmethod
    def _finite(cls, values: tuple[bool | int | float | str, ...]) -> tuple[bool | int | float | str, ...]:
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            raise ValueError("not finite")  # JSON has no such value, so nothing could ever match it
        return values


class Source(Part):
    """Which events, and where their fields lie."""

    topic: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    arrival: Literal["live", "record_time"] = "live"
    explode: ListPath | None = None
    member: Path
    member_max_bytes: Whole = Field(36, ge=1, le=128)
    time: Path
    time_format: Literal["iso8601", "epoch_ms", "epoch_s"] = "iso8601"
    filter: tuple[Condition, ...] = ()


class Flag(Part):
    """A boolean feature: true or false, or 1 or 0."""

    field: Path


class Binned(Part):
    """A numeric feature, cut at edges: bin k holds the values with exactly k edges at or below them."""

    field: Path
    bins: tuple[Real, ...] = Field(min_length=1, max_length=999)

    @field_validator("bins")
    @classmethod
    def _rising(cls, bins: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(edge) for edge in bins) or any(b <= a for a, b in itertools.pairwise(bins)):
            raise ValueError("edges do not rise")
        return bins


class Rank(Binned):
    """A place in a list, whose first place is ``starts_at``."""

    starts_at: Annotated[Whole, Field(ge=0, le=1)] | None = None

    @property
    def first(self) -> int:
        """The number of the first place, 0 or 1."""
        return 1 if self.starts_at is None else self.starts_at


class Cells(Part):
    """The features whose cross product makes the cells; at least a decision or an outcome."""

    score: Binned | None = None
    decision: Flag | None = None
    outcome: Flag | None = None
    rank: Rank | None = None

    @cached_property
    def axes(self) -> tuple[tuple[str, int], ...]:
        """(name, size) of each axis; a cell's number is its place in C order over them."""
        axes = []
        if self.score is not None:
            axes.append(("score", len(self.score.bins) + 1))
        if self.decision is not None:
            axes.append(("decision", 2))
        if self.outcome is not None:
            axes.append(("outcome", 2))
        if self.rank is not None:
            axes.append(("rank", len(self.rank.bins) + 1))
        return tuple(axes)

    @cached_property
    def count(self) -> int:
        """Number of cells; worked out once, as every batch asks for it."""
        return math.prod(size for _, size in self.axes)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that these features allow, in the order of the results."""
        both = self.decision is not None and self.outcome is not None
        there = {
            "predictive_parity": self.outcome is not None,
            "precision": both,
            "tpr": both,
            "fpr": both,
            "recommendation_rate": self.decision is not None,
            "position_exposure": self.rank is not None,
        }
        return tuple(metric for metric, allowed in there.items() if allowed)

    def binding(self) -> Iterator[tuple[str, str]]:
        """(axis, path of its field) of each axis."""
        for name in ("score", "decision", "outcome", "rank"):
            feature: Binned | Flag | None = getattr(self, name)
            if feature is not None:
                yield name, feature.field


class Level(Part):
    """A window length, named by itself."""

    name: str
    length_ms: int


class Windows(Part):
    """Tumbling windows of event time, and how late a row may be."""

    base: str
    rollups: tuple[str, ...] = ()
    lateness: str = "1s"
    max_future: str = "1s"

    @field_validator("base", "rollups", "lateness", "max_future")
    @classmethod
    def _durations(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value:
            parse_duration(text)
        return value

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """All levels, the base first; worked out once, as every release and every window asks for them."""
        return tuple(Level(name=name, length_ms=parse_duration(name)) for name in (self.base, *self.rollups))

    @cached_property
    def lateness_ms(self) -> int:
        """How late a row may arrive, milliseconds."""
        return parse_duration(self.lateness)

    @cached_property
    def max_future_ms(self) -> int:
        """How far before its event time a row may arrive, milliseconds."""
        return parse_duration(self.max_future)


class Rotation(Part):
    """On which days a member may count: at most so many of any 30 days, and of any 365, chosen by a keyed hash."""

    days_in_30: Whole = Field(ge=1, le=30)
    days_in_year: Annotated[Whole, Field(ge=1, le=365)] | None = None


class Review(Part):
    """What reviewers are asked to judge, in the words of who asks."""

    owner: str = Field(min_length=1, max_length=200)
    harm_considered: str = Field(min_length=1, max_length=2000)
    data_used: str = Field(min_length=1, max_length=2000)
    retention: str = Field(min_length=1, max_length=2000)


class PrivacyTerms(Part):
    """What the measurement may spend."""

    contribution_cap: Whole = Field(ge=1, le=24)
    cap_rule: Literal["hours", "first"] = "hours"
    rho_member_day: Real = Field(gt=0, le=10)
    level_shares: dict[str, Real] | None = None
    channel_shares: dict[str, Real] = Field(default_factory=lambda: {"table": 0.8, "moments": 0.2})
    rotation: Rotation | None = None
    delta: Real = Field(1e-9, gt=0, lt=1e-3)

    @property
    def days_in_30(self) -> int:
        """On at most so many of any 30 consecutive UTC days a member counts."""
        return 30 if self.rotation is None else self.rotation.days_in_30

    @property
    def days_in_year(self) -> int:
        """On at most so many of any 365 consecutive UTC days a member counts."""
        by_month = 12 * self.days_in_30 + min(self.days_in_30, 5)
        said = None if self.rotation is None else self.rotation.days_in_year
        return by_month if said is None else min(said, by_month)

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """The channels that are shared, in the order of the wire; worked out once, as every batch asks for them."""
        return tuple(name for name in CHANNELS if name in self.channel_shares)


class TestOnly(Part):
    """Noise that protects nobody, for exact tests; refused outside a test cluster."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    noise_scale_units: Real = Field(ge=1e-3, le=1e6)
