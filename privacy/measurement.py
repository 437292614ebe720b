"""A measurement: the contract for one comparison. Which events, which cells, which windows, what it may spend.

Written by people as YAML, checked here, signed as canonical JSON. Every unknown field is an error: a misspelt cap that
is silently ignored would be a broken promise.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from privacy.errors import MeasurementError

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_DURATION = re.compile(r"^([1-9][0-9]{0,8})(ms|s|m|h|d)$")

Path = Annotated[str, Field(pattern=r"^[^.\s\[\]]+(\.[^.\s\[\]]+)*(\[\](\.[^.\s\[\]]+)+)?$", max_length=200)]
"""A dotted path in the company's JSON; ``list[].field`` names a field of an exploded list's elements."""

ListPath = Annotated[str, Field(pattern=r"^[^.\s\[\]]+(\.[^.\s\[\]]+)*$", max_length=200)]


def parse_duration(text: str) -> int:
    """Milliseconds of a duration like ``10s``, ``1m`` or ``250ms``; ValueError otherwise."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError("expected a whole number and a unit (ms, s, m, h, d), for example 10s or 1m")
    return int(match.group(1)) * _UNITS_MS[match.group(2)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Part):
    """A filter: the field must hold one of these values (compared with their JSON type)."""

    field: Path
    one_of: tuple[StrictBool | StrictInt | StrictFloat | StrictStr, ...] = Field(min_length=1, max_length=1000)


class Source(_Part):
    """Which events, and where their fields lie."""

    topic: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    arrival: Literal["live", "record_time"] = "live"
    explode: ListPath | None = None
    member: Path
    member_max_bytes: int = Field(36, ge=1, le=128)
    time: Path
    time_format: Literal["iso8601", "epoch_ms", "epoch_s"] = "iso8601"
    filter: tuple[Condition, ...] = ()

    @model_validator(mode="after")
    def _paths_of_elements(self) -> Source:
        for path in (self.member, self.time, *(condition.field for condition in self.filter)):
            check_element_path(path, self.explode)
        return self


def check_element_path(path: str, explode: str | None) -> None:
    """ValueError where ``path`` speaks of elements of a list that is not exploded."""
    if "[]" in path and path.split("[]")[0] != explode:
        raise ValueError(
            f"{path!r} speaks of the elements of {path.split('[]')[0]!r}; set source.explode to that list, "
            "or name a field of the record itself"
        )


class Flag(_Part):
    """A boolean feature: true or false, or 1 or 0."""

    field: Path


class Binned(_Part):
    """A numeric feature, cut at edges: bin k holds the values with exactly k edges at or below them."""

    field: Path
    bins: tuple[float, ...] = Field(min_length=1, max_length=999)

    @field_validator("bins")
    @classmethod
    def _rising(cls, bins: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(edge) for edge in bins) or any(b <= a for a, b in itertools.pairwise(bins)):
            raise ValueError("edges must be finite and rise, for example [0.2, 0.4, 0.6, 0.8]")
        return bins


class Cells(_Part):
    """The features whose cross product makes the cells; at least a decision or an outcome."""

    score: Binned | None = None
    decision: Flag | None = None
    outcome: Flag | None = None
    rank: Binned | None = None

    @property
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

    @property
    def count(self) -> int:
        """Number of cells."""
        return math.prod(size for _, size in self.axes)

    @model_validator(mode="after")
    def _something_to_measure(self) -> Cells:
        if self.decision is None and self.outcome is None:
            raise ValueError("name a decision or an outcome (or both): there is nothing to compare otherwise")
        if self.count > 65_535:
            raise ValueError(f"{self.count} cells are too many, at most 65535: use fewer bins")
        return self


class Level(_Part):
    """A window length, named by itself."""

    name: str
    length_ms: int


class Windows(_Part):
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

    @property
    def levels(self) -> tuple[Level, ...]:
        """All levels, the base first."""
        return tuple(Level(name=name, length_ms=parse_duration(name)) for name in (self.base, *self.rollups))

    @model_validator(mode="after")
    def _divide_the_day(self) -> Windows:
        previous = None
        for level in self.levels:
            if _DAY_MS % level.length_ms:
                raise ValueError(
                    f"{level.name} does not divide the UTC day. A member's budget is per day, so windows must not "
                    "straddle two days: use for example 10s, 1m, 1h or 1d"
                )
            if previous is not None and (level.length_ms <= previous.length_ms or level.length_ms % previous.length_ms):
                raise ValueError(f"roll-up {level.name} is not a multiple of {previous.name}")
            previous = level
        return self


class PrivacyTerms(_Part):
    """What the measurement may spend."""

    contribution_cap: int = Field(ge=1, le=24)
    cap_rule: Literal["hours", "first"] = "hours"
    rho_member_day: float = Field(gt=0, le=10)
    level_shares: dict[str, float] | None = None
    channel_shares: dict[str, float] = Field(default_factory=lambda: {"table": 1.0})
    delta: float = Field(1e-9, gt=0, lt=1e-3)

    @field_validator("channel_shares")
    @classmethod
    def _table_only(cls, shares: dict[str, float]) -> dict[str, float]:
        if shares != {"table": 1.0}:
            raise ValueError("the channels rectifier and moments are reserved; for now write {table: 1.0}")
        return shares


