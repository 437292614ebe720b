"""The demo's result in sentences, as the live page says it: who is treated worse, by how much, how sure that is, at
what cost in privacy."""

from __future__ import annotations

from collections.abc import Iterator

from streams.records.metric import FairnessMetric
from streams.report.numbers import shown_epsilon
from streams.watch import shown_record
from streams.watch.pages import words


def in_words(window: FairnessMetric, *, length_ms: int) -> Iterator[str]:
    """What a published window says; each a sentence or two.

    Args:
        length_ms: of the window's level.
    """
    record = shown_record.read(window.encode())
    assert record is not None  # it was encoded here
    yield f"Who, and by how much: {words.headline(record)}"
    alarms = [result for result in record.results if result.alarm]
    if record.detection is not None:
        found = "No alarm stands."
        if alarms:
            names = words.listed([f"{words.metric(r.metric, r.score_bin).lower()} of {r.group}" for r in alarms])
            found = f"An alarm stands, for {names}."
        yield f"How sure: {found} {words.promise(record.detection, length_ms)}"
    yield from _corrected(record)
    cost = record.privacy
    if cost is not None:
        yield (
            f"What it cost: epsilon {shown_epsilon(cost.epsilon_spent)} at delta {cost.delta:g}, rho {cost.rho:g}, for "
            f"{cost.unit}, if the member's race probabilities were replaced by any others; all "
            f"measurements together may spend rho {cost.rho_limit:g}."
        )


def _corrected(record: shown_record.ShownRecord) -> Iterator[str]:
    """The same group and statistic, corrected for what the weighted estimate understates."""
    worst = words.clearest(record)
    if worst is None:
        return
    same = (worst.metric, worst.score_bin, worst.group, "corrected")
    for result in record.results:
        if (result.metric, result.score_bin, result.group, result.estimator) == same and result.gap is not None:
            yield f"Not understated: corrected for mixed-up groups, the gap is {words.interval(result.gap, gap=True)}."
