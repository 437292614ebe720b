"""Working the windows of a topic, or of a file, out again, in their order (``estimator.recompute``).

Some numbers of a window follow from another record as well: `rectified` results of a short window from the long one
that corrected it, evidence and pools from the window before. Those are kept at hand as they pass (``streams.passed``).
What the spec settles is held against it, where it is at hand (``streams.settled``). Whatever could not be checked is
said: a forged record either differs, or stands behind something that is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from estimator import CellLayout, Recomputation, recompute
from estimator.cells import Statistic
from estimator.comparison import Comparison
from estimator.errors import RecordUnusable
from estimator.recompute import TERMS
from privacy import Measurement, epsilon
from privacy.accountant import promised_epsilon
from streams.errors import InputError, RecordMalformed
from streams.passed import PassedCorrections, PassedLevel
from streams.records.metric import FairnessMetric
from streams.settled import NOT_AT_HAND, Settled, Specs, Unknown

Record = Mapping[str, Any]

_EPSILONS = (("epsilon_spent", "rho", promised_epsilon), ("epsilon_limit", "rho_limit", epsilon))
"""Those that follow from a rho of the record; that of adding or removing a day follows from the spec alone."""

_TERMS_UNKNOWN = "terms (windows, groups, reference, channels, cap, noise, privacy, tolerance): the spec is not at hand"


class Recomputer:
    """Takes in records in their order, and works each out again from what has passed.

    Args:
        tolerance_ulp: as for :func:`estimator.recompute`.
        specs: the spec that a record names, where it is at hand.
    """

    def __init__(self, tolerance_ulp: int = 0, specs: Specs = lambda record: NOT_AT_HAND) -> None:
        self._tolerance_ulp = tolerance_ulp
        self._specs = specs
        self._known: dict[tuple[str, str, int], Measurement | Unknown] = {}
        self._levels: dict[tuple[str, str], PassedLevel] = {}
        self._terms: dict[tuple[str, str], Record] = {}
        self._corrections: dict[str, PassedCorrections] = {}
        self._said: dict[str, tuple[float, float]] = {}

    def take(self, record: Record) -> Recomputation:
        """The next record, as JSON gives it. Where its parts do not fit together, that is a discrepancy too."""
        spec, settled = self._spec_of(record)
        compared = Comparison(self._tolerance_ulp)
        unchecked = self._compare_spec(record, spec, compared)
        found = Recomputation(0)
        try:
            _compare_epsilons(record, compared)
            if settled is not None:
                settled.compare(record, compared)
            unchecked += self._compare_correction(record, compared)
            found = self._worked_out(record, settled)
        except (KeyError, TypeError, AttributeError, ValueError) as error:  # RecordUnusable is the last one
            told = str(error) if isinstance(error, RecordUnusable) else f"{type(error).__name__}: {error}"
            compared.holds(False, "record", "parts of one window", told)
        unchecked += self._compare_settings(record)
        self.keep(record)
        return replace(
            found,
            compared=compared.count + found.compared,
            discrepancies=(*compared.discrepancies, *found.discrepancies),
            unchecked=tuple(dict.fromkeys((*unchecked, *found.unchecked))),
        )

    def _worked_out(self, record: Record, settled: Settled | None) -> Recomputation:
        level = self._level_of(record)
        before = self._levels.get(level, PassedLevel.begun(settled)).before(record)
        return recompute(
            record,
            self.correction_of(record),
            before.previous,
            first=before.empty,
            pools=before.pools,
            terms=self._terms.get(level) if settled is None else settled.terms,
            tolerance_ulp=self._tolerance_ulp,
        )

    def keep(self, record: Record) -> None:
        """Let a record pass without working it out."""
        level, (_, settled) = self._level_of(record), self._spec_of(record)
        self._levels[level] = self._levels.get(level, PassedLevel.begun(settled)).after(record)
        detection = record.get("detection")
        if detection is not None:
            # The first one's, also over a hole: a record that has others differs, and so does every other like it.
            self._terms.setdefault(level, {name: detection[name] for name in TERMS})
        self._corrections.setdefault(level[0], PassedCorrections()).add(record, settled)
        if record["privacy"] is not None:
            self._said[level[0]] = _settings(record)

    def correction_of(self, record: Record) -> Record | None:
        """The record that a record names as the one that corrects it; None where it names none or it has not passed."""
        passed = self._corrections.get(record["spec_sha256"])
        return None if passed is None else passed.named(record)

    def _level_of(self, record: Record) -> tuple[str, str]:
        return str(record["spec_sha256"]), str(record["level"])

    def _spec_of(self, record: Record) -> tuple[Measurement | Unknown, Settled | None]:
        name = str(record["spec_sha256"]), str(record["measurement"]), int(record["revision"])
        if name not in self._known:
            self._known[name] = self._specs(record)
        spec = self._known[name]
        return spec, None if isinstance(spec, Unknown) else Settled.of(spec, str(record["level"]))

    def _compare_spec(self, record: Record, spec: Measurement | Unknown, compared: Comparison) -> list[str]:
        """Whether the record's spec is one, and has its level; returns what could not be checked without it."""
        if isinstance(spec, Measurement):
            levels = [each.name for each in spec.levels]
            compared.holds(record["level"] in levels, "level", record["level"], f"one of {', '.join(levels)}")
            return [] if record["level"] in levels else ["terms: the spec has no such level"]
        if spec.expected is not None:
            compared.holds(False, "spec_sha256", record["spec_sha256"], spec.expected)
        return [_TERMS_UNKNOWN]

    def _compare_correction(self, record: Record, compared: Comparison) -> list[str]:
        """Whether the right window corrects a short one's `rectified` results; returns what could not be told."""
        if record["status"] not in ("published", "suppressed") or record["rectifier"] is not None:
            return []
        passed = self._corrections.setdefault(str(record["spec_sha256"]), PassedCorrections())
        _, settled = self._spec_of(record)
        named = record.get("corrected_by")
        there = any(result["estimator"] == "rectified" for result in record["results"])
        if settled is None:
            if passed.known:
                compared.value("results: rectified ones", there, True)
            elif not there and named is None:
                return []  # as of a measurement without Self-ID; what its spec says is not at hand
        elif not settled.rectified:
            return []
        expected, unknown = passed.expected(record["window"]["start_ms"], settled)
        if unknown is not None:
            return [unknown]
        compared.holds(named == expected, "corrected_by", named, expected)
        return []

    def _compare_settings(self, record: Record) -> list[str]:
        """Two settings of publish are in the record and nowhere else: it is told where they change."""
        if record["privacy"] is None:
            return []
        before, now = self._said.get(str(record["spec_sha256"])), _settings(record)
        names = ("confidence", "rho_limit")
        changes = zip(names, before or now, now, strict=True)
        return [
            f"{name}: a setting of publish, {old:g} in the record before and {new:g} in this one"
            for name, old, new in changes
            if old != new
        ]


