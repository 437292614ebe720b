"""The simulated recommender: what is planted is in the truth, and what is written is what the truth says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from estimator import GROUPS
from privacy import parse_measurement
from streams.roles.decoding import EventDecoder
from streams.simulate import RECOMMENDED_RATIO, UNFAIR_RATIO, Events, SimulatedMembers, SimulatedRecommender, encode

START_MS, TURN_MS, END_MS = 1_764_000_000_000, 1_764_000_060_000, 1_764_000_120_000
EXAMPLE = Path(__file__).parents[2] / "examples" / "simulated-feed" / "measurement.yaml"
BLACK = GROUPS.index("black")


@pytest.fixture(scope="module")
def members() -> SimulatedMembers:
    """Enough members that each group has some."""
    return SimulatedMembers(np.random.default_rng(1), 20_000)


def recommender(members: SimulatedMembers, *, seed: int = 2, unfair_from_ms: int | None = None) -> SimulatedRecommender:
    """A recommender that is fair unless told otherwise."""
    return SimulatedRecommender(np.random.default_rng(seed), members, unfair_from_ms)


def ratio(events: Events, chosen: NDArray[np.bool_]) -> tuple[float, float]:
    """How often the chosen events are recommended, and five standard errors of it."""
    found = float(events.recommended[chosen].mean())
    return found, 5 * (found * (1 - found) / int(chosen.sum())) ** 0.5


def test_the_planted_gap_is_there_and_nothing_before_it(members: SimulatedMembers) -> None:
    """From the turn on, and not before, black members are recommended half as often; no one else at any time is."""
    events = recommender(members, unfair_from_ms=TURN_MS).draw(START_MS, END_MS, 300_000)
    race = members.people.race[events.member]
    before, black = events.time_ms < TURN_MS, race == BLACK
    assert 140_000 < before.sum() < 160_000
    for chosen, expected in (
        (before & black, RECOMMENDED_RATIO),
        (~before & black, UNFAIR_RATIO),
        (before & ~black, RECOMMENDED_RATIO),
        (~before & ~black, RECOMMENDED_RATIO),
    ):
        found, margin = ratio(events, chosen)
        assert margin < 0.03
        assert abs(found - expected) < margin


def test_the_turn_is_at_its_millisecond(members: SimulatedMembers) -> None:
    """Turning unfair changes no event before the turn, and after it only whether black members are recommended."""
    fair = recommender(members).draw(START_MS, END_MS, 50_000)
    unfair = recommender(members, unfair_from_ms=TURN_MS).draw(START_MS, END_MS, 50_000)
    for name in ("time_ms", "member", "score", "clicked"):
        assert np.array_equal(getattr(fair, name), getattr(unfair, name))
    changed = fair.recommended != unfair.recommended
    assert changed.any()
    assert (members.people.race[fair.member[changed]] == BLACK).all()
    assert (fair.time_ms[changed] >= TURN_MS).all()
    assert not unfair.recommended[changed].any()


def test_without_a_turn_all_groups_are_alike(members: SimulatedMembers) -> None:
    """A fair recommender has no gap between any group and the rest, in recommendations, scores or outcomes."""
    events = recommender(members).draw(START_MS, END_MS, 300_000)
    race = members.people.race[events.member]
    for group in range(len(GROUPS)):
        found, margin = ratio(events, race == group)
        assert abs(found - RECOMMENDED_RATIO) < max(margin, 0.01)
        chosen = race == group
        assert abs(events.score[chosen].mean() - 0.5) < 5 * 0.23 / int(chosen.sum()) ** 0.5


def test_outcomes_depend_on_the_score_alone(members: SimulatedMembers) -> None:
    """Given the score, being recommended says nothing of the click: what is planted is in the recommendations only."""
    events = recommender(members, unfair_from_ms=START_MS).draw(START_MS, END_MS, 300_000)
    expected = 0.1 + 0.6 * events.score
    for chosen in (events.recommended, ~events.recommended, members.people.race[events.member] == BLACK):
        assert abs((events.clicked - expected)[chosen].mean()) < 5 * 0.5 / int(chosen.sum()) ** 0.5


def test_events_are_in_their_time(members: SimulatedMembers) -> None:
    """Times lie in [start, end) and never fall; scores are written with four decimals; members exist."""
    events = recommender(members).draw(START_MS, START_MS + 50, 10_000)
    assert events.time_ms.min() == START_MS
    assert events.time_ms.max() == START_MS + 49
    assert (np.diff(events.time_ms) >= 0).all()
    assert np.array_equal(np.round(events.score, 4), events.score)
    assert ((events.member >= 0) & (events.member < members.count)).all()


def test_a_seed_gives_the_same_simulation(members: SimulatedMembers) -> None:
    """The same seed draws the same members and events, another one others."""
    again = SimulatedMembers(np.random.default_rng(1), 20_000)
    assert list(again.attributes())[:50] == list(members.attributes())[:50]
    one, same, other = (recommender(members, seed=seed).draw(START_MS, END_MS, 100) for seed in (2, 2, 3))
    assert list(encode(one)) == list(encode(same))
    assert list(encode(one)) != list(encode(other))


def test_json_matches_the_arrays(members: SimulatedMembers) -> None:
    """Every event is written with just what the arrays hold, under its member's key, and holds no race."""
    events = recommender(members).draw(START_MS, END_MS, 500)
    written = list(encode(events))
    assert len(written) == 500
    for place, (key, value) in enumerate(written):
        assert key == b"m%09d" % events.member[place]
        assert json.loads(value) == {
            "member_id": key.decode(),
            "shown_at": int(events.time_ms[place]),
            "score": float(events.score[place]),
            "recommended": bool(events.recommended[place]),
            "clicked": bool(events.clicked[place]),
        }


