"""What a member can spend in any window of days, against a person who tries all days; and the registry's rule."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from privacy import (
    CountingDays,
    Limits,
    LiveRevision,
    Measurement,
    RegistryBudgetError,
    check_registry_budget,
    live_revisions,
    parse_measurement,
    peak_spending,
)
from privacy.budget import DailyDebits, most_spent

TEXT = """
id: ID
revision: REVISION
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: RHO, ROTATION}
"""
ROOMY = Limits(10, 1000, 10_000)
START = 20_000  # 2024-10-04


def spec(
    name: str,
    rho: float,
    begin: int | None = 0,
    end: int | None = None,
    *,
    revision: int = 1,
    rotation: str = "",
) -> Measurement:
    """A measurement that is live from day ``begin`` to before day ``end``, counted from START; halves are allowed."""
    text = TEXT.replace("ID", name).replace("REVISION", str(revision)).replace("RHO", repr(rho))
    text = text.replace(", ROTATION", f", rotation: {rotation}" if rotation else "")
    for field, day in (("effective_from", begin), ("expires", end)):
        if day is not None:
            text += f"{field}: {moment(day)}\n"
    return parse_measurement(text, origin="spec.yaml")


def moment(day: float) -> str:
    """A time so many days after START."""
    return f"{datetime.fromtimestamp((START + day) * 86_400, UTC):%Y-%m-%dT%H:%M:%SZ}"


def person_who_tries_all(costs: list[float], counting: CountingDays, window: range, cycle: int) -> float:
    """The most that anyone spends in these days: every choice of residues, and then of days under the yearly cap."""
    most = 0.0
    for residues in itertools.combinations(range(cycle), min(counting.in_30, cycle)):
        days = sorted((costs[day] for day in window if day % cycle in residues), reverse=True)
        most = max(most, sum(days[: counting.in_year]))
    return most


COSTS = st.lists(st.sampled_from([0.0, 0.0, 0.1, 0.25, 0.4]), min_size=9, max_size=16)


@given(costs=COSTS, k=st.integers(1, 4), y=st.integers(1, 9), days=st.integers(1, 9))
@examples(300)
def test_it_is_what_the_worst_person_spends(costs: list[float], k: int, y: int, days: int) -> None:
    """Cycles of 4 days, windows of up to 9: exactly the worst of all members, and with a yearly cap never less."""
    rho = np.array(costs)
    for counting, exact in ((CountingDays(k, 9), True), (CountingDays(k, y), False)):
        found = most_spent({counting: rho}, days, rotation_days=4)
        assert found.shape == (rho.size - days + 1,)
        for first, spent in enumerate(found):
            worst = person_who_tries_all(costs, counting, range(first, first + days), 4)
            assert spent >= worst - 1e-12
            if exact or days <= 4:
                assert spent == pytest.approx(worst, abs=1e-12)


@given(data=st.data(), days=st.integers(1, 8))
@examples(200)
def test_nobody_spends_more_of_several_rotations(data: st.DataObject, days: int) -> None:
    """Two rotations, whose days are one order's first k: no order of residues costs a member more than is said."""
    costs = [data.draw(st.lists(st.floats(0, 1), min_size=10, max_size=10)) for _ in range(2)]
    ks = [data.draw(st.integers(1, 4)) for _ in range(2)]
    daily: dict[CountingDays, np.ndarray] = {}
    for k, cost in zip(ks, costs, strict=True):
        daily[CountingDays(k, 9)] = daily.get(CountingDays(k, 9), np.zeros(10)) + np.array(cost)
    found = most_spent(daily, days, rotation_days=4)
    for order in itertools.permutations(range(4)):
        for first, spent in enumerate(found):
            own = sum(
                cost[day]
                for k, cost in zip(ks, costs, strict=True)
                for day in range(first, first + days)
                if order.index(day % 4) < k
            )
            assert own <= spent + 1e-12


@given(data=st.data(), days=st.sampled_from([1, 30, 365]))
@examples(60)
def test_it_is_at_most_each_revision_at_its_own_worst(data: st.DataObject, days: int) -> None:
    """Never above the plain rule: for each revision min(k or Y, days on which it is live) times rho, added up."""
    ones = data.draw(revisions(longest=500))
    spread = sum(
        one.rho
        * min(one.counting.in_year if days == 365 else one.counting.in_30, days, (one.end_day or 10**9) - one.first_day)
        for one in ones
    )
    assert peak_spending(ones, days).rho <= spread + 1e-9


@st.composite
def revisions(draw: st.DrawFn, longest: int = 60) -> list[LiveRevision]:
    """Up to four revisions, some without end."""
    ones = []
    for n in range(draw(st.integers(1, 4))):
        k = draw(st.sampled_from([1, 3, 30]))
        first = draw(st.integers(0, longest))
        end = draw(st.one_of(st.none(), st.integers(first + 1, first + longest)))
        rho = draw(st.sampled_from([0.01, 0.1, 0.3]))
        ones.append(LiveRevision(f"m{n}", 1, rho, CountingDays(k, draw(st.sampled_from([13, 365]))), first, end))
    return ones