class TestOnly(_Part):
    """Noise that protects nobody, for exact tests; refused outside a test cluster."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    noise_scale_units: float = Field(gt=0, le=1e6)


class Measurement(_Part):
    """See the module's text. Attributes are named as in the YAML."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    revision: int = Field(1, ge=1, lt=1 << 31)
    purpose: str = Field(min_length=1, max_length=2000)
    source: Source
    cells: Cells
    windows: Windows
    reference: Literal["white", "black", "api", "hispanic", "native", "multiple"]
    privacy: PrivacyTerms
    effective_from: datetime | None = None
    expires: datetime | None = None
    test_only: TestOnly | None = None

    @field_validator("effective_from", "expires")
    @classmethod
    def _zoned(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("expected a time with its zone, for example 2026-11-24T15:00:00Z")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Measurement:
        for name, feature in (
            ("score", self.cells.score),
            ("decision", self.cells.decision),
            ("outcome", self.cells.outcome),
            ("rank", self.cells.rank),
        ):
            if feature is not None:
                try:
                    check_element_path(feature.field, self.source.explode)
                except ValueError as error:
                    raise ValueError(f"cells.{name}.field: {error}") from None
        longest = self.levels[-1].length_ms
        for name, moment in (("effective_from", self.effective_from_ms), ("expires", self.expires_ms)):
            if moment is not None and moment % longest:
                raise ValueError(f"{name} must be a boundary of the longest level, {self.levels[-1].name}")
        shares = self.level_shares
        if set(shares) != {level.name for level in self.levels}:
            raise ValueError(
                f"privacy.level_shares names {', '.join(sorted(shares))}, expected "
                f"{', '.join(level.name for level in self.levels)}"
            )
        if any(share <= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError("privacy.level_shares must be positive and sum to 1")
        if self.privacy.cap_rule == "hours" and self.base_ms > _HOUR_MS:
            raise ValueError(
                "privacy.cap_rule hours needs base windows of at most 1h, since attach knows a row's hour by its "
                "window; write cap_rule: first"
            )
        return self

    # -- derived --------------------------------------------------------------------------------------------------

    @property
    def cell_axes(self) -> tuple[tuple[str, int], ...]:
        """(name, size) of each axis of the cells."""
        return self.cells.axes

    @property
    def cell_count(self) -> int:
        """Number of cells."""
        return self.cells.count

    @property
    def levels(self) -> tuple[Level, ...]:
        """Window levels, the base first."""
        return self.windows.levels

    @property
    def base_ms(self) -> int:
        """Length of a base window, milliseconds."""
        return self.levels[0].length_ms

    @property
    def lateness_ms(self) -> int:
        """How late a row may arrive, milliseconds."""
        return parse_duration(self.windows.lateness)

    @property
    def max_future_ms(self) -> int:
        """How far before its event time a row may arrive, milliseconds."""
        return parse_duration(self.windows.max_future)

    @property
    def level_shares(self) -> dict[str, float]:
        """The part of rho that each level gets; equal parts unless the spec says otherwise."""
        if self.privacy.level_shares is not None:
            return dict(self.privacy.level_shares)
        return {level.name: 1 / len(self.levels) for level in self.levels}

    @property
    def effective_from_ms(self) -> int | None:
        """Start of the first window, epoch milliseconds; None before signing."""
        return None if self.effective_from is None else _epoch_ms(self.effective_from)

    @property
    def expires_ms(self) -> int | None:
        """No window starts at or after this, epoch milliseconds."""
        return None if self.expires is None else _epoch_ms(self.expires)

    def canonical_bytes(self) -> bytes:
        """The exact bytes that are signed: JSON with sorted keys and no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> bytes:
        """SHA-256 of :meth:`canonical_bytes`: names this revision in every record."""
        return hashlib.sha256(self.canonical_bytes()).digest()

    @classmethod
    def from_canonical(cls, data: bytes) -> Measurement:
        """Read signed bytes, or raise :class:`MeasurementError`; what is not canonical is refused."""
        try:
            measurement = cls.model_validate_json(data)
        except ValidationError as error:
            raise MeasurementError(_explain(error, "the signed spec")) from None
        if measurement.canonical_bytes() != data:
            raise MeasurementError(
                "the signed spec is not in canonical form; sign it with `evenstream measurement sign`"
            )
        return measurement

    def with_effective_from(self, start_ms: int) -> Measurement:
        """The same measurement, beginning at ``start_ms`` (a boundary of the longest level)."""
        values = self.model_dump(mode="json") | {
            "effective_from": datetime.fromtimestamp(start_ms / 1000, UTC).isoformat()
        }
        return Measurement.model_validate(values)


def _epoch_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def next_boundary_ms(measurement: Measurement, now_ms: int) -> int:
    """The next boundary of the longest level strictly after ``now_ms``."""
    longest = measurement.levels[-1].length_ms
    return (now_ms // longest + 1) * longest


def parse_measurement(text: str, *, origin: str) -> Measurement:
    """Read a spec from YAML.

    Args:
        text: the YAML.
        origin: its file's name, for errors.

    Raises:
        MeasurementError: one line for each problem: the field, what was expected, what came.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MeasurementError(f"{origin} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise MeasurementError(f"{origin} must hold a mapping with id, source, cells, windows, reference, privacy")
    try:
        return Measurement.model_validate(content)
    except ValidationError as error:
        raise MeasurementError(_explain(error, origin)) from None


def _explain(error: ValidationError, origin: str) -> str:
    lines = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "the spec"
        if problem["type"] == "missing":
            lines.append(f"{origin}: {field}: is required and missing; add it")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{origin}: {field}: is not a field of a measurement; remove it or correct its name")
        else:
            came = "" if isinstance(problem["input"], dict | BaseModel) else f"; got {problem['input']!r}"
            lines.append(f"{origin}: {field}: {problem['msg'].removeprefix('Value error, ')}{came}")
    return "\n".join(lines)
