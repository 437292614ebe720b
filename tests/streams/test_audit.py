"""Audits of a file: the oracle is plain numpy over the same log; noise is what the spec's parties would add."""

from __future__ import annotations

import json

import numpy as np
import pytest
from audit_examples import PRIMARIES, primaries

from estimator import GROUPS, Disparity, RaceModel
from estimator.self_id import masses_of
from privacy import Measurement, parse_measurement
from streams.audit import MAX_WINDOWS, Audit, SumMaker, audit, spending
from streams.errors import InputError


def run(**options: object) -> Audit:
    """Audit the primaries log."""
    spec, model, members, rows = primaries()
    return audit(spec, rows, members, model, **options)  # type: ignore[arg-type]


def of(result: Audit, metric: str, group: str, estimator: str = "weighted", window: int = 0) -> Disparity:
    """One result."""
    results = result.windows[window].disparities.results
    return next(r for r in results if (r.metric, r.group, r.estimator) == (metric, group, estimator))


def test_weighted_rates_are_those_of_plain_numpy() -> None:
    """Read the two files by hand, take each candidate's first event of a day, and weight by the model's posterior."""
    people = {m["member_id"]: m for m in map(json.loads, (PRIMARIES / "members.jsonl").read_text().splitlines())}
    events = [json.loads(line) for line in (PRIMARIES / "events.jsonl").read_text().splitlines()]
    events.sort(key=lambda event: event["ts"])
    first = list({(e["candidate_id"], e["ts"][:10]): e for e in reversed(events)}.values())
    who = [people[e["candidate_id"]] for e in first]
    p = RaceModel.load().posterior(
        [m["family_name"] for m in who], given_names=[m["given_name"] for m in who], states=[m["state"] for m in who]
    )
    endorsed, won = (np.array([e[name] for e in first], dtype=float) for name in ("endorsed", "won"))
    result = run()
    for k, group in enumerate(GROUPS):
        expected = {
            "recommendation_rate": (p[:, k] @ endorsed) / p[:, k].sum(),
            "predictive_parity": (p[:, k] @ won) / p[:, k].sum(),
            "precision": (p[:, k] @ (won * endorsed)) / (p[:, k] @ endorsed),
        }
        for metric, rate in expected.items():
            value = of(result, metric, group).value
            if value is not None:
                assert value.estimate == pytest.approx(rate, abs=1e-5)
    assert of(result, "recommendation_rate", "black").value is not None
    assert result.tally.counted == len(first)


def test_corrected_is_the_solution_of_least_squares() -> None:
    """The moments that the audit makes give what M^-1 t / M^-1 n gives from its own rows."""
    spec, model, members, rows = primaries()
    p = members.probabilities(model)[rows.member]
    decision = rows.cell >= 2
    pool = np.zeros((4, 6))  # white, native and multiple are one: so few of them cannot be told apart
    for row, names in enumerate((("white", "native", "multiple"), ("black",), ("api",), ("hispanic",))):
        pool[row, [GROUPS.index(name) for name in names]] = 1
    q = p @ pool.T
    rates = (
        np.linalg.lstsq(q, decision.astype(float), rcond=None)[0] / np.linalg.lstsq(q, np.ones(len(q)), rcond=None)[0]
    )
    result = audit(spec, rows, members, model)
    for group, rate in zip(("white+native+multiple", "black", "api", "hispanic"), rates, strict=True):
        value = of(result, "recommendation_rate", group, "corrected").value
        assert value is not None
        assert value.estimate == pytest.approx(rate, abs=1e-4)


def test_the_rectifier_is_said_less_expected() -> None:
    """By cell, the sum of R - p over the rows of candidates who said a group; without it there is none."""
    _, model, members, rows = primaries()
    maker = SumMaker(members, model, 4, self_id=True)
    sums = maker.sums(rows.member, rows.cell)
    said = members.said[rows.member]
    masses = masses_of(members.self_id[rows.member][said], 6, 1 << 20) / (1 << 20)
    residual = masses - members.probabilities(model)[rows.member][said]
    for cell in range(4):
        assert sums.rectifier[cell] / 2**20 == pytest.approx(residual[rows.cell[said] == cell].sum(axis=0), abs=1e-3)
    assert sums.moments[-7] == said.sum() * 2**20
    assert not SumMaker(members, model, 4, self_id=False).sums(rows.member, rows.cell).rectifier.any()


