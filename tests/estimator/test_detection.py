"""The e-detector: what it promises, what it finds, and that its state is the same whole numbers everywhere."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator import detection
from estimator.detection import BETS, LEAST, NO_ALARM, Detectors, Deviations, Evidence, Gaps
from estimator.intervals import critical_value

F = NDArray[np.float64]
Z = critical_value(0.95)


def gaps(estimate: F | list[float], sigma: F | float = 0.01, confidence: float = 0.95) -> Gaps:
    """Gaps with intervals as wide as their standard deviation makes them."""
    at, half = np.asarray(estimate, np.float64), critical_value(confidence) * np.asarray(sigma)
    return Gaps(at, at - half, at + half, confidence)


def run(detectors: Detectors, estimates: F, sigma: float = 0.01) -> Evidence:
    """After windows of estimates of shape (windows, ...)."""
    state = Evidence.none(estimates.shape[1:])
    for number, window in enumerate(estimates, 1):
        state = detectors.after(state, gaps(window, sigma), number)
    return state


def with_log_m(state: Evidence, log_m: int) -> Evidence:
    """The same state with every M at one value."""
    logs = np.full_like(state.above, log_m)
    return Evidence(logs, logs, state.breach_windows, state.alarm_since_ms, np.ones_like(state.seen))


# -- the promise ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.02, -0.02, 0.0])
def test_the_first_false_alarm_comes_after_the_promised_windows(gap: float) -> None:
    """With the true gap anywhere within the tolerated one, at its edge too, 3 detectors of A = 100 keep it together."""
    promised, runs, longest = 100, 400, 800
    detectors, rng = Detectors(0.02, promised, 3), np.random.default_rng(1)
    state, first = Evidence.none((runs, 3)), np.full(runs, longest)
    for window in range(1, longest + 1):
        state = detectors.after(state, gaps(rng.normal(gap, 0.01, (runs, 3))), window)
        first = np.where(state.alarm.any(axis=1) & (first == longest), window, first)
    assert first.mean() >= promised
    if gap:
        assert first.mean() < longest / 1.1  # there are false alarms: else nothing was shown


@pytest.mark.parametrize("shown_from", [-0.2, 0.5, 1.5])
def test_a_group_that_is_shown_where_chance_favours_it(shown_from: float) -> None:
    """Suppressed below so many sigma, its gap is off by .5 sigma or more where it is shown: the promise is kept."""
    promised, runs, longest = 100, 400, 400
    detectors, rng = Detectors(0.0, promised, 1), np.random.default_rng(8)
    state, first = Evidence.none(runs), np.full(runs, longest)
    for window in range(1, longest + 1):
        gap = rng.normal(0.0, 1.0, runs)
        state = detectors.after(state, gaps(np.where(gap > shown_from, 0.01 * gap, np.nan)), window)
        first = np.where(state.alarm & (first == longest), window, first)
    assert first.mean() >= promised


@pytest.mark.parametrize("log_m", [LEAST, -300, 0, 300])
@pytest.mark.parametrize("side", ["above", "below"])
def test_a_bet_wins_nothing_on_average_at_the_tolerated_gap(log_m: int, side: str) -> None:
    """E[M_t] is M_{t-1} + 1, less what rounding down to hundredths takes: never more, by quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    edge = 0.02 if side == "above" else -0.02
    before = with_log_m(Evidence.none(points.size), log_m)
    after = Detectors(0.02, 10**12, 1).after(before, gaps(edge + 0.001 * points, 0.001), 1)
    mean = weights @ np.exp(getattr(after, side) / 100)
    due = 1 + (0 if log_m == LEAST else math.exp(log_m / 100))
    assert np.all(mean <= due * (1 + 1e-9))
    assert np.all(mean[:4] >= due * 0.985)  # the boldest bet's mean lies where this grid has few points


# -- what it finds ----------------------------------------------------------------------------------------------------


def windows_to_alarm(gap: float, seed: int, fair: int = 50) -> F:
    """Of 100 detectors that share a promise with 45: how many windows from the change to the alarm."""
    rng, detectors = np.random.default_rng(seed), Detectors(0.02, 259_200, 45)
    estimates = rng.normal(0.0, 0.01, (fair + 400, 100))
    estimates[fair:] += gap
    state, found = Evidence.none(100), np.full(100, np.inf)
    for window, now in enumerate(estimates, 1):
        state = detectors.after(state, gaps(now), window)
        assert window > fair or not state.alarm.any()
        found = np.where(state.alarm & np.isinf(found), window - fair, found)
    return found


