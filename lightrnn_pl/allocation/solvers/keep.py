"""The control experiment: every word stays where it is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import Solver


class KeepSolver(Solver):
    """Returns the start codes, with the floor for a bound.

    A training run with it has the rounds, the statistics pass and the schedule of a run with any other solver, so
    what differs between the two is the moves alone.
    """

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        if problem.codes is None:
            raise ValueError("KeepSolver needs the words' present codes; give the problem its codes")
        return problem.codes, problem.floor
