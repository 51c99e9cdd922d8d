import numpy as np
import pytest

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import KeepSolver
from lightrnn_pl.testing.solver import SolverContract, random_problem


class TestKeepSolver(SolverContract):
    num_components = (1, 2, 3)
    needs_codes = True

    def make_solver(self):
        return KeepSolver()

    def test_returns_the_current_codes(self):
        problem = random_problem(0, 20, (4, 5))
        result = KeepSolver().solve(problem)
        assert np.array_equal(result.codes, problem.codes)
        assert result.moved == 0
        assert result.cost == problem.cost(problem.codes)

    def test_needs_codes(self):
        with pytest.raises(ValueError, match="codes"):
            KeepSolver().solve(ReallocationProblem((np.zeros((2, 2)),)))
