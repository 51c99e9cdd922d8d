"""The control experiment: no word is reallocated."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import Solver


class KeepSolver(Solver):
    """Returns the current codes, with the floor as the bound.

    A training run with this solver has the same rounds, statistics passes and learning rates as a run with any other
    solver, so the two runs differ only in the reallocations.
    """

    action = "control, no reallocation"

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        if problem.codes is None:
            raise ValueError("KeepSolver needs the current codes; create the problem with codes")
        if np.isinf(problem.cost(problem.codes)):
            raise ValueError(
                "KeepSolver keeps the current codes, but some of them are forbidden (+inf); use another solver"
            )
        return problem.codes, problem.floor
