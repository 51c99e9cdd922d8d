"""Selects a solver by the size of the problem and the available memory."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Int
from typing_extensions import override

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.alternating import AlternatingSolver
from lightrnn_pl.allocation.solvers.auction import AuctionSolver
from lightrnn_pl.allocation.solvers.base import Solver
from lightrnn_pl.allocation.solvers.exact import ExactSolver
from lightrnn_pl.allocation.solvers.folding import fits, folded_bytes

log = logging.getLogger(__name__)

_EXACT_WORDS = 1000
"""Largest problem for ``exact``, which takes about 0.1 s."""


class AutoSolver(Solver):
    """``exact`` for small tables; otherwise ``auction``, or ``alternating`` if the folded axes do not fit into memory.

    Args:
        gap: See :class:`AuctionSolver`.
        time_limit: See :class:`AuctionSolver`.
        num_threads: See :class:`AuctionSolver`.
        warm_start: See :class:`AuctionSolver`.
    """

    def __init__(
        self,
        gap: float = 1e-3,
        time_limit: float | None = None,
        num_threads: int | None = None,
        warm_start: bool = False,
    ) -> None:
        self._auction = AuctionSolver(gap, time_limit, num_threads, warm_start)

    @override
    def choose(self, problem: ReallocationProblem) -> Solver:
        if problem.num_cells <= _EXACT_WORDS:
            return ExactSolver()
        return self._auction if fits(folded_bytes(problem)) else AlternatingSolver()

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        solver = self.choose(problem)
        log.info(
            "Solving the reallocation of %d words in a table with sides %s with %s.",
            problem.num_words,
            list(problem.sides),
            type(solver).__name__,
        )
        return solver._assign(problem)
