import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import ExactSolver, MinCostFlowSolver
from lightrnn_pl.testing.solver import (
    ForbiddenCodesContract,
    SolverContract,
    problems,
    quick,
    random_problem,
)


@st.composite
def problems_with_forbidden_codes(draw):
    """Problems with empty and unavailable cells, in which each word may have up to all codes but its own forbidden."""
    problem = draw(problems(with_codes=True))
    forbidden = draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in (2, problem.num_words, 4))), max_size=20))
    costs = [cost.copy() for cost in problem.costs]
    for axis, word, code in forbidden:
        if code < problem.sides[axis] and code != problem.codes[word, axis]:
            costs[axis][word, code] = np.inf
    return ReallocationProblem(costs, problem.codes, problem.available)


class TestMinCostFlowSolver(SolverContract, ForbiddenCodesContract):
    num_components = (1, 2, 3)

    def make_solver(self):
        return MinCostFlowSolver()

    @given(problems_with_forbidden_codes())
    @quick
    def test_cost_equals_that_of_exact_which_the_bound_proves(self, problem):
        result = MinCostFlowSolver().solve(problem)
        magnitude = float(sum(np.abs(cost[np.isfinite(cost)]).max() for cost in problem.costs))
        assert result.cost == pytest.approx(ExactSolver().solve(problem).cost, abs=1e-9 * (1 + magnitude))
        assert result.lower_bound == pytest.approx(result.cost, abs=1e-6 * (1 + magnitude))

    @pytest.mark.parametrize("num_words", [300, 324])
    def test_optimum_of_a_larger_table(self, num_words):
        problem = random_problem(0, num_words, (18, 18))
        result = MinCostFlowSolver().solve(problem)
        assert result.cost == pytest.approx(ExactSolver().solve(problem).cost, rel=1e-12)
        assert result.gap < 1e-9 and result.solver == "MinCostFlowSolver"


def test_too_large_problems_are_rejected_before_memory_is_allocated():
    with pytest.raises(ValueError, match=r"solver=mcmf would need .* use solver=auction"):
        MinCostFlowSolver(memory_limit_gib=1e-9).solve(random_problem(0, 12, (3, 4)))
    with pytest.raises(ValueError, match=r"solver=mcmf would need 391\.\d GiB .* use solver=auction"):
        MinCostFlowSolver(memory_limit_gib=64.0).check(100_000, (317, 317))
