"""A company's own model, about other groups than race: its numbers, Self-ID and names from end to end; and mix-ups."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy import Measurement, parse_measurement
from secure_agg import SCALE
from streams.errors import GroupModelUnusable
from streams.inprocess import InProcessPipeline
from streams.records.frame import Kind, kind_of

START_MS = 1_700_000_040_000
PARTITIONS = 2
SPEC = """
id: {id}
purpose: another model
source: {{topic: {id}, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [1m], lateness: 1s}}
{groups}
privacy:
  contribution_cap: 24
  cap_rule: first
  rho_member_day: 0.1
  channel_shares: {{table: 0.5, moments: 0.1, rectifier: 0.4}}
test_only: {{noise_scale_units: 0.01}}
"""


class GenderModel:
    """P(woman) by title and by the length of a given name; made up, and quite another thing than race."""

    groups = ("women", "men", "other")
    attributes = ("title", "given_name")
    code_width = 2

    def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
        title = [{"Ms": 1, "Mr": 2}.get(text or "", 0) for text in attributes["title"]]
        length = [min(len(text or ""), 9) for text in attributes["given_name"]]
        return np.array([title, length], np.uint32).T.reshape(-1, 2)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        women = np.array([0.5, 0.97, 0.02])[codes[:, 0]] - codes[:, 1] / 1024
        return np.stack((women, 0.99 - women, np.full(len(codes), 0.01)), axis=1)


def gender(**changes: str) -> Measurement:
    """A measurement of the model's groups."""
    terms = {"id": "ev", "groups": "groups: [women, men, other]\nreference: men"} | changes
    return parse_measurement(SPEC.format(**terms), origin="test").with_effective_from(START_MS)


def made(folder: Path, model: GenderModel, *specs: Measurement) -> InProcessPipeline:
    """A pipeline with 60 members of every kind."""
    sources = {spec.source.topic: 1 for spec in specs}
    pipeline = InProcessPipeline(
        folder / "keys", partitions=PARTITIONS, sources=sources, start_ms=START_MS, model=model
    )
    for spec in specs:
        pipeline.approve(spec)
    for k in range(60):
        key = b"m%02d" % k
        said = (None, "women", ["men"], ["women", "other"], ["white"])[k % 5]
        attributes = {
            "title": ("Ms", "Mr", None)[k % 3],
            "given_name": "x" * (k % 7),
            "self_id": said,
            "family_name": 7,
        }
        value = json.dumps(attributes).encode()
        pipeline.write_attributes(key, value)
    pipeline.run()
    return pipeline


def minute(pipeline: InProcessPipeline, *topics: str) -> None:
    """70 seconds: each member once a second for a minute, as one of his two decisions."""
    for second in range(75):
        pipeline.log.clock_ms += 1000
        for k in range(60) if second < 50 else range(0):
            if (second + k) % 10 == 0:
                event = {"m": f"m{k:02d}", "ts": pipeline.log.clock_ms - 10, "r": k % 2 == 0}
                for topic in topics:
                    pipeline.log.append(topic, 0, json.dumps(event).encode())
        pipeline.run()


def units(k: int) -> list[int]:
    """Member k's fixed-point probabilities, by hand."""
    women = (0.97, 0.02, 0.5)[k % 3] - (k % 7) / 1024
    edges = [0, round(women * SCALE), round(0.99 * SCALE), SCALE]
    return [after - before for before, after in itertools.pairwise(edges)]


def test_a_models_groups_go_through_the_whole_pipeline(tmp_path: Path) -> None:
    """Table, rectifier and moments of a company's groups equal a plain loop's, and results bear the groups' names."""
    pipeline = made(tmp_path, GenderModel(), gender())
    minute(pipeline, "ev")
    table, rectifier, diagonal = np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(3)
    for k in range(60):
        p, cell = np.array(units(k)), int(k % 2 == 0)
        said = {1: [SCALE, 0, 0], 2: [0, SCALE, 0], 3: [SCALE // 2, 0, SCALE // 2]}.get(k % 5)
        table[cell] += 5 * p
        diagonal += 5 * np.rint(p * p / SCALE)
        if said is not None:
            rectifier[cell] += 5 * (np.array(said) - p)
    (window,) = [w for w in pipeline.published if w.level == "1m" and w.window.start_ms == START_MS]
    assert window.table is not None and window.moments is not None and window.rectifier is not None
    assert window.table.groups == window.moments.groups == window.rectifier.groups == ("women", "men", "other")
    assert np.array_equal(np.array(window.table.values) * SCALE, table)
    assert np.array_equal(np.array(window.rectifier.values) * SCALE, rectifier)
    assert np.array_equal(np.diag(np.array(window.moments.products)) * SCALE, diagonal)
    assert (window.moments.rows, window.moments.self_id_rows) == (300, 180)
    for estimator in ("weighted", "corrected", "rectified"):
        named = "+".join(result.group for result in window.results if result.estimator == estimator)
        assert sorted(named.split("+")) == ["men", "other", "women"]  # corrected may have had to pool them
    assert window.reference == "men"
    assert all(w.rectifier is None for w in pipeline.published if w.level == "10s")


def test_a_measurement_of_other_groups_stops_and_counts_nothing(tmp_path: Path) -> None:
    """A measurement whose groups are not the model's, or in another order, stops with both lists in the message."""
    for number, groups in enumerate(("reference: white", "groups: [men, women, other]\nreference: men")):
        pipeline = made(tmp_path / str(number), GenderModel(), gender(groups=groups))
        minute(pipeline, "ev")
        (message, *_) = pipeline.stage("attach").stopped().values()
        assert "women, men, other" in message
        assert ("white, black, api" if number == 0 else "men, women, other") in message
        assert all(kind_of(value) is not Kind.SHARES for value in pipeline.log.values("shares"))
        counted = pipeline.stage("attach")._counted  # type: ignore[attr-defined]
        assert counted._days == {}
        assert pipeline.published == []


class Careless(GenderModel):
    """Fine with members of whom nothing is known, and wrong with those who have a title."""

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        return super().posterior_of_codes(codes) * np.where(codes[:, :1] == 1, np.nan, 1.0)


def test_a_model_that_gives_no_probabilities_ends_the_role(tmp_path: Path) -> None:
    """NaN for some members spoils no total: the role ends with a message that tells no number."""
    pipeline = made(tmp_path, Careless(), gender())
    with pytest.raises(GroupModelUnusable, match="the group model gave no probabilities"):
        minute(pipeline, "ev")
    assert pipeline.published == []