def test_cells_are_those_that_seal_computes(members: SimulatedMembers) -> None:
    """The cell in the truth is the cell that the example's measurement gives the JSON, on the edges of bins as well."""
    drawn = recommender(members).draw(START_MS, END_MS, 3000)
    score = np.concatenate([drawn.score[:-10], np.array([0, 0.2, 0.4, 0.6, 0.8, 1, 0.1999, 0.2001, 0.7999, 0.8001])])
    events = Events(drawn.time_ms, drawn.member, score, drawn.recommended, drawn.clicked)
    decoder = EventDecoder(parse_measurement(EXAMPLE.read_text(), origin="example"))
    decoded = decoder.decode([value for _, value in encode(events)])
    assert decoded.refused == []
    assert np.array_equal(decoded.rows.cells, events.cell)
    assert np.array_equal(decoded.rows.time_ms, events.time_ms)
    assert decoded.rows.members.tolist() == [b"m%09d" % member for member in events.member]
    assert set(events.cell) == set(range(20))


def test_attributes_are_the_members_own(members: SimulatedMembers) -> None:
    """Each member has one record with family name and ZCTA, and nothing of its race."""
    records = list(members.attributes())
    assert [key for key, _ in records] == [SimulatedMembers.member_id(index) for index in range(members.count)]
    for index in (0, 1, members.count - 1):
        attributes = json.loads(records[index][1])
        assert attributes == {
            "family_name": str(members.people.surname[index]),
            "zcta": str(members.people.zcta[index]),
        }


def test_the_truth_is_what_was_drawn(members: SimulatedMembers, tmp_path: Path) -> None:
    """The file holds every event of every draw, in order, with its member's race and its cell."""
    drawing = recommender(members, unfair_from_ms=TURN_MS)
    draws = [drawing.draw(START_MS + 1000 * step, START_MS + 1000 * (step + 1), 100 * step) for step in range(1, 4)]
    drawing.write_truth(tmp_path / "truth.npz")
    with np.load(tmp_path / "truth.npz") as truth:
        assert np.array_equal(truth["time_ms"], np.concatenate([events.time_ms for events in draws]))
        assert np.array_equal(truth["cell"], np.concatenate([events.cell for events in draws]))
        assert np.array_equal(truth["race"], members.people.race[truth["member"]])
        assert tuple(truth["groups"]) == GROUPS
        assert truth["time_ms"].size == 600


def test_the_truth_of_nothing_is_empty(members: SimulatedMembers, tmp_path: Path) -> None:
    """A simulation that ended before its first event has a truth without events, and raises nothing."""
    drawing = recommender(members)
    drawing.write_truth(tmp_path / "truth.npz")
    with np.load(tmp_path / "truth.npz") as truth:
        assert truth["time_ms"].shape == truth["race"].shape == truth["cell"].shape == (0,)
        assert truth["cell"].dtype == np.int64


