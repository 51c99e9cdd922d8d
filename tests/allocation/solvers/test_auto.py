import logging

import numpy as np

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import AlternatingSolver, AuctionSolver, AutoSolver, ExactSolver, folding
from lightrnn_pl.testing.solver import ForbiddenCodesContract, SolverContract, random_problem


class TestAutoSolver(SolverContract, ForbiddenCodesContract):
    num_components = (1, 2, 3)

    def make_solver(self):
        return AutoSolver()


def test_selects_by_size_and_memory(monkeypatch, caplog):
    small, large = random_problem(0, 20, (4, 5)), random_problem(0, 1600, (40, 40))
    assert isinstance(AutoSolver().choose(small), ExactSolver)
    assert isinstance(AutoSolver().choose(large), AuctionSolver)
    cube = ReallocationProblem((np.zeros((1600, 12)),) * 3)
    assert isinstance(AutoSolver().choose(cube), AuctionSolver)
    monkeypatch.setattr(folding, "free_memory", lambda: 1000)
    assert isinstance(AutoSolver().choose(cube), AlternatingSolver)
    assert isinstance(AutoSolver().choose(large), AuctionSolver)
    with caplog.at_level(logging.INFO):
        AutoSolver().solve(small)
    assert "20 words in a table with sides [4, 5] with ExactSolver" in caplog.text
