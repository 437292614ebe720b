"""docs/accuracy.md, its figures and its summary, from the campaign's numbers: nothing there is written by hand.

``docs/accuracy/peers.json``, where it exists, becomes the section "Peers' tools":
``{"text": str, "columns": [str, ...], "rows": [[str or number, ...], ...]}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy import coverage, figures, noise_cost, peers, pipeline, primaries
from bench.accuracy.coverage import Claim
from bench.accuracy.tally import Coverage, Tally
from bench.accuracy.worlds import WORLDS, World

Figures = Mapping[str, Any]
_ENOUGH_ANSWERS = 30
METHODS = (*peers.RULES, *peers.PLAIN.values())


def write(found: Figures, out: Path) -> list[Claim]:
    """Write everything into ``out``; returns the required claims that fail.

    Args:
        found: a part's name -> its numbers, as :data:`bench.accuracy.campaign.PARTS` made them.
    """
    folder = out / "accuracy"
    folder.mkdir(parents=True, exist_ok=True)
    tally, published = Tally.from_json(found["coverage"]), Tally.from_json(found["pipeline"])
    claims = [*coverage.claims(tally), *pipeline.claims(published)]
    _draw(found, tally, folder)
    sections = [
        _head(found, claims),
        _method(found),
        _coverage(found, tally),
        _assumption(tally),
        _check(tally),
        _peers(found),
        _tools(folder),
        _primaries(found),
        _noise_cost(found),
        _published(published),
        _short(tally, claims),
        _verdicts(claims),
    ]
    (out / "accuracy.md").write_text("\n\n".join(section.strip() for section in sections if section) + "\n")
    (folder / "summary.json").write_text(_summary(found, tally, published, claims))
    return [claim for claim in claims if claim.required and not claim.holds]


# -- tables -----------------------------------------------------------------------------------------------------------


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers that are floats get three decimals."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def settings_of(world: World) -> list[str]:
    """Every way in which a world is looked at."""
    looks = [f"{world.name}, {look}" for look in (("no noise", "noise") if world.rho is not None else ("no noise",))]
    return [setting for look in looks for setting in ((look, f"{look}, short") if world.short_rows else (look,))]


def _by_setting(tally: Tally, settings: Sequence[str]) -> dict[tuple[str, str], list[Coverage]]:
    coverages = list(tally.coverages())
    pairs = [(setting, estimator) for setting in settings for estimator in figures.ESTIMATORS]
    return {pair: found for pair in pairs if (found := coverage.judged(coverages, *pair))}


def _coverage_rows(groups: Mapping[tuple[str, str], Sequence[Coverage]]) -> list[list[object]]:
    rows: list[list[object]] = []
    for (setting, estimator), found in groups.items():
        shares = [c.share for c in found]
        sides = [coverage.outside(c) for c in found]
        gap = _headline(found)
        rows.append(
            [
                setting,
                estimator,
                len(found),
                sides.count(-1),
                sides.count(1),
                min(shares),
                float(np.median(shares)),
                max(shares),
                "-" if gap is None else f"{gap.share:.3f} ± {gap.error:.3f}",
                None if gap is None else gap.half_width,
                None if gap is None else gap.shown_share,
            ]
        )
    return rows


def _headline(found: Sequence[Coverage]) -> Coverage | None:
    """The black-white gap of recommendation rates."""
    wanted = ("recommendation_rate", "black", "gap")
    return next((c for c in found if (c.key.metric, c.key.group, c.key.kind) == wanted), None)


COVERAGE_COLUMNS = (
    "world, noise", "estimator", "intervals", "below 93 %", "above 97 %", "least", "median", "most",
    "black-white gap of recommendation rates", "its half-width", "shown in",
)  # fmt: skip


# -- sections ---------------------------------------------------------------------------------------------------------


def _head(found: Figures, claims: Sequence[Claim]) -> str:
    required = [claim for claim in claims if claim.required]
    failed = [claim for claim in required if not claim.holds]
    wide = sum(claim.wide and claim.holds for claim in required)
    verdict = f"{len(required) - len(failed)} of {len(required)} required claims hold"
    if wide:
        verdict += f", {wide} of them with some intervals that are wider than they need be"
    failing = "".join(f"\n- **fails**: {claim.text}; {claim.found}" for claim in failed)
    return f"""# Accuracy