def test_larger_gaps_are_found_sooner() -> None:
    """A gap of 3 sigma beyond the tolerated one within 8 windows, of 1 sigma within 60, on either side."""
    large, above, below = windows_to_alarm(0.05, 2), windows_to_alarm(0.03, 3), windows_to_alarm(-0.03, 4)
    assert np.mean(large) < 8
    assert 20 < np.mean(above) < 60
    assert abs(np.mean(above) - np.mean(below)) < 8


def test_an_alarm_ends_some_windows_after_the_gap_has() -> None:
    """However long it lasted: caps keep evidence near its threshold, where it counts for nothing more."""
    detectors, rng = Detectors(0.02, 259_200, 45), np.random.default_rng(5)
    state = run(detectors, rng.normal(0.08, 0.01, (2000, 20)))
    assert state.alarm.all()
    ended = np.full(20, np.inf)
    for window, now in enumerate(rng.normal(0.0, 0.01, (60, 20)), 1):
        state = detectors.after(state, gaps(now), 2000 + window)
        ended = np.where(~state.alarm & np.isinf(ended), window, ended)
    assert ended.max() <= 20


def test_a_small_gap_that_lasts_is_one_alarm() -> None:
    """Half a sigma beyond what is tolerated, evidence wavers about its threshold: 1,500 windows, hardly two alarms."""
    detectors, rng, state = Detectors(0.02, 259_200, 45), np.random.default_rng(7), Evidence.none(50)
    begun = np.zeros(50)
    for window in range(1, 1500):
        state = detectors.after(state, gaps(rng.normal(0.025, 0.01, 50)), window)
        begun += state.alarm_since_ms == window
    assert 1 <= begun.mean() < 2.5


@pytest.mark.parametrize("side", [0.05, -0.05])
@pytest.mark.parametrize("bet", range(len(BETS)))
def test_one_bet_at_its_cap_is_an_alarm(bet: int, side: float) -> None:
    """The cap leaves room for a single bet to raise the alarm alone, and little more."""
    detectors = Detectors(0.02, 1000, 7)
    state = run(detectors, np.full((50, 1), side))
    mine = state.above if side > 0 else state.below
    assert len(set(mine[0].tolist())) == 1
    logs = np.full_like(mine, LEAST)
    logs[0, bet] = mine[0, bet]
    evidence = Evidence(logs, np.full_like(logs, LEAST), np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1, bool))
    assert 0 < evidence.log_evidence[0] - detectors.log_threshold <= math.log(2)


def test_breaches_are_counted_in_windows() -> None:
    """Consecutive windows whose nearer end is beyond what is tolerated; a suppressed one neither counts nor ends it."""
    detectors, state, counts = Detectors(0.02, 100, 1), Evidence.none(1), []
    for gap in (0.05, 0.05, math.nan, -0.05, 0.03, -0.03, -0.05, 0.0):
        state = detectors.after(state, gaps([gap]), 1)
        counts.append(int(state.breach_windows[0]))
    assert counts == [1, 2, 2, 3, 0, 0, 1, 0]


def test_an_alarm_keeps_the_window_with_which_it_began() -> None:
    """Until it ends, over suppressed windows too; the next one has a beginning of its own."""
    detectors, state, since = Detectors(0.02, 20, 1), Evidence.none(1), []
    for end_ms, gap in enumerate([0.0, 0.2, math.nan, 0.2, *[0.0] * 12, -0.2], 1):
        state = detectors.after(state, gaps([gap]), end_ms)
        since.append(int(state.alarm_since_ms[0]))
    assert since[:4] == [NO_ALARM, 2, 2, 2]
    assert since[-2:] == [NO_ALARM, 17]


