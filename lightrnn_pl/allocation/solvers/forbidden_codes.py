"""Repairs assignments that use forbidden codes, for solvers that are not guaranteed to avoid them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem

MAX_PAIRS = 2**24
"""Pairs of words and cells up to which an assignment is found if one exists: 4,096 words, 128 MiB."""


def without_forbidden_codes(problem: ReallocationProblem, codes: Int[np.ndarray, "V k"]) -> Int[np.ndarray, "V k"]:
    """An assignment without forbidden codes in which as few words as possible have other codes than in ``codes``.

    Problems with more than ``MAX_PAIRS`` pairs of words and cells are not repaired.

    Raises:
        ValueError: If no assignment avoids all forbidden codes.
    """
    if not np.isinf(problem.cost(codes)) or problem.num_words * problem.num_cells > MAX_PAIRS:
        return codes
    cell_codes = problem.codes_of(problem.cells)
    moves = np.ones((problem.num_words, problem.num_cells))
    moves[np.arange(problem.num_words), np.searchsorted(problem.cells, problem.cells_of(codes))] = 0
    for axis, cost in enumerate(problem.costs):
        moves[np.isinf(cost)[:, cell_codes[:, axis]]] = np.inf
    try:
        _, chosen = linear_sum_assignment(moves)
    except ValueError as error:
        raise ValueError(
            "no assignment avoids all forbidden codes (+inf); allow more codes, or make more cells available"
        ) from error
    return cell_codes[chosen]