@given(ones=revisions(), days=st.sampled_from([1, 2, 7, 30]), gap=st.integers(0, 3_000_000))
@examples(150)
def test_cutting_long_stretches_short_changes_nothing(ones: list[LiveRevision], days: int, gap: int) -> None:
    """The peak is that of every window day by day, its first day attains it, and dates far away cost nothing."""
    size = 200
    daily: dict[CountingDays, np.ndarray] = {}
    for one in ones:
        daily.setdefault(one.counting, np.zeros(size))[one.first_day : one.end_day] += one.rho
    plain = most_spent(daily, days)
    found = peak_spending(ones, days)
    assert found.rho == pytest.approx(plain.max())
    assert plain[found.first_day] == pytest.approx(found.rho)
    late = [
        LiveRevision(one.measurement, 1, one.rho, one.counting, one.first_day + gap, one.end_day and one.end_day + gap)
        for one in ones
    ]
    assert peak_spending(late, days).rho == found.rho
    assert peak_spending(late, days).first_day == found.first_day + gap


def test_a_window_that_holds_two_ends_is_found() -> None:
    """The worst window need not begin or end where a revision does: 5 days of one, then 5 of the next."""
    ones = [
        LiveRevision("a", 1, 0.1, CountingDays(5, 65), 0, 100),
        LiveRevision("b", 1, 0.2, CountingDays(6, 77), 100, 200),
    ]
    found = peak_spending(ones, 30)
    assert found.rho == pytest.approx(5 * 0.1 + 6 * 0.2)
    assert found.first_day + 1 >= 100 - 25 and found.first_day + 29 >= 105


