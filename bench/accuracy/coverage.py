"""Do 95 % intervals hold the truth 95 times in 100? Windows of every world, by every estimator, with and without noise.

Each repetition draws a long window (and, where the world has them, a short one that is read with the long one's
correction) and reads it through the public :func:`estimator.disparities`. A repetition's seed is its number, so that
neither the number of processes nor the order changes a figure, and the peers' rules see the same draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bench.accuracy.tally import Coverage, Tally
from bench.accuracy.worlds import LAYOUT, NO_NOISE, WORLDS, Inhabited, Window, World, add_noise, noise_of
from estimator import Correction, Disparities, NoiseVariance, disparities

LOW, HIGH = 0.93, 0.97
ERRORS = 2.0
"""Monte-Carlo standard errors by which a share may miss ``LOW`` or ``HIGH`` before it counts as outside."""
MIN_SHOWN = 0.5
"""What is shown in fewer windows is shown where chance made it look precise: reported, never judged."""
ALARM_LIMIT = 0.01

_DRAWING, _NOISE = 0, 1


def generator(world: World, repetition: int, purpose: int = _DRAWING) -> np.random.Generator:
    """The generator of one repetition; the same for everyone who looks at this world's windows."""
    return np.random.default_rng([*world.name.encode(), repetition, purpose])


def read(window: Window, world: World, noise: NoiseVariance, correction: Correction | None = None) -> Disparities:
    """All estimators on one window, with its own rectifier or an earlier window's correction."""
    return disparities(
        window.table,
        cells=LAYOUT,
        reference="white",
        noise_variance=noise,
        moments=window.moments,
        rectifier=None if correction is not None else window.rectifier,
        correction=correction,
        rows_per_member=world.rows_per_member,
    )


def repeat(inhabited: Inhabited, first: int, count: int) -> Tally:
    """Repetitions ``first`` to ``first + count - 1`` of one world."""
    world, truth, tally = inhabited.world, inhabited.truth(), Tally()
    looks = [("no noise", NO_NOISE)]
    if world.rho is not None:
        looks.append(("noise", noise_of(world.rho, world.rows_per_member)))
    for repetition in range(first, first + count):
        rng, noise_rng = generator(world, repetition), generator(world, repetition, _NOISE)
        window = inhabited.draw(rng, world.rows)
        short = inhabited.draw(rng, world.short_rows) if world.short_rows else None
        for name, noise in looks:
            setting = f"{world.name}, {name}"
            found = read(add_noise(window, noise, noise_rng), world, noise)
            tally.score(setting, found.results, truth)
            if found.agreement is not None:
                tally.events[f"{setting}: compared"] += 1
                if not found.agreement.agree:
                    tally.events[f"{setting}: flagged"] += 1
            if short is not None:
                assert found.correction is not None
                later = read(add_noise(short, noise, noise_rng), world, noise, found.correction).results
                tally.score(f"{setting}, short", [r for r in later if r.estimator == "rectified"], truth)
    return tally


@dataclass(frozen=True)
class Claim:
    """One thing that the figures must show.

    Attributes:
        text: what. holds: whether they do. found: the figures that say so.
        required: whether the campaign fails without it. wide: whether some intervals are wider than they need be.
    """

    text: str
    holds: bool
    found: str
    required: bool = True
    wide: bool = False


def outside(coverage: Coverage) -> int:
    """-1 where a share lies below 93 %, 1 where above 97 %, by more than chance; else 0."""
    if coverage.share < LOW - ERRORS * math.sqrt(LOW * (1 - LOW) / coverage.shown):
        return -1
    return int(coverage.share > HIGH + ERRORS * math.sqrt(HIGH * (1 - HIGH) / coverage.shown))


def judged(coverages: list[Coverage], setting: str, estimator: str) -> list[Coverage]:
    """What is shown often enough to be judged."""
    return [
        c for c in coverages if (c.key.setting, c.key.estimator) == (setting, estimator) and c.shown_share >= MIN_SHOWN
    ]


