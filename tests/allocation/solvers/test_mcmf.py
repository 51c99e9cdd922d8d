import sys

import pytest
from hypothesis import given

from lightrnn_pl.allocation.solvers import MinCostFlowSolver
from lightrnn_pl.testing.solver import (
    ForbiddenCodesContract,
    SolverContract,
    optimum,
    problems,
    quick,
    random_problem,
)


class TestMinCostFlowSolver(SolverContract, ForbiddenCodesContract):
    num_components = (1, 2, 3)

    @pytest.fixture(autouse=True)
    def _ortools(self):
        pytest.importorskip("ortools", reason="pip install 'lightrnn_pl[solvers]'")

    def make_solver(self):
        return MinCostFlowSolver()

    @given(problems())
    @quick
    def test_is_optimal(self, problem):
        assert MinCostFlowSolver().solve(problem).cost == pytest.approx(optimum(problem), abs=1e-3)


def test_missing_ortools_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "ortools.graph.python", None)
    monkeypatch.setitem(sys.modules, "ortools", None)
    with pytest.raises(ValueError, match=r"lightrnn_pl\[solvers\]"):
        MinCostFlowSolver().solve(random_problem(0, 12, (3, 4)))


def test_too_large_problems_are_rejected_before_memory_is_allocated():
    with pytest.raises(ValueError, match="solver=mcmf would need"):
        MinCostFlowSolver(memory_limit_gib=1e-9).solve(random_problem(0, 12, (3, 4)))
