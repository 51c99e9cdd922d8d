"""The optimal assignment, by scipy's shortest augmenting paths on the dense problem (LightRNN, Equation 6).

The dense problem needs one float64 per pair of word and cell: 10,000 words take 0.75 GiB and half a minute.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from typing_extensions import override

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import GIB, Solver, free_memory
from lightrnn_pl.checks import check_number


class ExactSolver(Solver):
    """Returns a proven optimum; the reference for small vocabularies.

    Args:
        memory_limit_gib: Largest dense matrix in GiB; None means 90% of the available memory.
    """

    def __init__(self, memory_limit_gib: float | None = None) -> None:
        if memory_limit_gib is not None:
            check_number("solver.memory_limit_gib", memory_limit_gib, at_least=0)
        self.memory_limit_gib = memory_limit_gib

    @override
    def check(self, num_words: int, sides: tuple[int, ...]) -> None:
        # During training, only the occupied cells are available.
        self._check_memory(num_words, num_words, len(sides))

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        self._check_memory(problem.num_words, problem.num_cells, problem.num_components)
        try:
            _, chosen = linear_sum_assignment(dense_costs(problem))
        except ValueError as error:
            raise ValueError(
                "no assignment avoids all forbidden codes (+inf); allow more codes, or make more cells available"
            ) from error
        codes = problem.codes_of(problem.cells[chosen])
        return codes, problem.cost(codes)

    def _check_memory(self, num_words: int, num_cells: int, num_components: int) -> None:
        check_memory(num_words, num_cells, num_components, 8, self.memory_limit_gib, solver="exact")


def dense_costs(problem: ReallocationProblem) -> Float[np.ndarray, "V cells"]:
    """The cost of every word in every available cell, float64."""
    codes = problem.codes_of(problem.cells)
    # take, unlike an index, returns the rows in order of memory, so that the solvers need no copy.
    dense = problem.costs[0].astype(np.float64).take(codes[:, 0], axis=1)
    for axis in range(1, problem.num_components):
        # One word at a time: a second matrix of this size would double the peak memory.
        for word, cost in enumerate(problem.costs[axis]):
            dense[word] += cost[codes[:, axis]]
    return dense


def check_memory(
    num_words: int,
    num_cells: int,
    num_components: int,
    bytes_per_pair: int,
    memory_limit_gib: float | None,
    solver: str,
) -> None:
    """Check that a problem fits into memory, before anything of its size is allocated.

    Raises:
        ValueError: If it does not fit.  The message suggests another solver.
    """
    needed = num_words * num_cells * bytes_per_pair / GIB
    limit = 0.9 * free_memory() / GIB if memory_limit_gib is None else memory_limit_gib
    if needed > limit:
        alternative = "auction" if num_components == 2 else "alternating"
        raise ValueError(
            f"solver={solver} would need {needed:.1f} GiB for {num_words} words in {num_cells} cells "
            f"but the limit is {limit:.1f} GiB; use solver={alternative}, which does not need the costs of all pairs"
        )