def interval_claim(coverages: list[Coverage], setting: str, estimator: str) -> Claim:
    """93 to 97 % for every statistic, group and kind that is shown in most windows; above is said, not failed.

    An interval that is cut to [0, 1], or widened by the cap, or Fieller's where the denominator is small, holds the
    truth more often than it promises: the claim then holds, and is called wide.
    """
    found = judged(coverages, setting, estimator)
    low, high = ([c for c in found if outside(c) == side] for side in (-1, 1))
    shares = [c.share for c in found]
    text = f"{setting}: {estimator} intervals hold the truth in 93 to 97 % of windows"
    if not found:
        return Claim(text, False, "nothing was shown in most windows")
    figures = f"{len(found)} intervals, {min(shares):.3f} to {max(shares):.3f}, median {np.median(shares):.3f}"
    if low:
        worst = min(low, key=lambda c: c.share)
        figures += f"; {len(low)} below, the worst {_name(worst)} {worst.share:.3f}"
    if high:
        figures += f"; {len(high)} above (wider than needed): {_names(high)}"
    return Claim(text, not low, figures, wide=bool(high))


def _name(coverage: Coverage) -> str:
    key = coverage.key
    return f"{key.group} {key.metric} {key.kind}"


def _names(coverages: list[Coverage]) -> str:
    """Briefly: the groups, with how many intervals each."""
    groups: dict[str, int] = {}
    for coverage in coverages:
        groups[coverage.key.group] = groups.get(coverage.key.group, 0) + 1
    return ", ".join(f"{group} {count}" for group, count in groups.items())


def failure_claim(coverages: list[Coverage], setting: str, estimator: str) -> Claim:
    """Where its assumption does not hold an estimator must be seen to fail, or the world would test nothing."""
    shares = {
        c.key.metric: c.share
        for c in judged(coverages, setting, estimator)
        if (c.key.group, c.key.kind) == ("black", "gap")
    }
    rate = shares.get("recommendation_rate", 1.0)
    text = f"{setting}: {estimator} misses the black-white gap, as it must where its assumption fails"
    return Claim(text, rate < LOW, f"recommendation rate: held in {rate:.3f}")


def check_claim(tally: Tally, world: World, setting: str) -> Claim:
    """The check of Hausman's type: quiet where both estimators are right, loud where one is not."""
    compared, flagged = tally.events[f"{setting}: compared"], tally.events[f"{setting}: flagged"]
    rate = flagged / compared if compared else math.nan
    found = f"flagged {flagged:,} of {compared:,} ({rate:.4f})"
    if world.corrected_holds:
        limit = ALARM_LIMIT + ERRORS * math.sqrt(ALARM_LIMIT * (1 - ALARM_LIMIT) / max(compared, 1))
        text = f"{setting}: the check flags at most 1 % where nothing is wrong"
        return Claim(text, rate <= limit, found, required=False)
    return Claim(f"{setting}: power of the check", rate > ALARM_LIMIT, found, required=False)


def claims(tally: Tally, worlds: tuple[World, ...] = WORLDS) -> list[Claim]:
    """Every claim about these worlds."""
    coverages = list(tally.coverages())
    found = []
    for world in worlds:
        for look in ("no noise", "noise") if world.rho is not None else ("no noise",):
            setting = f"{world.name}, {look}"
            found.append(interval_claim(coverages, setting, "rectified"))
            if world.short_rows:
                found.append(interval_claim(coverages, f"{setting}, short", "rectified"))
            if world.corrected_holds:
                found.append(interval_claim(coverages, setting, "corrected"))
            else:
                found.append(failure_claim(coverages, setting, "corrected"))
            if world.disparity == "none":
                found.append(replace(interval_claim(coverages, setting, "weighted"), required=False))
            else:
                found.append(replace(failure_claim(coverages, setting, "weighted"), required=world.rarity == 1.0))
            found.append(check_claim(tally, world, setting))
    return found