def test_a_suppressed_gap_takes_its_evidence_with_it() -> None:
    """Of a group never seen there is none, "next to nothing" of one that was, and others keep theirs."""
    detectors, state = Detectors(0.02, 100, 3), Evidence.none(3)
    state = detectors.after(state, gaps([math.nan, 0.03, 0.03]), 1)
    assert np.isnan(state.log_evidence).tolist() == [True, False, False]
    later = detectors.after(state, gaps([math.nan, math.nan, 0.03]), 2)
    assert later.log_evidence[1] == -10 < state.log_evidence[1] < later.log_evidence[2]
    assert np.isnan(later.log_evidence[0])
    assert (later.above[1] == LEAST).all()
    assert (later.below[1] == LEAST).all()
    again = detectors.after(later, gaps([math.nan, 0.03, 0.03]), 3)
    assert again.above[1].tolist() == state.above[1].tolist()


def test_an_alarm_outlasts_a_suppressed_gap() -> None:
    """With its evidence, or it would begin anew, as another one, whenever the group is seen again."""
    detectors = Detectors(0.02, 100, 1)
    state = run(detectors, np.full((10, 1), 0.06))
    later = detectors.after(state, gaps([math.nan]), 11)
    assert later.alarm_since_ms == state.alarm_since_ms != NO_ALARM
    for one, other in zip(vars(later).values(), vars(state).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_alarm_outlasts_windows_without_traffic() -> None:
    """Where no group can be compared, noise alone would let it end; without an alarm evidence moves on."""
    detectors = Detectors(0.02, 100, 2)
    state = run(detectors, np.full((10, 2), [0.06, 0.02]))
    assert (state.alarm_since_ms != NO_ALARM).tolist() == [True, False]
    nothing = Gaps(*np.full((3, 2), np.nan), 0.95, Deviations(np.full(2, -1.0), np.full(2, -1.0)))
    later = detectors.after(state, nothing, 11)
    assert later.above[0].tolist() == state.above[0].tolist()
    assert later.alarm_since_ms.tolist() == state.alarm_since_ms.tolist()
    assert later.above[1].tolist() != state.above[1].tolist()
    seen = Gaps(*np.array([[np.nan, 0.0], [np.nan, -0.01], [np.nan, 0.01]]), 0.95, nothing.excess)
    assert detectors.after(state, seen, 11).above[0].tolist() != state.above[0].tolist()


# -- whole numbers ----------------------------------------------------------------------------------------------------


def by_hand(logs: list[int], deviation: float, cap: int) -> list[int]:
    """One side's next logarithms, in plain Python."""
    found = []
    for log_m, bet in zip(logs, BETS, strict=True):
        plus = math.floor(1e5 * math.log1p(math.exp(-abs(log_m) / 100))) / 1000
        log_plus_one = 0.0 if log_m <= LEAST else max(log_m, 0) + plus
        found.append(min(max(math.floor(log_plus_one + (100 * bet * deviation - 50 * bet**2)), LEAST), cap))
    return found


GAP = st.floats(-1, 1, allow_subnormal=False)
WINDOW = st.tuples(GAP, st.floats(0, 0.5), st.floats(0, 0.5)) | st.none()


@settings(deadline=None)
@given(
    st.lists(WINDOW, max_size=30),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from([(1, 1), (30, 45), (3_000_000_000, 15_000)]),
)
def test_the_state_is_what_plain_python_makes_of_it(
    windows: list[tuple[float, float, float] | None], tau: float, promise: tuple[int, int]
) -> None:
    """Array by array and number by number: the same whole numbers, the same breaches, evidence within a hundredth."""
    detectors, state = Detectors(tau, *promise), Evidence.none(1)
    threshold = math.ceil(100 * math.log(promise[0] * promise[1]))
    above = below = [LEAST] * len(BETS)
    breaches, alarm = 0, False
    for window in windows:
        gap, down, up = (math.nan,) * 3 if window is None else window
        state = detectors.after(state, Gaps(np.array([gap]), np.array([gap - down]), np.array([gap + up]), 0.95), 1)
        if window is not None:
            sigma = max(max((gap + up) - gap, gap - (gap - down)) / round(Z, 9), 1e-6)
            above = by_hand(above, (gap - tau) / sigma, threshold + 299)
            below = by_hand(below, (-gap - tau) / sigma, threshold + 299)
            breaches = breaches + 1 if gap - down > tau or gap + up < -tau else 0
        elif not alarm:
            above = below = [LEAST] * len(BETS)
        assert (state.above[0].tolist(), state.below[0].tolist()) == (above, below)
        assert state.breach_windows[0] == breaches
        if window is not None:
            least = threshold - (300 if alarm else 0)
            alarm = bool(round(100 * state.log_evidence[0]) >= least)
        assert state.alarm[0] == alarm
    if any(window is not None for window in windows):
        parts = [math.exp(log_m / 100) for log_m in above + below if log_m > LEAST]
        exact = math.log(sum(parts) / 10) if parts else -math.inf
        assert state.log_evidence[0] == pytest.approx(max(exact - 0.005, -10), abs=0.0051)


@given(st.lists(GAP, min_size=1, max_size=20), st.floats(0, 0.2))
def test_rounding_only_takes(estimates: list[float], tau: float) -> None:
    """Evidence is never above that of the recursion in plain floating point, without rounding and caps."""
    state = run(Detectors(tau, 10**15, 1), np.array(estimates)[:, np.newaxis], 0.1)
    sigma = 0.1 * Z / round(Z, 9)
    for side, logs in ((1, state.above[0]), (-1, state.below[0])):
        exact = [-math.inf] * len(BETS)
        for gap in estimates:
            z = (side * gap - tau) / sigma
            exact = [np.logaddexp(log_m, 0) + c * z - c * c / 2 for log_m, c in zip(exact, BETS, strict=True)]
        assert np.all((logs / 100 <= np.array(exact) + 1e-6) | (logs == LEAST))


@given(st.lists(GAP, min_size=1, max_size=20), st.data())
def test_a_larger_gap_is_never_less_evidence_on_its_side(estimates: list[float], data: st.DataObject) -> None:
    """Raising any window's gap raises no M below and lowers none above."""
    larger = [gap + data.draw(st.floats(0, 1)) for gap in estimates]
    detectors = Detectors(0.02, 1000, 5)
    less, more = (run(detectors, np.array(each)[:, np.newaxis], 0.1) for each in (estimates, larger))
    assert np.all(more.above >= less.above)
    assert np.all(more.below <= less.below)


@given(st.lists(GAP, min_size=2, max_size=12), st.integers(0, 10))
def test_a_detector_stands_alone(estimates: list[float], seed: int) -> None:
    """In any shape, beside any others, it comes to the same; and each tolerated gap is its own."""
    rng = np.random.default_rng(seed)
    block = rng.uniform(-1, 1, (len(estimates), 2, 3))
    block[:, 1, 2] = estimates
    taus = np.array([[0.0, 0.1, 0.2], [0.3, 0.1, 0.05]])
    together = run(Detectors(taus, 500, 6), block)
    alone = run(Detectors(0.05, 500, 6), np.array(estimates)[:, np.newaxis])
    assert together.above[1, 2].tolist() == alone.above[0].tolist()
    assert together.below[1, 2].tolist() == alone.below[0].tolist()


def test_no_machine_rounds_the_tables_otherwise() -> None:
    """Every value lies a thousand times further from the next whole number than the last bits of exp and log reach."""
    k = np.arange(detection._TABLE)
    log1p, exp = 1e5 * np.log1p(np.exp(-k / 100)), 2.0**30 * np.exp(-k / 100)
    mean = 10 * 2.0**30 * np.exp(-np.arange(detection._MEAN_STEPS + 1) / 100)
    for values in (log1p, exp[1:], mean[1:]):
        assert np.abs(values - np.rint(values))[values > 0.5].min() > 1000 * np.spacing(values.max())
    tables = b"".join(table.astype("<i8").tobytes() for table in (detection._LOG1P, detection._EXP, detection._MEAN))
    assert hashlib.sha256(tables).hexdigest() == "d13da0759082d50977dd473f6f56f39f5eea5728326b8e4176dde6f05c757b77"


@pytest.mark.parametrize("arguments", [(-0.1, 1, 1), (1.0, 1, 1), (math.nan, 1, 1), (0.1, 0, 1), (0.1, 1, 0)])
def test_a_promise_that_cannot_be_is_refused(arguments: tuple[float, int, int]) -> None:
    """Gaps beyond ratios, and no windows or detectors."""
    with pytest.raises(ValueError, match="expected"):
        Detectors(*arguments)
