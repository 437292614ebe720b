"""What a record says beside what follows from its parts: values are compared in depth, and those that differ kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from estimator.detection import DetectorName
from estimator.disparity import Disparities
from estimator.reestimate import Record

_ULP = 2.0**-52
_RESULT = ("metric", "score_bin", "group", "estimator")
_NUMBERS = ("value", "gap", "ratio", "suppressed")
_GATHERED = ("log_evidence", "alarm", "alarm_since_ms")


@dataclass(frozen=True)
class Discrepancy:
    """Where a record says something else than its parts: a path as in ``results[3].gap.lower``, and both numbers."""

    where: str
    published: object
    recomputed: object

    def __str__(self) -> str:
        return f"{self.where}: published {self.published!r}, recomputed {self.recomputed!r}"


class Comparison:
    """Counts what is compared, and keeps what is not equal.

    Args:
        tolerance_ulp: how many units of 2^-52 two numbers may differ by.
    """

    def __init__(self, tolerance_ulp: int = 0) -> None:
        self.count = 0
        self.discrepancies: list[Discrepancy] = []
        self._tolerance = tolerance_ulp * _ULP

    def value(self, where: str, published: Any, recomputed: Any) -> None:
        """Compare two values of JSON, in depth."""
        if isinstance(published, Mapping) and isinstance(recomputed, Mapping):
            for name, part in recomputed.items():
                self.value(f"{where}.{name}", published.get(name), part)
            return
        if isinstance(published, list) and isinstance(recomputed, list) and len(published) == len(recomputed):
            for number, part in enumerate(recomputed):
                self.value(f"{where}[{number}]", published[number], part)
            return
        self.holds(self._same(published, recomputed), where, published, recomputed)

    def holds(self, held: bool, where: str, published: object, expected: object) -> None:
        """A condition on a published value; ``expected`` says in words or numbers what would meet it."""
        self.count += 1
        if not held:
            self.discrepancies.append(Discrepancy(where, published, expected))

    def _same(self, one: Any, other: Any) -> bool:
        if _is_number(one) and _is_number(other):
            return bool(one == other or abs(one - other) <= self._tolerance * max(1.0, abs(one), abs(other)))
        return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)  # to Python True is 1

    def results(self, published: Sequence[Record], found: Disparities, *, leave_out: str | None) -> None:
        """Every result in its place, by name."""
        expected = [(n, r) for n, r in enumerate(published) if r["estimator"] != leave_out]
        self.value("results: how many", len(expected), len(found.results))
        for (number, result), again in zip(expected, found.results, strict=False):
            where = f"results[{number}]"
            for name in _RESULT:
                self.value(f"{where}.{name}", result[name], getattr(again, name))
            for name in _NUMBERS:
                part = getattr(again, name)
                self.value(f"{where}.{name}", result[name], part if isinstance(part, str | None) else asdict(part))

    def gathered(
        self, results: Sequence[Record], said: Mapping[DetectorName, Mapping[str, Any]], estimator: str | None
    ) -> None:
        """What the detectors say in the results: of those that they watch, and nothing of the others."""
        for number, result in enumerate(results):
            name = result["metric"], result["score_bin"], result["group"]
            expected = said.get(name) if result["estimator"] == estimator else None
            for field in _GATHERED:
                if expected is not None or result.get(field) is not None:
                    self.value(f"results[{number}].{field}", result.get(field), (expected or {}).get(field))

    def excess(self, record: Record, found: Disparities) -> None:
        """What the detectors took in of this window: of the estimator that they watch, and nothing of the others."""
        said = record.get("detection")
        estimator = None if said is None else said["estimator"]
        again = {(each.metric, each.score_bin, each.group, each.estimator): each.excess for each in found.results}
        for number, result in enumerate(record["results"]):
            own = again.get(tuple(result[name] for name in _RESULT)) if result["estimator"] == estimator else None
            if own is not None or result.get("excess") is not None:
                self.value(f"results[{number}].excess", result.get("excess"), None if own is None else asdict(own))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
