import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import AlternatingSolver, KeepSolver
from lightrnn_pl.allocation.solvers.transport import separable_bound
from lightrnn_pl.testing.solver import (
    ForbiddenCodesContract,
    SolverContract,
    optimum,
    problems,
    quick,
    random_problem,
)


class TestAlternatingSolver(SolverContract, ForbiddenCodesContract):
    num_components = (1, 2, 3)
    num_banned = 2  # with more, it may not escape from a start that has forbidden codes

    def make_solver(self):
        return AlternatingSolver()

    @given(st.data())
    @quick
    def test_is_never_worse_than_the_start(self, data):
        problem = data.draw(problems(data.draw(st.sampled_from((1, 2, 3))), with_codes=True))
        assert AlternatingSolver().solve(problem).cost <= KeepSolver().solve(problem).cost

    @pytest.mark.parametrize("sides", [(7, 8), (4, 3, 5), (60,)])
    def test_its_own_result_is_not_changed(self, sides):
        problem = random_problem(0, 55, sides)
        solved = AlternatingSolver(tolerance=0.0).solve(problem)
        again = AlternatingSolver(tolerance=0.0).solve(ReallocationProblem(problem.costs, solved.codes))
        assert again.moved == 0

    @pytest.mark.parametrize("sides", [(7, 8), (4, 3, 5)])
    def test_saves_most_of_the_excess_cost(self, sides):
        problem = random_problem(0, 55, sides)
        best, start = optimum(problem), problem.cost(problem.codes)
        assert AlternatingSolver().solve(problem).cost - best < 0.2 * (start - best)

    def test_one_axis_is_solved_optimally(self):
        problem = random_problem(0, 12, (15,))
        assert AlternatingSolver().solve(problem).cost == pytest.approx(optimum(problem))

    def test_invalid_arguments_are_rejected(self):
        with pytest.raises(ValueError, match=r"solver\.max_sweeps .* got -1"):
            AlternatingSolver(max_sweeps=-1)
        with pytest.raises(ValueError, match=r"solver\.tolerance .* got -0\.5"):
            AlternatingSolver(tolerance=-0.5)


def test_separable_bound_is_tight_if_only_one_axis_has_costs():
    problem = random_problem(0, 40, (5, 8))
    rows_only = ReallocationProblem((problem.costs[0], np.zeros((40, 8))))
    assert separable_bound(rows_only) == pytest.approx(optimum(rows_only), rel=1e-3)
    with_empty_cells = ReallocationProblem((problem.costs[0], np.zeros((40, 11))))
    assert separable_bound(with_empty_cells) == pytest.approx(optimum(with_empty_cells), rel=1e-3)
