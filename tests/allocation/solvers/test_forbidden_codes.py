"""Every solver finds an assignment without forbidden codes on small problems, if there is one."""

import logging

import numpy as np
import pytest

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import (
    AlternatingSolver,
    AuctionSolver,
    AutoSolver,
    ExactSolver,
    GreedySolver,
    KeepSolver,
    MinCostFlowSolver,
    forbidden_codes,
)
from lightrnn_pl.testing.solver import optimum

SOLVERS = {
    "greedy": GreedySolver(),
    "regret": GreedySolver("regret"),
    "rows_first": GreedySolver("rows_first"),
    "alternating": AlternatingSolver(),
    "auction": AuctionSolver(num_threads=1),
    "auto": AutoSolver(),
    "exact": ExactSolver(),
    "mcmf": MinCostFlowSolver(),
}


def random_problems(number: int, seed: int = 0):
    """Feasible problems with many forbidden codes, ties, empty cells, and costs of different magnitude."""
    rng = np.random.default_rng(seed)
    while number:
        sides = tuple(rng.integers(1, 5, size=rng.integers(1, 4)).tolist())
        num_cells = int(np.prod(sides))
        num_words = int(rng.integers(1, num_cells + 1))
        hidden = np.stack(np.unravel_index(rng.permutation(num_cells)[:num_words], sides), -1)
        costs = []
        for axis, side in enumerate(sides):
            cost = rng.integers(0, 5, (num_words, side)) * 10.0 ** rng.integers(-3, 4)
            cost[rng.random(cost.shape) < 0.6] = np.inf
            cost[np.arange(num_words), hidden[:, axis]] = rng.integers(0, 5, num_words)
            costs.append(cost)
        start = np.stack(np.unravel_index(rng.permutation(num_cells)[:num_words], sides), -1)
        yield ReallocationProblem(costs, start if rng.random() < 0.5 else None)
        number -= 1


@pytest.mark.parametrize("name", SOLVERS)
def test_small_feasible_problems_are_solved(name):
    for problem in random_problems(80):
        result = SOLVERS[name].solve(problem)
        best = optimum(problem)
        assert np.isfinite(result.cost) and result.lower_bound - 1e-6 <= best <= result.cost + 1e-6


def test_keep_states_that_the_current_codes_are_forbidden():
    problem = ReallocationProblem([np.array([[np.inf, 1.0]])], np.array([[0]]))
    with pytest.raises(ValueError, match="keeps the current codes, but some of them are forbidden"):
        KeepSolver().solve(problem)


def test_large_problems_state_what_is_not_guaranteed(monkeypatch):
    monkeypatch.setattr(forbidden_codes, "MAX_PAIRS", 1)
    failures = 0
    for problem in random_problems(60):
        try:
            GreedySolver().solve(problem)
        except ValueError as error:
            assert "guaranteed only for up to" in str(error) and "solver=exact" in str(error)
            failures += 1
    assert failures


def test_the_auction_warns_if_rounding_prevents_its_gap(caplog):
    """The bound that it proves is valid in any case."""
    rng = np.random.default_rng(3)
    exceeded = 0
    for _ in range(150):
        sides = tuple(rng.integers(2, 5, size=2).tolist())
        num_words = int(rng.integers(2, np.prod(sides) + 1))
        costs = [10.0 ** rng.uniform(-30, 30, (num_words, side)) for side in sides]
        problem = ReallocationProblem(costs)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            result = AuctionSolver(num_threads=1).solve(problem)
        best = optimum(problem)
        assert result.lower_bound <= best * (1 + 1e-9) and best <= result.cost * (1 + 1e-9)
        if result.gap > 1e-3:
            assert "exceeds solver.gap" in caplog.text
            exceeded += 1
    assert exceeded
