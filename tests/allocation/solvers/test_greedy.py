import jaxtyping
import numpy as np
import pytest
from hypothesis import given

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import GreedySolver
from lightrnn_pl.testing.solver import (
    ForbiddenCodesContract,
    SolverContract,
    dense_matrix,
    optimum,
    problems,
    quick,
    random_problem,
)


def heaviest_first(problem):
    """Cost of the reference algorithm, which sorts all edges by gain."""
    dense = dense_matrix(problem)
    worst = sum(cost.max(axis=1).astype(float) for cost in problem.costs)
    gains = worst[:, None] - dense
    total, words, cells = 0.0, set(), set()
    for edge in np.argsort(-gains, axis=None, kind="stable"):
        word, cell = divmod(int(edge), gains.shape[1])
        if word not in words and cell not in cells:
            words.add(word)
            cells.add(cell)
            total += dense[word, cell]
    return total


class TestGreedySolver(SolverContract, ForbiddenCodesContract):
    num_components = (1, 2, 3)
    num_banned = 2

    def make_solver(self):
        return GreedySolver()

    @given(problems())
    @quick
    def test_gains_at_least_half_of_the_optimum(self, problem):
        worst = sum(cost.max(axis=1).sum(dtype=float) for cost in problem.costs)
        result, best = GreedySolver().solve(problem), optimum(problem)
        assert worst - result.cost >= 0.5 * (worst - best) - 1e-3

    @pytest.mark.parametrize("seed", range(3))
    def test_equals_heaviest_edge_first(self, seed):
        problem = random_problem(seed, 70, (8, 9))
        assert GreedySolver().solve(problem).cost == pytest.approx(heaviest_first(problem))


class TestGreedySolverByRegret(SolverContract):
    num_components = (1, 2, 3)

    def make_solver(self):
        return GreedySolver("regret")


class TestGreedySolverRowsFirst(SolverContract):
    num_components = (1, 2, 3)

    def make_solver(self):
        return GreedySolver("rows_first")

    def test_rows_are_chosen_before_columns(self):
        row = np.array([[0.0, 9.0], [0.0, 5.0], [0.0, 4.0], [0.0, 1.0]])
        column = np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
        codes = GreedySolver("rows_first").solve(ReallocationProblem((row, column))).codes
        assert codes.tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]


def test_unknown_orders_are_rejected(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it would reject the literal first
    with pytest.raises(ValueError, match=r"solver\.order .* got 'best'"):
        GreedySolver("best")