def test_an_empty_registry_spends_nothing() -> None:
    """And what ends before it begins is not live."""
    assert peak_spending([], 30).rho == 0
    assert peak_spending([LiveRevision("a", 1, 0.1, CountingDays(), 5, 5)], 30).rho == 0
    check_registry_budget([], Limits(0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    ("days", "rotation", "thirty", "year"),
    [
        (None, "", 3.0, 36.5),
        (7, "", 0.7, 0.7),
        (None, "{days_in_30: 5}", 0.5, 6.5),
        (20, "{days_in_30: 5}", 0.5, 0.5),
        (30, "{days_in_30: 5}", 0.5, 0.5),
        (60, "{days_in_30: 5}", 0.5, 1.0),
        (None, "{days_in_30: 5, days_in_year: 12}", 0.5, 1.2),
        (None, "{days_in_30: 20, days_in_year: 12}", 1.2, 1.2),
    ],
)
def test_what_rho_a_tenth_comes_to(days: int | None, rotation: str, thirty: float, year: float) -> None:
    """Rotation and expiry, as a reviewer would work them out."""
    live = live_revisions([spec("a", 0.1, 0, days, rotation=rotation)])
    assert peak_spending(live, 1).rho == pytest.approx(0.1)
    assert peak_spending(live, 30).rho == pytest.approx(thirty)
    assert peak_spending(live, 365).rho == pytest.approx(year)


# -- the registry -----------------------------------------------------------------------------------------------------


def test_each_period_is_refused_by_name() -> None:
    """The message says who holds what, what is left, when, and what to change."""
    half = spec("a", 0.05, rotation="{days_in_30: 10, days_in_year: 20}")
    new = spec("b", 0.1, rotation="{days_in_30: 6, days_in_year: 18}")
    check_registry_budget([half, new], Limits(0.15, 1.1, 2.8))
    for limits, message in (
        (
            Limits(0.14, 9, 9),
            "'b' asks for rho 0.1 a member-day, but only 0.09 of 0.14 is left (a 0.05) on 2024-10-04: lower its "
            "rho_member_day, let it begin later or expire sooner, or have the registry's limit raised",
        ),
        (
            Limits(0.15, 1.0, 9),
            "'b' asks for rho 0.6 in 30 days, but only 0.5 of 1 is left (a 0.5) from 2024-10-04 to 2024-11-02: lower "
            "its rho_member_day, let rotation count a member on fewer days, let it begin later or expire sooner, or "
            "have the registry's limit raised",
        ),
        (
            Limits(0.15, 9, 2.5),
            "'b' asks for rho 1.8 in a year, but only 1.5 of 2.5 is left (a 1) from 2024-10-04 to 2025-10-03: lower "
            "its rho_member_day, let rotation count a member on fewer days, let it begin later or expire sooner, or "
            "have the registry's limit raised",
        ),
    ):
        with pytest.raises(RegistryBudgetError) as caught:
            check_registry_budget([half, new], limits)
        assert str(caught.value) == message


def test_a_revision_that_takes_over_on_the_same_terms_costs_nothing_more() -> None:
    """Members count on the same days under both, so a full month stays full and no fuller."""
    rotation = "{days_in_30: 10}"
    first, second = spec("a", 0.1, rotation=rotation), spec("a", 0.1, 45, revision=2, rotation=rotation)
    check_registry_budget([first, second], Limits(0.1, 1.0, 12.5))
    dearer = spec("a", 0.2, 45, revision=2, rotation=rotation)
    assert peak_spending(live_revisions([first, dearer]), 1).rho == 0.2
    with pytest.raises(RegistryBudgetError, match=r"'a' asks for rho 2 in 30 days, but only 1 of 1 is left"):
        check_registry_budget([first, dearer], Limits(0.2, 1.0, 100))


def test_a_day_counts_whole() -> None:
    """One that begins or expires inside a day is live on it; a later revision takes over at its first day."""
    live = live_revisions([spec("a", 0.1, 0.5, 9.25), spec("a", 0.1, 4, revision=2)])  # type: ignore[arg-type]
    assert [(one.revision, one.first_day - START, one.end_day) for one in live] == [
        (1, 0, START + 4),
        (2, 4, None),
    ]
    (alone,) = live_revisions([spec("a", 0.1, 0.5, 9.25)])  # type: ignore[arg-type]
    assert (alone.first_day, alone.end_day) == (START, START + 10)


def test_revocation_frees_the_days_after_it() -> None:
    """The day of the revocation still counts; what is left from the next day on may be had by another."""
    first, second = spec("a", 0.5), spec("b", 0.5, 11)
    with pytest.raises(RegistryBudgetError, match="'b' asks for"):
        check_registry_budget([first, second], Limits.of_day(0.6))
    revoked_ms = (START + 10) * 86_400_000 + 5
    check_registry_budget([first, second], Limits.of_day(0.6), {("a", 1): revoked_ms})
    with pytest.raises(RegistryBudgetError, match="on 2024-10-15"):
        check_registry_budget([first, second], Limits.of_day(0.6), {("a", 1): revoked_ms + 86_400_000})
    with pytest.raises(RegistryBudgetError):  # another revision's revocation frees nothing
        check_registry_budget([first, second], Limits.of_day(0.6), {("a", 2): revoked_ms})
    assert live_revisions([second], {("b", 1): revoked_ms}) == []


def test_thirty_days_hold_also_what_has_expired() -> None:
    """A measurement that begins after another has ended shares its windows: only after 30 days all is free again."""
    first = spec("a", 0.1, 0, 10)
    check_registry_budget([first, spec("b", 0.1, 10, 11)], Limits(0.1, 1.1, 9))
    with pytest.raises(RegistryBudgetError, match=r"'b' asks for rho 1 in 30 days, but only 0\.1 of 1\.1 is left"):
        check_registry_budget([first, spec("b", 0.1, 10, 20)], Limits(0.1, 1.1, 9))
    check_registry_budget([first, spec("b", 0.1, 39, 50)], Limits(0.1, 1.1, 9))


def test_a_registry_of_hundreds_is_quick() -> None:
    """300 revisions over years, some without end and one in the year 9998: a check of a second would be felt."""
    rng = random.Random(3)
    ones = [
        spec(f"m{n}", 1e-4, rng.randrange(2000), rotation=f"{{days_in_30: {rng.randrange(1, 31)}}}") for n in range(150)
    ]
    ones += [spec("long", 1e-4, 30 * n, revision=n + 1) for n in range(150)]
    far = spec("far", 1e-4).model_copy(update={"effective_from": datetime(9998, 1, 1, tzinfo=UTC)})
    began = datetime.now(UTC)
    check_registry_budget([*ones, far], ROOMY)
    assert (datetime.now(UTC) - began).total_seconds() < 5
    with pytest.raises(RegistryBudgetError, match=r"'far' asks for .* from 9998-01-01"):
        check_registry_budget([*ones, far], Limits(1, 10, peak_spending(live_revisions(ones), 365).rho))


# -- days in any order ------------------------------------------------------------------------------------------------


def shuffled_days() -> Iterator[tuple[int, CountingDays, float]]:
    """Debits of two rotations on 90 days, in no order."""
    rng = random.Random(7)
    for day in rng.sample(range(START, START + 90), 60):
        yield day, rng.choice([CountingDays(4, 48), CountingDays(30, 365)]), rng.choice([0.1, 0.2])


@pytest.mark.parametrize("days", [1, 30, 365])
def test_debits_in_any_order_are_judged_by_every_window_that_holds_the_day(days: int) -> None:
    """What one more debit makes of its windows is the peak of all windows that hold its day, worked out afresh."""
    debits, ones = DailyDebits(), []
    for day, counting, rho in shuffled_days():
        asked = debits.peak_with(day, counting, rho, days)
        debits.add(day, counting, rho)
        ones.append(LiveRevision("m", 1, rho, counting, day, day + 1))
        around = range(day - 2 * days, day + 2 * days)
        daily = {
            c: np.array([sum(o.rho for o in ones if o.counting == c and o.first_day == d) for d in around])
            for c in {one.counting for one in ones}
        }
        windows = most_spent(daily, days)[days + 1 : 2 * days + 1]
        assert asked.rho == pytest.approx(windows.max())
        assert asked.first_day <= day < asked.first_day + days
        assert debits.spent(day, days) == pytest.approx(windows[0])