def test_exact_figures_promise_nothing() -> None:
    """Without an epsilon there is no statement and no noise, and a second run gives the same."""
    first, second = run(), run()
    assert first.statement is None
    assert first.sigma_rows == {}
    assert first.windows[0].disparities.results == second.windows[0].disparities.results


@pytest.mark.parametrize("epsilon", [None, 12.0])
def test_self_id_rectifies_where_the_measurement_asks_for_it(epsilon: float | None) -> None:
    """With a rectifier among the channels there is a third estimator; with noise, each channel has its own."""
    spec, model, members, rows = primaries()
    assert "rectifier" in spec.channels
    without = spec.privacy.model_dump() | {"channel_shares": {"table": 0.8, "moments": 0.2}}
    silent = Measurement.model_validate(spec.model_dump() | {"privacy": without})
    result = run(epsilon=epsilon)
    white = of(result, "recommendation_rate", "white", "rectified")
    assert white.value is not None
    truth = 0.168  # what the log's own truth says (its README)
    if epsilon is None:
        assert white.value.lower < truth < white.value.upper
    # An interval at 95 % misses once in twenty runs whose noise is drawn anew: three times its half is six sigma.
    assert abs(white.value.estimate - truth) < 3 * (white.value.upper - white.value.lower) / 2
    assert set(result.sigma_rows) == (set() if epsilon is None else {"table", "moments", "rectifier"})
    assert epsilon is not None or result.windows[0].disparities.agreement is not None
    with pytest.raises(StopIteration):
        of(audit(silent, rows, members, model, epsilon=epsilon), "recommendation_rate", "white", "rectified")


def test_an_epsilon_is_spent_and_not_passed() -> None:
    """The statement holds the epsilon that was asked for, at the spec's delta; noise is drawn anew in each run."""
    first, second = run(epsilon=2.0), run(epsilon=2.0)
    assert first.statement is not None
    assert 1.999 < (first.statement.epsilon or 0) <= 2.0
    assert (first.statement.delta, first.statement.relation) == (1e-6, "replace")
    assert first.windows[0].disparities.results != second.windows[0].disparities.results


@pytest.mark.slow
def test_the_noise_is_that_of_both_parties() -> None:
    """Over many windows, totals of the noised table vary about the exact ones as the stated sigma says."""
    spec, _, _, _ = primaries()
    exact, spreads = of(run(), "recommendation_rate", "black").value, []
    assert exact is not None
    sigma = run(epsilon=1.0).sigma_rows["table"]
    plan_rho = spending(spec, 1.0, one_level=True).privacy.rho_member_day
    assert sigma >= np.sqrt(2) * np.sqrt(2) / np.sqrt(2 * plan_rho) * 0.999
    for _ in range(40):
        value = of(run(epsilon=8.0), "recommendation_rate", "white").value
        assert value is not None
        spreads.append(value.estimate)
    assert 0 < np.std(spreads) < 0.01


def test_levels_give_a_window_each() -> None:
    """A result for each day with rows when exact; for every day of the range when private: existence must not tell."""
    spec, model, members, rows = primaries()
    daily = parse_measurement((PRIMARIES / "as-logged.yaml").read_text(), origin="daily")
    exact = audit(daily, rows, members, model, level="1d")
    private = audit(daily, rows, members, model, level="1d", epsilon=5.0)
    days = np.unique(rows.time_ms // 86_400_000)
    assert [window.start_ms // 86_400_000 for window in exact.windows] == days.tolist()
    assert len(private.windows) == days[-1] - days[0] + 1
    with pytest.raises(InputError, match="has no level '1h', only 1d"):
        audit(daily, rows, members, model, level="1h")
    with pytest.raises(InputError, match=f"at most {MAX_WINDOWS:,} are shown"):
        audit(spec, rows, members, model, level="1m", epsilon=5.0)


@pytest.mark.parametrize("epsilon", [1e-7, 500.0])
def test_an_epsilon_beyond_any_measurement_is_refused(epsilon: float) -> None:
    """What no spec may spend is an error that says the range."""
    with pytest.raises(InputError, match="name an epsilon between"):
        run(epsilon=epsilon)


def test_another_budget_changes_nothing_else() -> None:
    """`spending` keeps the measurement but for its rho, and drops noise that protects nobody."""
    spec: Measurement = primaries()[0]
    other = spending(spec, 1.0)
    assert other.privacy.rho_member_day < spec.privacy.rho_member_day
    assert other.model_copy(update={"privacy": spec.privacy}) == spec
