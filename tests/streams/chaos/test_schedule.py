"""The schedule of faults."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streams.chaos.schedule import KINDS, LEAST_KILLS, ROLES, plan

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_a_seed_is_a_schedule(seed: int) -> None:
    """The same seed gives the same faults, targets and pauses; the next one does not."""
    assert plan(seed, 8) == plan(seed, 8)
    assert plan(seed, 8) != plan(seed + 1, 8)


@given(SEEDS)
def test_eight_minutes_hold_every_kind_and_enough_kills(seed: int) -> None:
    """Every kind of fault comes, at least 60 roles are killed, and each of the five at least nine times."""
    faults = plan(seed, 8)
    assert len({fault.kind for fault in faults}) == len(KINDS)
    assert sum(fault.kills for fault in faults) >= LEAST_KILLS
    killed = Counter(role.partition(".")[0] for fault in faults if fault.kills for role in fault.roles)
    assert all(killed[role] >= 9 for role in ROLES), killed


@given(SEEDS)
def test_the_short_form_kills_each_role_the_broker_and_leaves_a_zombie(seed: int) -> None:
    """Two minutes kill each role, one of them mid-transaction, twice and in start-up, the broker once; one zombie."""
    faults = plan(seed, 2)
    kinds = Counter(fault.kind for fault in faults)
    assert kinds["broker kill"] == kinds["zombie"] == 1
    assert kinds["kill in a transaction"] >= 3 and kinds["kill twice in a second"] and kinds["kill in start-up"]
    assert 12 <= sum(fault.kills for fault in faults) <= 15
    assert {fault.roles[0] for fault in faults if fault.kind == "kill"} == set(ROLES)


@given(SEEDS)
def test_only_roles_with_long_transactions_are_caught_in_one(seed: int) -> None:
    """One of publish's lasts some milliseconds a window: none is looked for to time out or to be cut."""
    caught = ("kill in a transaction", "transaction time-out")
    assert all("publish" not in fault.roles for fault in plan(seed, 8) if fault.kind in caught)


def test_a_schedule_may_be_left_at_some_kinds() -> None:
    """What is left comes in the same order as in the whole schedule."""
    whole = [fault for fault in plan(3, 8) if fault.kind in ("zombie", "hand-over")]
    assert list(plan(3, 8, ["hand-over", "zombie"])) == whole
    assert len(whole) == 4
