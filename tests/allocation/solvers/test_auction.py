import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import AuctionSolver, ExactSolver
from lightrnn_pl.allocation.solvers import auction as auction_module
from lightrnn_pl.testing.solver import (
    ForbiddenCodesContract,
    SolverContract,
    optimum,
    problems,
    quick,
    random_problem,
)


class TestAuctionSolver(SolverContract, ForbiddenCodesContract):
    num_components = (1, 2, 3)

    def make_solver(self):
        return AuctionSolver()

    @given(st.data())
    @quick
    def test_is_within_the_gap(self, data):
        problem = data.draw(problems(data.draw(st.sampled_from((1, 2, 3)))))
        gap = data.draw(st.sampled_from((1e-1, 1e-3, 1e-6)))
        result = AuctionSolver(gap).solve(problem)
        best, slack = self.check(problem, result)
        assert result.gap <= gap + slack / max(slack, result.cost - problem.floor)
        assert result.cost - best <= gap * (result.cost - problem.floor) + slack


@pytest.mark.parametrize("num_words", [400, 343])
def test_larger_problems_are_solved_to_the_gap(num_words):
    problem = random_problem(0, num_words, (20, 20))
    result = AuctionSolver(gap=1e-4).solve(problem)
    exact = ExactSolver().solve(problem)
    assert result.gap <= 1e-4
    assert result.lower_bound <= exact.cost <= result.cost
    assert result.cost - exact.cost <= 1e-4 * (result.cost - problem.floor)


def test_gap_zero_finds_the_optimum():
    problem = random_problem(0, 60, (8, 8))
    assert AuctionSolver(gap=0.0).solve(problem).cost == pytest.approx(optimum(problem), rel=1e-9)


@pytest.mark.parametrize(
    "costs",
    [
        np.zeros((400, 20)),
        np.tile(np.arange(20.0), (400, 1)),
        np.arange(400.0)[:, None] * np.arange(20.0),
        np.random.default_rng(0).integers(0, 2, (400, 20)).astype(float),
    ],
    ids=["zero", "identical words", "rank one", "ties"],
)
def test_degenerate_costs(costs):
    problem = ReallocationProblem((costs, costs))
    result = AuctionSolver().solve(problem)
    assert result.gap <= 1e-3
    assert result.cost == pytest.approx(optimum(problem), rel=1e-3)


def test_solving_the_solution_again_keeps_its_cost():
    problem = random_problem(0, 400, (20, 20))
    solved = AuctionSolver(gap=0.0).solve(problem)
    again = AuctionSolver(gap=0.0).solve(ReallocationProblem(problem.costs, solved.codes))
    assert again.cost == pytest.approx(solved.cost)
    assert again.cost <= solved.cost


def test_result_does_not_depend_on_the_number_of_threads():
    problem = random_problem(0, 900, (30, 30))
    single = AuctionSolver(num_threads=1).solve(problem)
    for num_threads in (2, 3):
        threaded = AuctionSolver(num_threads=num_threads).solve(problem)
        assert np.array_equal(single.codes, threaded.codes)
        assert single.lower_bound == threaded.lower_bound


def test_time_limit_returns_the_best_allocation_so_far(caplog):
    problem = random_problem(0, 900, (30, 30))
    with caplog.at_level(logging.WARNING):
        result = AuctionSolver(time_limit=1e-6).solve(problem)
    assert "time limit" in caplog.text
    assert result.lower_bound <= ExactSolver().solve(problem).cost <= result.cost
    assert len(set(problem.cells_of(result.codes).tolist())) == 900
    assert result.cost <= problem.cost(problem.codes)


@pytest.mark.parametrize("at_call", [1, 10])
def test_interrupt_returns_the_best_allocation_so_far(monkeypatch, caplog, at_call):
    calls = []
    accept = auction_module.kernels.accept_bids

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == at_call:
            raise KeyboardInterrupt
        return accept(*arguments)

    monkeypatch.setattr(auction_module.kernels, "accept_bids", interrupted)
    problem = random_problem(0, 900, (30, 30))
    with caplog.at_level(logging.WARNING):
        result = AuctionSolver().solve(problem)
    assert "interrupted" in caplog.text
    assert result.lower_bound <= optimum(problem) <= result.cost
    assert len(set(problem.cells_of(result.codes).tolist())) == 900


def test_warm_start_needs_no_phase_for_the_same_problem(monkeypatch):
    problem = random_problem(0, 400, (20, 20))
    solver = AuctionSolver(warm_start=True)
    first = solver.solve(problem)
    phases = []
    phase = auction_module._Auction.phase
    monkeypatch.setattr(auction_module._Auction, "phase", lambda self, *rest: phases.append(1) or phase(self, *rest))
    again = solver.solve(ReallocationProblem(problem.costs, first.codes))
    assert again.gap <= 1e-3
    assert not phases
    other = solver.solve(random_problem(1, 300, (20, 20)))
    assert other.gap <= 1e-3, "prices of another table are not used"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gap": -1.0}, r"solver\.gap .* got -1"),
        ({"time_limit": 0.0}, r"solver\.time_limit .* got 0"),
        ({"num_threads": 0}, r"solver\.num_threads .* got 0"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        AuctionSolver(**arguments)
