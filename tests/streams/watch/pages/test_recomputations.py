"""A window is worked out again once, whoever asks."""

from __future__ import annotations

from estimator import Recomputation
from estimator.recompute import Discrepancy
from streams.watch.pages import recomputations
from streams.watch.pages.recomputations import Recomputations


class Worked:
    """Counts, and finds so many discrepancies."""

    def __init__(self, discrepancies: int = 0) -> None:
        self.times = 0
        self._found = (Discrepancy("somewhere", 1.0, 2.0),) * discrepancies

    def __call__(self) -> Recomputation:
        self.times += 1
        return Recomputation(1, self._found, ())


def test_the_same_records_are_worked_out_once() -> None:
    """All parts count, and their order; what cannot be worked out is remembered as well."""
    kept, worked = Recomputations(), Worked()
    for _ in range(3):
        assert kept.once(worked, {"a": 1.5}, None, {"b": 2}).compared == 1  # type: ignore[union-attr]
    assert worked.times == 1
    for parts in (({"a": 1.25}, None, {"b": 2}), ({"a": 1.5}, {"b": 2}, None), ({"a": 1.5}, None, {"b": 2}, "ab")):
        kept.once(worked, *parts)
    assert worked.times == 4
    assert kept.once(lambda: None, "x") is kept.once(Worked(), "x") is None


def test_what_is_kept_is_bounded() -> None:
    """By how many windows, and by how much is said of them; those that were asked for last stay."""
    kept, worked = Recomputations(10), Worked()
    for number in range(100):
        kept.once(worked, 0)
        kept.once(worked, number)
    assert worked.times == 100
    assert len(kept._kept) == 10
    kept, worked = Recomputations(), Worked(recomputations._MOST_DISCREPANCIES // 4)
    for number in range(12):
        kept.once(worked, number)
    assert len(kept._kept) == 4
    kept.once(worked, 11)
    assert worked.times == 12
