"""Working the windows of a topic, or of a file, out again, in their order (``estimator.recompute``).

Some numbers of a window follow from another record as well: `rectified` results of a short window from the long one
that corrected it, and evidence from the window before. Those are kept at hand as they pass.
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
from estimator.recompute import Discrepancy
from privacy import epsilon
from streams.errors import InputError, RecordMalformed
from streams.records.metric import FairnessMetric

_LONG_WINDOWS = 16
"""Kept of a level: publish uses a correction for 8 of its lengths."""

_EPSILONS = (("epsilon_spent", "rho"), ("epsilon_limit", "rho_limit"))


class Recomputer:
    """Takes in records in their order, and works each out again from what has passed.

    Args:
        tolerance_ulp: as for :func:`estimator.recompute`.
    """

    def __init__(self, tolerance_ulp: int = 0) -> None:
        self._tolerance_ulp = tolerance_ulp
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
        found = worked_out(record, self.correction_of(record), previous, tolerance_ulp=self._tolerance_ulp)
        self.keep(record)
        return found

    def keep(self, record: Mapping[str, Any]) -> None:
        """Let a record pass without working it out."""
        level = str(record["spec_sha256"]), str(record["level"])
        self._passed_ms[level] = max(record["window"]["end_ms"], self._passed_ms.get(level, 0))
        if record.get("detection") is not None:
            self._previous[level] = record
        if record["rectifier"] is not None:
            kept = self._long.setdefault(level, {})
            kept[record["window"]["end_ms"]] = record
            if len(kept) > _LONG_WINDOWS:
                del kept[min(kept)]

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
    tolerance_ulp: int = 0,
) -> Recomputation:
    """Every number of a record: what it says of the groups, and the epsilons that follow from its rhos.

    Args and errors: those of :func:`estimator.recompute`.
    """
    found = recompute(record, corrected_by, previous, tolerance_ulp=tolerance_ulp)
    privacy = record.get("privacy") or {}
    differing, compared = list(found.discrepancies), found.compared
    for name, rho in _EPSILONS:
        published = privacy.get(name)
        if published is not None:
            compared += 1
            again = epsilon(privacy[rho], privacy["delta"])
            if published != again:
                differing.append(Discrepancy(f"privacy.{name}", published, again))
    return replace(found, compared=compared, discrepancies=tuple(differing))


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
