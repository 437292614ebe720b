"""Working the windows of a topic, or of a file, out again, in their order (``estimator.recompute``).

Some numbers of a window follow from another record as well: `rectified` results of a short window from the long one
that corrected it, and evidence from the window before. Those are kept at hand as they pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from estimator import CellLayout, Recomputation, recompute
from estimator.cells import Statistic
from estimator.recompute import TERMS, Discrepancy
from privacy import Measurement, epsilon, plan_noise
from privacy.accountant import promised_epsilon
from streams.errors import InputError, RecordMalformed
from streams.records.metric import FairnessMetric
from streams.roles.detecting import LevelDetectors

_LONG_WINDOWS = 16
"""Kept of a level: publish uses a correction for 8 of its lengths."""

_EPSILONS = (("epsilon_spent", "rho", promised_epsilon), ("epsilon_limit", "rho_limit", epsilon))
"""Those that follow from a rho of the record; that of adding or removing a day follows from the spec alone."""

Specs = Callable[[bytes], Measurement | None]
"""The approved spec of a digest, or None."""


@dataclass(frozen=True)
class Approved:
    """What an approved spec settles in the records of one of its levels.

    Attributes:
        terms: of its detectors, as ``estimator.recompute.TERMS``. privacy: by their names in a record's ``privacy``.
    """

    terms: Mapping[str, Any]
    privacy: Mapping[str, float | None]

    @classmethod
    def of(cls, spec: Measurement, level: str) -> Approved:
        """Of a level, which must be one of the spec's."""
        detectors = LevelDetectors.of(spec, level)
        promise = plan_noise(spec).statement()
        return cls(
            {name: getattr(detectors, name) for name in TERMS},
            {
                "rho": promise.rho,
                "delta": promise.delta,
                "epsilon_spent": promise.epsilon,
                "epsilon_add_remove": promise.epsilon_add_remove,
            },
        )


class Recomputer:
    """Takes in records in their order, and works each out again from what has passed.

    Args:
        tolerance_ulp: as for :func:`estimator.recompute`.
        specs: the approved specs, where they are at hand; then a record is held against its own as well.
    """

    def __init__(self, tolerance_ulp: int = 0, specs: Specs = lambda digest: None) -> None:
        self._tolerance_ulp = tolerance_ulp
        self._specs = specs
        self._approved: dict[tuple[str, str], Approved | None] = {}
        self._terms: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._long: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
        self._previous: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._passed_ms: dict[tuple[str, str], int] = {}

    def take(self, record: Mapping[str, Any]) -> Recomputation:
        """The next record, as JSON gives it.

        Raises:
            RecordUnusable: its parts do not fit together.
        """
        level = str(record["spec_sha256"]), str(record["level"])
        # Behind a window that is not here, nobody can say what it would have added to the evidence.
        follows = self._passed_ms.get(level) == record["window"]["start_ms"]
        previous = self._previous.get(level) if follows else None
        approved = self._approved_of(level)
        found = worked_out(
            record,
            self.correction_of(record),
            previous,
            terms=self._terms.get(level) if approved is None else approved.terms,
            promised={} if approved is None else approved.privacy,
            tolerance_ulp=self._tolerance_ulp,
        )
        self.keep(record)
        return found

    def keep(self, record: Mapping[str, Any]) -> None:
        """Let a record pass without working it out."""
        level = str(record["spec_sha256"]), str(record["level"])
        self._passed_ms[level] = max(record["window"]["end_ms"], self._passed_ms.get(level, 0))
        detection = record.get("detection")
        if detection is not None:
            self._previous[level] = record
            # The first one's, also over a hole: a record that has others differs, and so does every other like it.
            self._terms.setdefault(level, {name: detection[name] for name in TERMS})
        if record["rectifier"] is not None:
            kept = self._long.setdefault(level, {})
            kept[record["window"]["end_ms"]] = record
            if len(kept) > _LONG_WINDOWS:
                del kept[min(kept)]

    def _approved_of(self, level: tuple[str, str]) -> Approved | None:
        if level not in self._approved:
            spec = self._specs(bytes.fromhex(level[0]))
            has_level = spec is not None and level[1] in [each.name for each in spec.levels]
            self._approved[level] = Approved.of(spec, level[1]) if spec is not None and has_level else None
        return self._approved[level]

    def correction_of(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The record that a record names as the one that corrects it; None where it names none or it has not passed."""
        by = record.get("corrected_by")
        if by is None:
            return None
        return self._long.get((record["spec_sha256"], by["level"]), {}).get(by["end_ms"])


def worked_out(
    record: Mapping[str, Any],
    corrected_by: Mapping[str, Any] | None,
    previous: Mapping[str, Any] | None,
    *,
    terms: Mapping[str, Any] | None = None,
    promised: Mapping[str, float | None] | None = None,
    tolerance_ulp: int = 0,
) -> Recomputation:
    """Every number of a record: what it says of the groups, and the epsilons that follow from its rhos.

    Args:
        record, corrected_by, previous, terms, tolerance_ulp: those of :func:`estimator.recompute`, as the errors are.
        promised: what the approved spec promises, by its names in ``privacy``.
    """
    found = recompute(record, corrected_by, previous, terms=terms, tolerance_ulp=tolerance_ulp)
    privacy = record.get("privacy")
    if privacy is None:
        return found
    expected = {name: told(privacy[rho], privacy["delta"]) for name, rho, told in _EPSILONS} | dict(promised or {})
    differing = [
        Discrepancy(f"privacy.{name}", privacy.get(name), again)
        for name, again in expected.items()
        if privacy.get(name) != again
    ]
    compared = found.compared + len(expected)
    return replace(found, compared=compared, discrepancies=(*found.discrepancies, *differing))


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