Do the estimates tell the truth, and do the 95 % intervals hold it 95 times in 100? Written by `make accuracy`
(bench/accuracy), figures and text; do not edit. **{verdict}** ([all of them](#verdicts)).{failing}

In short: the *rectified* estimator needs people who say their group, and nothing else, and its intervals are to hold
the truth in every world. The *corrected* one is sharper and needs no one to say anything, but it is wrong where place
matters by itself, and then confidently so. The *weighted* one is right only where race says nothing that name and
place do not, and the peers' thresholds are right nowhere but where there is nothing to find."""


def _method(found: Figures) -> str:
    repetitions = found["coverage"]["repetitions"]
    worlds = table(
        ("world", "what is planted", "rows", "rows a member", "say their group", "noise"),
        [
            [w.name, w.text, w.rows, w.rows_per_member, f"{w.self_id:.0%}", "-" if w.rho is None else f"rho {w.rho}"]
            for w in WORLDS
        ],
    )
    return f"""## How

People are drawn from the Census tables, place by population, race by place, surname by race: never from the posterior,
so the proxy is judged by something that does not know it. Each world plants chances of a recommendation and of a good
outcome; the truth of every statistic by race is an exact mean over two million people. A window draws its rows anew
from them, sums them into the 20 cells of the simulated feed, and is read by the public `estimator.disparities`:
value, gap and ratio to white of every group, for the recommendation rate, the true positive rate and predictive parity
in the middle score bin. {repetitions:,} windows a world.

{worlds}

"Short" windows have a fifth of the rows and no rectifier of their own: they are read with the correction that the long
window learned. With noise, a member-day's rho is split evenly over table, moments and rectifier, both parties' noise
is added, and a row budget of one day falls into one window. Rows of one member are drawn either all alike, the worst
case that the cap bounds, or independently given the member.

What is counted:

- A suppressed number is not shown, and coverage is of what is shown. An interval that is shown in under half of the
  windows is shown where chance made it look precise: that is selection, so it is not judged (the summary has it).
- A share is *below* 93 % or *above* 97 % when it is so by more than two Monte-Carlo standard errors
  (.0057 and .0038 at 2,000 windows). Below is a failure. Above is said: the interval is wider than it need be.
- Groups that `corrected` pools ("native+multiple") are held against the truth of all their members.
- Everything is in docs/accuracy/summary.json: coverage, Monte-Carlo error, shown share, width, bias."""


def _coverage(found: Figures, tally: Tally) -> str:
    settings = [setting for world in WORLDS for setting in settings_of(world)]
    groups = _by_setting(tally, settings)
    above = _above(groups)
    return f"""## Coverage

![Share of intervals that hold the truth, by world and estimator; the band is 93 to 97 %](accuracy/coverage.png)

Each mark is one interval (statistic, group, and value, gap or ratio). Weighted is right where race says nothing that
name and place do not (`none`, and `place` but for its .02 by race); corrected where name and place say nothing that
race does not (`direct`, `none`); rectified needs neither.

{table(COVERAGE_COLUMNS, _coverage_rows(groups))}

Where more than 97 % hold the truth, intervals are wider than they need be: cut at 0 (rare outcomes), with a small
denominator (Fieller), or widened by a cap that the rows did not need. Weighted intervals use a bound throughout, and
are left out here. The cases:

{above}

Members with many rows: the variance is bounded by the cap, `rows_per_member` times that of independent rows. Where a
member's rows are all alike the bound is reached, and the coverage is that of single rows. Where they are independent
given the member, intervals are up to the cap's square root too wide, and hold the truth almost always: the price of
not knowing. A cap of 1 costs nothing."""


def _above(groups: Mapping[tuple[str, str], Sequence[Coverage]]) -> str:
    rows: list[list[object]] = []
    for (setting, estimator), found in groups.items():
        wide = [c for c in found if coverage.outside(c) == 1]
        if estimator != "weighted" and wide:
            names = dict.fromkeys(c.key.group for c in wide)
            kinds = {kind: sum(c.key.kind == kind for c in wide) for kind in ("value", "gap", "ratio")}
            rows.append([setting, estimator, *kinds.values(), max(c.share for c in wide), ", ".join(names)])
    if not rows:
        return "None."
    return table(("world, noise", "estimator", "values", "gaps", "ratios", "most", "groups"), rows)


def _assumption(tally: Tally) -> str:
    coverages = list(tally.coverages())
    rows: list[list[object]] = []
    for world in WORLDS:
        if world.corrected_holds and world.name not in ("direct", "none"):
            continue
        for estimator in figures.ESTIMATORS:
            gap = _headline(
                [c for c in coverages if (c.key.setting, c.key.estimator) == (f"{world.name}, no noise", estimator)]
            )
            if gap is not None:
                rows.append(
                    [
                        world.name,
                        estimator,
                        gap.bias,
                        gap.deviation,
                        gap.half_width,
                        f"{gap.share:.3f} ± {gap.error:.3f}",
                    ]
                )
    columns = ("world", "estimator", "mean error of the gap", "deviation", "half-width", "holds the truth")
    return f"""## Where the assumption fails

`corrected` takes outcomes to be independent of name and place given race. In `place` they are not, and its errors have
a sign and no end: more rows only make it surer. Black-white gap of recommendation rates, without noise:

{table(columns, rows)}"""


def _check(tally: Tally) -> str:
    rows: list[list[object]] = []
    for world in WORLDS:
        for setting in settings_of(world):
            compared = tally.events[f"{setting}: compared"]
            if compared:
                rate = tally.events[f"{setting}: flagged"] / compared
                error = (max(rate, 1 / compared) * (1 - rate) / compared) ** 0.5
                kind = "false alarms" if world.corrected_holds else "power"
                rows.append([setting, kind, compared, f"{rate:.4f} ± {error:.4f}"])
    return f"""## The check that the two agree

A test of Hausman's type compares corrected and rectified, at 1 % over all statistics and groups of a window. In
`place` it should flag; elsewhere hardly ever. It sees what the rectified estimator can see: with few who say their
group, or much noise, it is silent, and silence then says nothing.

{table(("world, noise", "what it is", "windows", "flagged"), rows)}"""


def _peers(found: Figures) -> str:
    coverages = list(Tally.from_json(found["peers"]).coverages())
    rows = [
        [c.key.setting, method, c.bias, c.deviation, (c.bias**2 + c.deviation**2) ** 0.5, c.half_width, c.share]
        for world in peers.COMPARED
        for metric in ("recommendation_rate",)
        for method in METHODS
        for c in coverages
        if (c.key.setting, c.key.estimator, c.key.metric) == (world, method, metric)
    ]
    columns = ("world", "method", "bias", "deviation", "root mean square error", "half-width", "holds the truth")
    return f"""## Against the peers' practice

The same draws ({found["peers"]["repetitions"]:,} windows a world, no noise), by what is done elsewhere: everyone is
assigned the likeliest group (thresholded BISG), or only those whose probability is above .5 or .8, or rows are weighted
by their probabilities. Black-white gap of recommendation rates:

![Error of the black-white gap by method and world](accuracy/peers.png)

{table(columns, rows)}

Dots are mean errors, bars hold 95 % of single windows. An assigned group's interval knows of sampling alone, so it is
narrow around the wrong place."""


def _tools(folder: Path) -> str:
    path = folder / "peers.json"
    if not path.exists():
        return ""
    value = json.loads(path.read_text())
    return f"## Peers' tools\n\n{value.get('text', '')}\n\n{table(value['columns'], value['rows'])}"


def _primaries(found: Figures) -> str:
    part = found["primaries"]
    truth = {(metric, group): (value, int(n)) for metric, group, value, n in part["truth"]}
    exact = {(e, metric, group): interval for e, metric, group, interval in part["exact"]}
    pooled = {(e, metric, one): group for e, metric, group in exact for one in group.split("+")}
    noised = {(c.key.estimator, c.key.metric, c.key.group): c for c in Tally.from_json(part["noised"]).coverages()}
    sections = []
    for metric, title in primaries.METRICS.items():
        rows = []
        for (of, group), (value, n) in truth.items():
            if of == metric:
                row: list[object] = [group, value, n]
                for estimator in figures.ESTIMATORS:
                    name = pooled.get((estimator, metric, group))
                    row.append("-" if name is None else _interval(exact[estimator, metric, name]) + _pool_note(name))
                for estimator in figures.ESTIMATORS:
                    c = noised.get((estimator, metric, group))
                    row.append(
                        "-" if c is None else f"{value + c.bias:.3f} ± {c.half_width:.3f} in {c.shown_share:.0%}"
                    )
                rows.append(row)
        columns = ("group", "own answers", "n", *figures.ESTIMATORS, *(f"{e}, noised" for e in figures.ESTIMATORS))
        sections.append(f"{title}:\n\n{table(columns, rows)}")
    tables = "\n\n".join(sections)
    return f"""## A real log

The 2022 primaries ([examples/primaries-2022](../examples/primaries-2022/README.md)): {part["rows"]:,.0f} candidacies,
{part["self_id_rows"]:,.0f} of them by someone whose Self-ID the estimators may see. "Own answers" are those of
candidates who say one race (truth.csv), which no estimator sees. "Noised" is with the measurement's rho of .5 over
{part["repetitions"]:,} draws: the mean estimate, its mean half-width and how often it is shown; weighted has all of rho
for its table, corrected and rectified share it with moments and rectifier.

![Estimates without noise beside the candidates' own answers](accuracy/primaries.png)

{tables}

Without Self-ID there are weighted and corrected; with it, rectified and the check. A log of this size is small: a few
dozen endorsed candidates a group, so "too few" is often all that can honestly be said. {_missed(truth, exact)}"""


def _missed(truth: Mapping[tuple[str, str], tuple[float, int]], exact: Mapping[Any, Sequence[float]]) -> str:
    """Which intervals without noise miss what at least 30 candidates say."""
    compared, missed = 0, []
    for (estimator, metric, group), (_, lower, upper) in exact.items():
        value, count = truth.get((metric, group), (0.0, 0))
        if count >= _ENOUGH_ANSWERS:
            compared += 1
            if not lower <= value <= upper:
                missed.append(f"{estimator} {primaries.METRICS[metric]} {group}")
    which = f" all but {len(missed)} hold them ({', '.join(missed)})" if missed else " all hold them"
    return f"Of {compared} intervals without noise for which {_ENOUGH_ANSWERS} or more own answers exist,{which}."


def _pool_note(name: str) -> str:
    return f" ({name})" if "+" in name else ""


def _interval(ends: Sequence[float]) -> str:
    estimate, lower, upper = ends
    return f"{estimate:.3f} [{lower:.3f}, {upper:.3f}]"


def _noise_cost(found: Figures) -> str:
    part = found["noise_cost"]
    widths = {(p[0], p[2], p[3], p[4]): p[5] for p in part["points"]}
    epsilons = {p[0]: p[1] for p in part["points"]}
    rows: list[list[object]] = []
    for count in (10_000, 100_000, 1_000_000):
        for rho in (*noise_cost.EPSILONS, 0.0):
            epsilon = "no noise" if epsilons[rho] is None else f"{epsilons[rho]:.2f}"
            values = [widths[rho, count, e, "recommendation_rate"] for e in figures.ESTIMATORS]
            rows.append([count, rho or None, epsilon, *values])
    columns = ("rows", "rho", f"epsilon (delta {part['delta']:.0e})", *figures.ESTIMATORS)
    return f"""## What the noise costs

Half-width of the black-white gap of recommendation rates in the expected window of the world `direct` (one row a
member, 10 % say their group); where a line ends, the number is suppressed.

![Half-width against epsilon and rows](accuracy/noise.png)

{table(columns, rows)}

Weighted is cheap, and narrow around another value than the truth (above). The rectifier pays most: its sensitivity is
twice the table's, and its noise is divided by the share who say their group. So it belongs to the longest level;
shorter windows use the correction that it learned."""


def _published(tally: Tally) -> str:
    events = tally.events
    settings = sorted({c.key.setting for c in tally.coverages()})
    rows = _coverage_rows(_by_setting(tally, settings))
    windows = sum(count for name, count in events.items() if name.endswith(": windows"))
    each = ", ".join(
        f"{d} {sum(c for n, c in events.items() if n.startswith(d) and n.endswith(': windows')):,}"
        for d in pipeline.GAPS
    )
    speed = events["rows"] / max(events["milliseconds"], 1) * 1000
    present = sorted({c.key.estimator for c in tally.coverages()})
    return f"""## Through the whole pipeline

The same question of *published* records: {windows:,} windows ({each}) of simulated traffic through
every role in one process (sealing, attaching, both parties' shares and OpenDP noise, publishing),
{events["rows"]:,} rows at {round(speed, -2):,.0f} rows a CPU-second for all roles together. rho is 1 a member-day; one
row a member counts a day. `direct` halves black members' recommendations; `place` takes .3 times the place's share of
black adults off everyone's, whatever their race (so there weighted is right and corrected is not); `none` plants
nothing. The records hold: {", ".join(present)}. Suppressed values do not count as covered. OpenDP draws its noise from
the system, so this section changes in its last digits from run to run.

{table(COVERAGE_COLUMNS, rows)}"""


def _short(tally: Tally, claims: Sequence[Claim]) -> str:
    hidden = [c for c in tally.coverages() if c.shown_share < coverage.MIN_SHOWN and c.shown >= 100]
    low = [c for c in hidden if coverage.outside(c) == -1]
    names = sorted({f"{c.key.group} ({c.key.estimator})" for c in low})
    selected = (
        f"- Of {len(hidden):,} intervals that are shown in under half of the windows, {len(low):,} hold the truth in "
        f"under 93 % of those: they are shown when chance makes them narrow. It happens to {', '.join(names)}.\n"
        if low
        else f"- {len(hidden):,} intervals are shown in under half of the windows; none of them falls below 93 %.\n"
    )
    failed = [claim for claim in claims if not claim.holds]
    alarms = (
        "- Too many flags: a small group's rectified rate has come out near 0 (rare outcomes), or over\n"
        "  a small denominator (noise): its delta-method variance, at the estimate, is too small there.\n"
        if any("the check flags" in claim.text for claim in failed)
        else ""
    )
    open_ = "".join(f"- {claim.text}: {claim.found}.\n" for claim in failed)
    return f"""## What fell short

{selected}{open_}{alarms}- Simulated people have names and places exactly as the Census says: p is calibrated. That of
  real members is not; `rectified` does not mind, `corrected` does, and this page cannot say how much.
- Who says a group is drawn at random. If only a certain kind of member answers, `rectified` is of that kind."""


def _verdicts(claims: Sequence[Claim]) -> str:
    words = {(True, True): "holds", (True, False): "**fails**", (False, True): "so", (False, False): "not so"}
    rows = [
        [words[claim.required, claim.holds] + (", wide" if claim.wide else ""), claim.text, claim.found]
        for claim in claims
    ]
    return f"""## Verdicts

"Holds" and "fails" are of what is required; "so" and "not so" are told only. "Wide": no interval is below 93 %, but
some are above 97 %.

{table(("", "claim", "found"), rows)}"""


# -- figures and summary ----------------------------------------------------------------------------------------------


def _draw(found: Figures, tally: Tally, folder: Path) -> None:
    settings = [setting for world in WORLDS for setting in settings_of(world)]
    figures.coverage_by_world(_by_setting(tally, settings), folder / "coverage.png")
    compared = list(Tally.from_json(found["peers"]).coverages())
    by_world = {world: [c for c in compared if c.key.setting == world] for world in peers.COMPARED}
    figures.peers(by_world, METHODS, "recommendation_rate", folder / "peers.png")
    part = found["primaries"]
    panels: dict[str, dict[str, list[tuple[str, float, float, float]]]] = {}
    truth: dict[str, dict[str, float]] = {}
    for metric, title in primaries.METRICS.items():
        truth[title] = {group: value for of, group, value, n in part["truth"] if of == metric and n >= 9}
        panels[title] = {}
        for estimator, of, group, (estimate, lower, upper) in part["exact"]:
            if of == metric:
                panels[title].setdefault(estimator, []).append((group, estimate, lower, upper))
    figures.primaries(panels, truth, folder / "primaries.png")
    figures.noise_cost(
        found["noise_cost"]["points"],
        "recommendation_rate",
        noise_cost.CURVES,
        noise_cost.EPSILONS,
        folder / "noise.png",
    )


def _summary(found: Figures, tally: Tally, published: Tally, claims: Sequence[Claim]) -> str:
    """JSON, a line an interval, so that a change can be read."""
    fields = ("setting", "estimator", "metric", "score_bin", "group", "kind", "windows", "shown", "coverage", "error",
              "half_width", "bias")  # fmt: skip
    lines = [
        json.dumps(
            [
                *vars(c.key).values(),
                c.windows,
                c.shown,
                *(round(x, 4) for x in (c.share, c.error, c.half_width, c.bias)),
            ]
        )
        for source in (tally, published)
        for c in source.coverages()
    ]
    head = json.dumps(
        {
            "claims": [vars(claim) for claim in claims],
            "repetitions": found["coverage"]["repetitions"],
            "fields": fields,
        },
        indent=1,
    )
    return head[:-2] + ',\n "intervals": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