def _settings(record: Record) -> tuple[float, float]:
    return record["confidence"], record["privacy"]["rho_limit"]


def _compare_epsilons(record: Record, compared: Comparison) -> None:
    """The epsilons that follow from the record's rhos."""
    privacy = record["privacy"]
    if privacy is None:
        return
    for name, rho, told in _EPSILONS:
        compared.value(f"privacy.{name}", privacy.get(name), told(privacy[rho], privacy["delta"]))


# -- files --------------------------------------------------------------------------------------------------------


def records_of_file(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a file as `evenstream tail --json` writes it, or with one record itself a line.

    Raises:
        InputError: it cannot be read, or a line is no such thing.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _record_of(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _record_of(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise InputError(f"{where}: expected one JSON object a line, as `evenstream tail --json` writes it") from None
    if isinstance(found, dict) and "value" in found and "topic" in found:
        found = found["value"]
    return checked_record(found, where)


def checked_record(contents: Any, where: str) -> dict[str, Any]:
    """A record as JSON gives it, once our own types have read it.

    Raises:
        InputError: it is no record of `fairness-metrics`.
    """
    try:
        FairnessMetric.decode(json.dumps(contents).encode())
    except RecordMalformed as error:
        raise InputError(f"{where}: {error}") from None
    return contents  # type: ignore[no-any-return]  # the decoder has said so


# -- a statistic of one's own -------------------------------------------------------------------------------------

_STATISTIC = re.compile(r"(?P<name>\w+)\s*:\s*(?P<worth>[^|]*)(?:\|(?P<among>[^|]*))?$")
_CONDITION = re.compile(r"(\w+)=(\d+(?:,\d+)*)")


def statistic_of(text: str, layout: CellLayout) -> Statistic:
    """A statistic as a command line gives it: ``top: decision=1 | score=3,4``, the share of decision 1 among the rows
    with score 3 or 4; several conditions stand side by side, and without ``|`` it is among all rows.

    Raises:
        InputError: it is not of this form, or the table has no such axis or value.
    """
    found = _STATISTIC.match(text.strip())
    if found is None:
        raise InputError(
            f"expected a statistic such as 'top: decision=1 | score=3,4' (name, what counts, among which rows), got "
            f"{text!r}"
        )
    try:
        return layout.statistic(found["name"], _conditions(found["worth"]), _conditions(found["among"] or ""))
    except ValueError as error:
        raise InputError(f"statistic {text!r}: {error}") from None


def _conditions(text: str) -> dict[str, list[int]]:
    conditions = {}
    for word in text.split():
        found = _CONDITION.fullmatch(word)
        if found is None:
            raise ValueError(f"expected conditions such as score=3,4, got {word!r}")
        conditions[found[1]] = [int(value) for value in found[2].split(",")]
    return conditions
