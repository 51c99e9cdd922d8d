import numpy as np
import pytest
from hypothesis import given

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import ExactSolver
from lightrnn_pl.testing.solver import (
    ForbiddenCodesContract,
    SolverContract,
    brute_force,
    problems,
    quick,
    random_problem,
)


class TestExactSolver(SolverContract, ForbiddenCodesContract):
    num_components = (1, 2, 3)

    def make_solver(self):
        return ExactSolver()

    @given(problems(max_side=3, max_words=4))
    @quick
    def test_is_optimal(self, problem):
        if problem.num_cells > 7:
            return
        result = ExactSolver().solve(problem)
        assert result.cost == pytest.approx(brute_force(problem), abs=1e-3)
        assert result.gap == 0

    def test_too_large_problems_are_rejected_before_memory_is_allocated(self):
        with pytest.raises(ValueError, match=r"would need 0\.0 GiB.*solver=auction"):
            ExactSolver(memory_limit_gib=1e-9).solve(random_problem(0, 20, (4, 5)))
        # 100,000 words would take 75 GiB.  The costs themselves take no memory, because their strides are zero.
        costs = np.broadcast_to(np.zeros(1), (100_000, 317))
        with pytest.raises(ValueError, match=r"would need 74\.\d GiB|would need 75"):
            ExactSolver(memory_limit_gib=8.0).solve(ReallocationProblem((costs, costs)))
