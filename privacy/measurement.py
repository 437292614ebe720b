"""A measurement: the contract for one comparison. Which events, which cells, which windows, what it may spend.

Written by people as YAML, checked here, signed as canonical JSON. Every unknown field is an error: a misspelt cap that
is silently ignored would be a broken promise. Here are the whole and the rules between its fields; the fields
themselves are in `spec_fields`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from privacy.errors import MeasurementError
from privacy.spec_detection import DEFAULT, Detection
from privacy.spec_fields import (
    CENSUS_GROUPS,
    CHANNELS,
    Binned,
    Cells,
    Condition,
    Flag,
    GroupName,
    Level,
    Moment,
    Part,
    PrivacyTerms,
    Rank,
    Review,
    Rotation,
    Source,
    TestOnly,
    Whole,
    Windows,
    parse_duration,
)
from privacy.spec_problems import explain, rules_broken
from privacy.spec_text import read_spec_text

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_MOST_VALUES = (
    65_535 * 6
)  # of one window by cell: 3 MB of ring elements, and 12 MB as JSON with all results, which topics take
_LEAST_LEVEL_RHO = 1e-9  # below it the noise would leave the range of int64, and no table would say anything


class Measurement(Part):
    """See the module's text. Attributes are named as in the YAML."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    revision: Whole = Field(1, ge=1, lt=1 << 31)
    purpose: str = Field(min_length=1, max_length=2000)
    source: Source
    cells: Cells
    windows: Windows
    groups: tuple[GroupName, ...] | None = Field(None, min_length=2, max_length=16)
    reference: GroupName
    privacy: PrivacyTerms
    detection: Detection | None = None
    review: Review | None = None
    effective_from: Moment = None
    expires: Moment = None
    test_only: TestOnly | None = None

    @field_validator("groups")
    @classmethod
    def _different(cls, groups: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if groups is not None and len(set(groups)) < len(groups):
            raise ValueError("a group is named twice")
        return groups

    @field_validator("effective_from", "expires")
    @classmethod
    def _zoned(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None or value.microsecond % 1000:
            raise ValueError("no zone, or finer than milliseconds")
        return value.astimezone(UTC)  # so that one moment has one spelling in the signed bytes

    @model_validator(mode="after")
    def _consistent(self) -> Measurement:
        problems = [*_path_problems(self), *_window_problems(self.windows), *_lateness_problems(self.windows)]
        if self.cells.decision is None and self.cells.outcome is None:
            problems.append(("cells", "name a decision or an outcome (or both); there is nothing to compare otherwise"))
        if self.cells.count > 65_535:
            problems.append(("cells", f"{self.cells.count} cells are too many, at most 65535; use fewer bins"))
        elif self.values_by_cell > _MOST_VALUES:
            text = (
                f"{self.cells.count} cells of {len(self.group_names)} groups have {self.values_by_cell} values (with a "
                f"rectifier twice as many), at most {_MOST_VALUES}; use fewer bins"
            )
            problems.append(("cells", text))
        if self.reference not in self.group_names:
            text = f"{self.reference!r} is none of the measurement's groups; name one of {', '.join(self.group_names)}"
            problems.append(("reference", text))
        if not problems:  # what follows takes sound levels for granted
            problems += [*_privacy_problems(self), *_validity_problems(self)]
            problems += self.alarms.problems(self.levels, self.cells.metrics)
        if problems:
            raise rules_broken(problems)
        return self

    # -- derived --------------------------------------------------------------------------------------------------

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups that are compared, in the order of every vector: those of the spec, else the six of the Census."""
        return CENSUS_GROUPS if self.groups is None else self.groups

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that are shared, in the order of the wire: table, rectifier, moments."""
        return self.privacy.channels

    @property
    def cell_axes(self) -> tuple[tuple[str, int], ...]:
        """(name, size) of each axis of the cells."""
        return self.cells.axes

    @property
    def cell_count(self) -> int:
        """Number of cells."""
        return self.cells.count

    @property
    def values_by_cell(self) -> int:
        """How many numbers of a window are sums by cell: a table, and a rectifier where there is one."""
        return self.cell_count * len(self.group_names) * (2 if "rectifier" in self.channels else 1)

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
        return self.windows.lateness_ms

    @property
    def max_future_ms(self) -> int:
        """How far before its event time a row may arrive, milliseconds."""
        return self.windows.max_future_ms

    @property
    def level_shares(self) -> dict[str, float]:
        """The part of rho that each level gets; equal parts unless the spec says otherwise."""
        if self.privacy.level_shares is not None:
            return dict(self.privacy.level_shares)
        return {level.name: 1 / len(self.levels) for level in self.levels}

    def channel_shares(self, level: str) -> dict[str, float]:
        """The part of a level's rho that each of its channels gets, in the order of the wire; the sum is 1.

        The rectifier is released at the longest level only, where it is pooled; at shorter ones its part goes to the
        others in proportion, so that each level's rho is used in full.
        """
        shares = {name: self.privacy.channel_shares[name] for name in self.channels}
        if level != self.levels[-1].name:
            shares.pop("rectifier", None)
        total = sum(shares.values())
        return {name: share / total for name, share in shares.items()}

    def rows_per_member(self, level: str) -> int:
        """At most so many rows of one member count in a window of this level: what its variance must allow for.

        Under ``hours`` one row counts in an hour, that in which its base window starts, so a window within an hour
        holds one; under ``first`` all may fall into one window.
        """
        length_ms = next(item.length_ms for item in self.levels if item.name == level)
        if self.privacy.cap_rule == "first":
            return self.privacy.contribution_cap
        return min(self.privacy.contribution_cap, _most_hours(length_ms, self.base_ms))

    @property
    def alarms(self) -> Detection:
        """What is tolerated and how rare false alarms are: the spec's ``detection``, else its defaults."""
        return DEFAULT if self.detection is None else self.detection

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
        # What is not there is left out, so that a field added later does not change the bytes of older specs.
        content = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def digest(self) -> bytes:
        """SHA-256 of :meth:`canonical_bytes`: names this revision in every record."""
        return hashlib.sha256(self.canonical_bytes()).digest()

    @classmethod
    def from_canonical(cls, data: bytes) -> Measurement:
        """Read signed bytes, or raise :class:`MeasurementError`; what is not canonical is refused."""
        try:
            measurement = cls.model_validate_json(data)
        except ValidationError as error:
            raise MeasurementError(explain(error, "the signed spec", _FIELDS_OF)) from None
        if measurement.canonical_bytes() != data:
            raise MeasurementError(
                "the signed spec is not in canonical form; have it made by `evenstream measurement propose`"
            )
        return measurement

    def with_effective_from(self, start_ms: int) -> Measurement:
        """The same measurement, beginning at ``start_ms`` (epoch milliseconds, a boundary of the longest level).

        Raises:
            MeasurementError: it is no such boundary, or not before ``expires``.
        """
        return _validated(self.model_dump() | {"effective_from": _utc(start_ms)}, f"measurement {self.id!r}")

    def with_expires(self, end_ms: int) -> Measurement:
        """The same measurement, ending at ``end_ms`` (epoch milliseconds, a boundary of the longest level).

        Raises:
            MeasurementError: it is no such boundary, or not after ``effective_from``.
        """
        return _validated(self.model_dump() | {"expires": _utc(end_ms)}, f"measurement {self.id!r}")


@lru_cache(maxsize=256)
def _most_hours(length_ms: int, base_ms: int) -> int:
    """The most hours of the UTC day in which the base windows of one window start."""
    if _HOUR_MS % length_ms == 0:
        return 1
    starts = range(0, _DAY_MS, length_ms)
    return max((start + length_ms - base_ms) // _HOUR_MS - start // _HOUR_MS + 1 for start in starts)


def _path_problems(spec: Measurement) -> Iterator[tuple[str, str]]:
    source = spec.source
    paths = [("source.member", source.member), ("source.time", source.time)]
    paths += [(f"source.filter[{i}].field", condition.field) for i, condition in enumerate(source.filter)]
    paths += [(f"cells.{axis}.field", path) for axis, path in spec.cells.binding()]
    for field, path in paths:
        exploded, element, _ = path.partition("[]")
        if element and exploded != source.explode:
            text = (
                f"{path!r} speaks of the elements of {exploded!r}; set source.explode to {exploded}, or name a field "
                "of the record itself"
            )
            yield field, text
    if source.explode is not None:
        if source.explode in (path for _, path in paths):
            yield (
                "source.explode",
                f"{source.explode!r} is a list here and a value elsewhere; it can be one of them",
            )
        paths.append(("source.explode", source.explode))
    for field, path in paths:
        inside = next((other for _, other in paths if other.startswith(f"{path}.")), None)
        if inside is not None:
            yield field, f"{path!r} is a value here, and {inside!r} a field inside it; it can be one of them"


def _window_problems(windows: Windows) -> Iterator[tuple[str, str]]:
    shorter: Level | None = None
    for place, level in enumerate(windows.levels):
        field = "windows.base" if place == 0 else f"windows.rollups[{place - 1}]"
        if _DAY_MS % level.length_ms:
            text = (
                f"{level.name} does not divide the UTC day. A member's budget is per day, so no window may straddle "
                "two days; use for example 10s, 1m, 1h or 1d"
            )
            yield field, text
        if shorter is not None and (level.length_ms <= shorter.length_ms or level.length_ms % shorter.length_ms):
            yield field, f"{level.name} is not a multiple of {shorter.name}, the level before it"
        shorter = level


def _lateness_problems(windows: Windows) -> Iterator[tuple[str, str]]:
    for field in ("lateness", "max_future"):
        text = getattr(windows, field)
        if parse_duration(text) > _DAY_MS:
            # Who has counted on a day must be remembered until no row of that day can come.
            yield f"windows.{field}", f"{text} is more than a day, which no budget of days can follow; use at most 1d"


def _privacy_problems(spec: Measurement) -> Iterator[tuple[str, str]]:
    terms, shares, names = spec.privacy, spec.level_shares, [level.name for level in spec.levels]
    if set(shares) != set(names):
        yield "privacy.level_shares", f"names {', '.join(shares) or 'no level'}; name {', '.join(names)}, each once"
    elif not all(share > 0 for share in shares.values()):
        yield "privacy.level_shares", "each share must be above 0; leave a level out of windows instead"
    elif not abs(sum(shares.values()) - 1) <= 1e-9:
        yield "privacy.level_shares", f"the shares must sum to 1, they sum to {sum(shares.values()):.10g}"
    elif channels := list(_channel_problems(terms)):
        yield from channels
    elif _least_rho(spec) < _LEAST_LEVEL_RHO:
        text = f"leaves a channel of a level less than rho {_LEAST_LEVEL_RHO:g}, all noise; raise it"
        yield "privacy.rho_member_day", text
    if terms.cap_rule == "hours" and spec.base_ms > _HOUR_MS:
        text = (
            f"hours needs base windows of at most 1h, not {spec.windows.base}, since attach knows a row's hour by its "
            "window; write cap_rule: first"
        )
        yield "privacy.cap_rule", text


def _channel_problems(terms: PrivacyTerms) -> Iterator[tuple[str, str]]:
    shares, field = terms.channel_shares, "privacy.channel_shares"
    if "table" not in shares or not set(shares) <= set(CHANNELS):
        text = f"names {', '.join(shares) or 'no channel'}; name table, and optionally moments and rectifier"
        yield field, text
    elif not all(share > 0 for share in shares.values()):
        yield field, "each share must be above 0; leave a channel out instead"
    elif not abs(sum(shares.values()) - 1) <= 1e-9:
        yield field, f"the shares must sum to 1, they sum to {sum(shares.values()):.10g}"
    elif "rectifier" in shares and "moments" not in shares:
        yield field, "rectifier needs moments, which say how many rows have a Self-ID; give moments a share as well"


def _least_rho(spec: Measurement) -> float:
    """The rho of that channel of that level which gets least."""
    parts = [part * share for name, part in spec.level_shares.items() for share in spec.channel_shares(name).values()]
    return min(parts) * spec.privacy.rho_member_day


def _validity_problems(spec: Measurement) -> Iterator[tuple[str, str]]:
    begin, end, longest = spec.effective_from_ms, spec.expires_ms, spec.levels[-1]
    for field, moment in (("effective_from", begin), ("expires", end)):
        if moment is not None and moment % longest.length_ms:
            after = _utc((moment // longest.length_ms + 1) * longest.length_ms)
            yield field, f"must be a boundary of the longest level, {longest.name}; the next one is {after:%FT%TZ}"
    if begin is not None and spec.revision > 1 and begin % _DAY_MS:
        text = (
            "a later revision takes over at a UTC day, so that no member-day is counted under two; use for example "
            f"{_utc((begin // _DAY_MS + 1) * _DAY_MS):%FT%TZ}"
        )
        yield "effective_from", text
    if begin is not None and end is not None and end <= begin:
        yield "expires", "must come after effective_from"


def _validated(content: dict[str, Any], origin: str) -> Measurement:
    try:
        return Measurement.model_validate(content)
    except ValidationError as error:
        raise MeasurementError(explain(error, origin, _FIELDS_OF)) from None


_PARTS: dict[str, type[BaseModel]] = {
    "": Measurement,
    "source": Source,
    "source.filter": Condition,
    "cells": Cells,
    "cells.score": Binned,
    "cells.decision": Flag,
    "cells.outcome": Flag,
    "cells.rank": Rank,
    "windows": Windows,
    "privacy": PrivacyTerms,
    "privacy.rotation": Rotation,
    "detection": Detection,
    "review": Review,
    "test_only": TestOnly,
}
_FIELDS_OF = {path: tuple(part.model_fields) for path, part in _PARTS.items()}


def _utc(moment_ms: int) -> datetime:
    return datetime.fromtimestamp(moment_ms // 1000, UTC) + timedelta(milliseconds=moment_ms % 1000)


def _epoch_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def next_boundary_ms(measurement: Measurement, now_ms: int) -> int:
    """When the measurement may begin: the next boundary of its longest level strictly after ``now_ms``.

    A later revision begins at the next UTC day.
    """
    length = measurement.levels[-1].length_ms if measurement.revision == 1 else _DAY_MS
    return (now_ms // length + 1) * length


def parse_measurement(text: str, *, origin: str) -> Measurement:
    """Read a spec from YAML.

    Args:
        text: the YAML.
        origin: its file's name, for errors.

    Raises:
        MeasurementError: one line for each problem: the field, what was expected, what came, how to mend it.
    """
    return _validated(read_spec_text(text, origin), origin)