# -- what may be planted ----------------------------------------------------------------------------------------------


def test_through_place_race_itself_changes_nothing(members: SimulatedMembers) -> None:
    """Under `place` members of one ZCTA have one chance, whatever their race, lower the more black adults are there."""
    chance = members.recommended_ratio("place", 0.3)
    places, where = np.unique(members.people.zcta, return_inverse=True)
    lowest, highest = np.full(places.size, 2.0), np.zeros(places.size)
    np.minimum.at(lowest, where, chance)
    np.maximum.at(highest, where, chance)
    assert np.array_equal(lowest, highest)
    assert chance.min() >= 0
    assert chance.max() <= RECOMMENDED_RATIO
    share = (RECOMMENDED_RATIO - chance) / 0.3
    # The share of black adults in a member's place is the chance that the member is black.
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 1.0)):
        here = (share >= low) & (share < high)
        black = members.people.race[here] == BLACK
        assert abs(black.mean() - share[here].mean()) < 5 * (0.25 / here.sum()) ** 0.5


def test_the_true_rates_are_what_is_seen(members: SimulatedMembers) -> None:
    """Every group's recommendations come at the rate that the truth states, under each disparity and gap."""
    for disparity, gap in (("direct", 0.1), ("place", 0.25), ("none", 0.15)):
        drawing = SimulatedRecommender(np.random.default_rng(3), members, START_MS, disparity, gap)
        events = drawing.draw(START_MS, END_MS, 300_000)
        race = members.people.race[events.member]
        for group, rate in enumerate(drawing.true_rates):
            found, margin = ratio(events, race == group)
            assert abs(found - rate) < max(margin, 0.01)
        gap_found = drawing.true_rates[GROUPS.index("white")] - drawing.true_rates[BLACK]
        assert gap_found == pytest.approx({"direct": 0.1, "none": 0.0}.get(disparity, gap_found))
        assert disparity != "place" or gap_found > 0.03


def test_the_default_is_what_the_demo_plays(members: SimulatedMembers) -> None:
    """Without options black members' rate is halved, exactly."""
    chance = members.recommended_ratio("direct", RECOMMENDED_RATIO - UNFAIR_RATIO)
    assert set(chance[members.people.race == BLACK]) == {UNFAIR_RATIO}
    assert set(chance[members.people.race != BLACK]) == {RECOMMENDED_RATIO}


def test_a_gap_that_cannot_be_is_refused(members: SimulatedMembers) -> None:
    """A rate cannot fall below 0, nor a gap be negative."""
    for gap in (-0.01, 0.31):
        with pytest.raises(ValueError, match="between 0 and"):
            members.recommended_ratio("direct", gap)


def test_some_say_their_group() -> None:
    """The share that is asked for says its true group, at random, and who the members are stays the same."""
    silent = SimulatedMembers(np.random.default_rng(1), 20_000)
    members = SimulatedMembers(np.random.default_rng(1), 20_000, self_id_share=0.1)
    assert abs(members.said.mean() - 0.1) < 5 * (0.09 / 20_000) ** 0.5
    assert not silent.said.any()
    for index, ((key, value), (same_key, plain)) in enumerate(
        zip(members.attributes(), silent.attributes(), strict=True)
    ):
        expected = json.loads(plain)
        if members.said[index]:
            expected["self_id"] = [GROUPS[members.people.race[index]]]
        assert (key, json.loads(value)) == (same_key, expected)
    said = np.bincount(members.people.race[members.said], minlength=len(GROUPS))
    everyone = np.bincount(members.people.race, minlength=len(GROUPS))
    assert (np.abs(said - 0.1 * everyone) < 5 * np.sqrt(0.09 * everyone) + 1).all()


def test_the_truth_states_the_rates(members: SimulatedMembers, tmp_path: Path) -> None:
    """The file holds each group's rates before and after the turn, and when that is."""
    drawing = SimulatedRecommender(np.random.default_rng(2), members, TURN_MS, "place", 0.3)
    drawing.write_truth(tmp_path / "truth.npz")
    with np.load(tmp_path / "truth.npz") as truth:
        assert truth["fair_rates"].tolist() == [RECOMMENDED_RATIO] * len(GROUPS)
        assert np.array_equal(truth["unfair_rates"], drawing.true_rates)
        assert truth["unfair_from_ms"] == TURN_MS
