"""The optimal table, by scipy's shortest augmenting paths on the dense problem (LightRNN, equation 6).

Needs one float64 for every pair of word and cell: the reference for small vocabularies, 10,000 words take 0.75 GiB
and half a minute.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import GIB, Solver, free_memory


class ExactSolver(Solver):
    """Optimal, and proven so.

    Args:
        memory_limit_gib: Refuse a problem whose dense matrix is larger; None means nine tenths of the free memory.
    """

    def __init__(self, memory_limit_gib: float | None = None) -> None:
        self.memory_limit_gib = memory_limit_gib

    def check(self, num_words: int, sides: tuple[int, ...]) -> None:
        """See :class:`Solver`."""
        self._refuse_too_large(num_words, num_words, len(sides))  # in training only the words' own cells are there

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        self._refuse_too_large(problem.num_words, problem.num_cells, problem.num_components)
        try:
            _, chosen = linear_sum_assignment(dense_costs(problem))
        except ValueError as error:
            raise ValueError(
                "no assignment avoids every forbidden code (+inf); allow some words more codes or more cells"
            ) from error
        codes = problem.spell(problem.cells[chosen])
        return codes, problem.cost(codes)

    def _refuse_too_large(self, num_words: int, num_cells: int, num_components: int) -> None:
        refuse_too_large(num_words, num_cells, num_components, 8, self.memory_limit_gib, solver="exact")


def dense_costs(problem: ReallocationProblem) -> Float[np.ndarray, "V cells"]:
    """The cost of every word in every available cell, float64."""
    codes = problem.spell(problem.cells)
    dense = problem.costs[0].astype(np.float64)[:, codes[:, 0]]
    for axis in range(1, problem.num_components):
        # A word at a time: a second matrix of this size would double the peak.
        for word, cost in enumerate(problem.costs[axis]):
            dense[word] += cost[codes[:, axis]]
    return dense


def refuse_too_large(
    num_words: int,
    num_cells: int,
    num_components: int,
    bytes_per_pair: int,
    memory_limit_gib: float | None,
    solver: str,
) -> None:
    """Refuse a problem before anything of its size is allocated.

    Raises:
        ValueError: With the memory needed, the memory there is, and the solver to use instead.
    """
    needed = num_words * num_cells * bytes_per_pair / GIB
    limit = 0.9 * free_memory() / GIB if memory_limit_gib is None else memory_limit_gib
    if needed > limit:
        alternative = "auction" if num_components == 2 else "alternating"
        raise ValueError(
            f"solver={solver} would need {needed:.1f} GiB for {num_words} words in {num_cells} cells "
            f"and may take {limit:.1f} GiB; use solver={alternative}, which keeps the axes apart"
        )
