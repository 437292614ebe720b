"""A check of the group model on a company's members, as text or JSON: aggregates only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.model_check import LEAST_COUNT, LEAST_SELF_ID, ModelCheck

_HIDDEN = f"< {LEAST_COUNT}"
_SHARES = (
    "Group shares are means of probabilities, with 95 % intervals: of these members (sum of p (1 - p) / n^2), and of "
    "the population from which they were drawn (sampling as well). Both hold if the probabilities are calibrated."
)
_NOT_CALIBRATED = (
    "More than 3 deviations off: the probabilities are not calibrated for these members. Weighted and corrected "
    "estimates lean on them; rectified ones do not."
)


def as_text(check: ModelCheck, console: Console) -> None:
    """Print it."""
    console.print(f"{check.members:,} members; nothing is shown about fewer than {LEAST_COUNT}", highlight=False)
    for name, count in (
        ("opted out, in no figure", check.opted_out),
        ("records that cannot be read: their members do not count", check.unreadable),
        ("Self-IDs that cannot be read: their members count without", check.unreadable_self_ids),
    ):
        console.print(f"{_count(count):>12}  {name}", markup=False, highlight=False)
    for title, kinds in (("family name", check.surname), ("given name", check.given_name), ("place", check.place)):
        if kinds:
            shown = Table("match" if title != "place" else "known by", "members", "share", title=title,
                          title_justify="left", title_style="bold")  # fmt: skip
            for kind, count in kinds.items():
                shown.add_row(kind, _count(count), "" if count is None else f"{100 * count / check.members:.1f} %")
            console.print(shown)
    shares = Table("group", "share", "± of these members", "± of their population", title="group shares",
                   title_justify="left", title_style="bold")  # fmt: skip
    for one in check.shares:
        shares.add_row(one.group, f"{one.share:.4f}", f"{one.of_members:.4f}", f"{one.of_population:.4f}")
    console.print(shares)
    console.print(_SHARES, markup=False, highlight=False, soft_wrap=True)
    _self_id(check, console)


def _self_id(check: ModelCheck, console: Console) -> None:
    share = "" if check.self_id is None else f" ({100 * check.self_id / check.members:.1f} %)"
    console.print(f"Self-ID: {_count(check.self_id)} members{share}", markup=False, highlight=False)
    if not check.calibration:
        console.print(f"calibration needs {LEAST_SELF_ID} of them", markup=False, highlight=False)
        return
    shown = Table("group", "expected by p", "said", "deviations", title="calibration against Self-ID",
                  title_justify="left", title_style="bold")  # fmt: skip
    for one in check.calibration:
        if one.expected is None or one.said is None or one.deviations is None:
            shown.add_row(one.group, "hidden", "hidden", "")
        else:
            shown.add_row(one.group, f"{one.expected:.3f}", f"{one.said:.3f}", f"{one.deviations:+.1f}")
    console.print(shown)
    console.print(
        f"log-loss {check.log_loss:.3f} nats; {check.baseline:.3f} if everyone had the shares above",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if any(one.deviations is not None and abs(one.deviations) > 3 for one in check.calibration):
        console.print(_NOT_CALIBRATED, markup=False, highlight=False, soft_wrap=True)


def _count(count: int | None) -> str:
    return _HIDDEN if count is None else f"{count:,}"


def as_json(check: ModelCheck) -> dict[str, Any]:
    """Everything, as JSON has it; null is hidden."""
    return asdict(check) | {"least_count": LEAST_COUNT}
