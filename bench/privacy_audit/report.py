"""What the audit found: a table on the terminal and docs/privacy-audit.md; nothing of either is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.accuracy.report import table
from bench.privacy_audit.audit import ALL, Audit, Caught, Finding
from bench.privacy_audit.neighbours import CAP, PARTIES, RHO
from bench.privacy_audit.statistic import DELTA, ERROR, epsilon_of

COLUMNS = (
    "relation", "neighbouring inputs", "channel", "promised mu", "of this pair", "measured (a, b)",
    "at least (a, b)", "promised epsilon", "measured (a, b)", "at least (a, b)", "",
)  # fmt: skip
PLANT_COLUMNS = (
    "planted bug", "looked for on", "seen in", "promised mu", "measured", "at least", "promised epsilon", "measured",
    "at least", "caught",
)  # fmt: skip


def verdict(audit: Audit) -> str:
    """One line."""
    if audit.problems:
        return "FAILS: " + "; ".join(audit.problems)
    return (
        f"holds: no lower bound on mu passes the promised one in {len(audit.good)} checks, and "
        f"{sum(caught.times for caught in audit.planted)} of {sum(len(c.strongest) for c in audit.planted)} planted "
        "bugs are caught"
    )


def good_rows(audit: Audit) -> list[list[str]]:
    """A row a pair and channel, both parties in it."""
    rows = []
    for first in (finding for finding in audit.good if finding.party == PARTIES[0]):
        both = [f for f in audit.good if (f.pair, f.channel) == (first.pair, first.channel)]
        bad = [word for word in ("breaks", "wastes") if any(getattr(finding, word) for finding in both)]
        rows.append(
            [
                first.pair.relation.replace("_", " or "),
                first.pair.name,
                first.channel,
                f"{first.promised:.3f}",
                f"{first.expected:.3f}",
                ", ".join(f"{f.told.estimate:.3f}" for f in both),
                ", ".join(f"{f.told.lower:.3f}" for f in both),
                f"{epsilon_of(first.promised):.2f}",
                ", ".join(f"{epsilon_of(f.told.estimate):.2f}" for f in both),
                ", ".join(f"{epsilon_of(f.told.lower):.2f}" for f in both),
                " and ".join(bad) or "holds",
            ]
        )
    return rows


def plant_rows(audit: Audit) -> list[list[str]]:
    """A row a planted bug; figures are of the repetition in which it was seen least."""
    return [_plant_row(caught) for caught in audit.planted]


def _plant_row(caught: Caught) -> list[str]:
    least = min(caught.strongest, key=lambda finding: finding.told.lower - finding.promised)
    return [
        caught.plant.name,
        f"{least.pair.relation.replace('_', ' or ')}: {least.pair.name}",
        least.channel,
        f"{least.promised:.3f}",
        f"{least.told.estimate:.3f}",
        f"{least.told.lower:.3f}",
        f"{epsilon_of(least.promised):.2f}",
        f"{epsilon_of(least.told.estimate):.2f}",
        f"{epsilon_of(least.told.lower):.2f}",
        f"{caught.times} of {len(caught.strongest)}",
    ]


def show(audit: Audit, console: Console) -> None:
    """Print it."""
    for title, columns, rows in (
        (f"The build as it is, {audit.size.windows:,} windows a side", COLUMNS, good_rows(audit)),
        (f"Planted bugs, {audit.size.planted:,} windows a side", PLANT_COLUMNS, plant_rows(audit)),
    ):
        shown = Table(title=title)
        for column in columns:
            shown.add_column(column)
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(verdict(audit))


def write(audit: Audit, path: Path) -> None:
    """Write the page."""
    size = audit.size
    tight = [f for f in audit.good if f.channel in f.pair.worst_for or f.pair.relation == "add_remove"]
    nearest = _share([f.told.estimate / f.promised for f in tight])
    path.write_text(f"""# Privacy audit

Is the noise what the budget says? Written by `make audit-privacy` (bench/privacy_audit); do not edit. **It
{verdict(audit)}.**

## How

- **Who attacks.** Someone who knows everything but one member's day: all other rows, and *one party's share without
  its noise*. So what is looked at is the other party's release: truth plus one party's noise. The published sum has
  twice the promised variance; half the noise, a noise drawn twice or one party's missing draw would hide in it.
  Both parties are looked at in turn.
- **Which code runs.** All of it, in process: JSON events through seal, attach (group model, Self-ID, cap, channels,
  shares), both parties' windows, ledger and noise, to the signed bytes of the release, which are decoded again. One
  level of 10 s, c {CAP}, rho {RHO} a member-day, three channels. Each window has a target of its own, with two
  events of which one may count: so each window is a trial.
- **Neighbouring inputs.** The worst that there are: group probabilities that are certain, a Self-ID that says
  otherwise. *Replace*: the target's secret is another one. *Add or remove*: its events are there, or not. No pair
  is the worst in all channels at once on replacement, so there are two; "of this pair" is the mu that the promised
  noise gives on exactly that pair.
- **Statistic.** The projection of the release on the line between the two truths, all channels weighed by their mu:
  the most powerful test between two Gaussians. The threshold was fixed beforehand, half-way. "At least" is
  `Phi^-1(1 - FNR) - Phi^-1(FPR)` from Clopper-Pearson upper bounds on both error rates, each at {ERROR:g}: a lower
  bound on the Gaussian-DP parameter mu. "Measured" is the distance of the means in standard deviations.
- **Promise.** mu = sqrt(2 rho), rho of the channel on that relation, by OpenDP's map; of all channels, their rho
  together. Epsilon at delta {DELTA:g} is mu's own, exact for a Gaussian; the epsilon that evenstream states is
  converted from rho, and larger.
- **It must** stay below the promise everywhere, and must not waste: measured no more than six standard errors
  below "of this pair". Sums before noise equal the oracle's to the last unit: {"yes" if audit.exact else "**no**"}.

## The build as it is

{size.windows:,} windows a side. Where a pair is the worst of its relation, measured over promised mu is {nearest}.

{table(COLUMNS, good_rows(audit))}

## Planted bugs

Wrappers around the product's code, in the bench alone. Each is looked for {size.repetitions} times with noise of
its own, by turns of both parties, with {size.planted:,} windows a side: what a weaker audit catches, the whole one
catches. Figures are of the repetition, and the channel, in which it was seen least clearly.

{table(PLANT_COLUMNS, plant_rows(audit))}

## What it cannot show

- A lower bound never proves a promise: it fails to break it. The proof is the mechanism's
  ([privacy](privacy.md#mechanism-and-calibration)).
- Distances over several windows, levels and days, and hours as the cap's rule:
  `tests/pipeline/test_one_member_day.py` compares these before noise, exactly.
- Noise of a party that does not follow the protocol; and what the noise's generator, the operating system's, may be
  worth.
""")


def _share(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f} (median {np.median(ratios):.2f})"


__all__ = ["ALL", "Finding", "good_rows", "plant_rows", "show", "verdict", "write"]
