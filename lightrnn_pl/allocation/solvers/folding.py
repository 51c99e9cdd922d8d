"""Folds any number of axes into two, so that solvers for rows and columns can solve all problems.

A cube (i, j, k) becomes a table with rows i and columns (j, k), or with rows (i, j) and columns k.  The cell numbers do
not change.
"""

from __future__ import annotations

import math

import numpy as np

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import GIB, finite_costs, free_memory


def fold(problem: ReallocationProblem, solver: str) -> tuple[np.ndarray, np.ndarray]:
    """Costs of the first and of the last axes, (V, R) and (V, C), split where the two arrays are smallest.

    Two axes are returned without a copy.  Forbidden codes have a finite cost (see ``finite_costs``).

    Raises:
        ValueError: If the arrays for more than two axes do not fit into memory.  The message suggests another solver.
    """
    if not fits(folded_bytes(problem)):
        raise ValueError(
            f"solver={solver} would need {folded_bytes(problem) / GIB:.1f} GiB to fold the axes of a table with sides "
            f"{list(problem.sides)} into two; use solver=alternating, which does not fold them"
        )
    costs = finite_costs(problem)
    if len(costs) == 1:
        return np.zeros((problem.num_words, 1), np.float32), costs[0]
    split = _split(problem.sides)
    return _outer_sum(costs[:split]), _outer_sum(costs[split:])


def folded_bytes(problem: ReallocationProblem) -> int:
    """Memory in bytes that ``fold`` needs in addition to the costs."""
    if problem.num_components <= 2:
        return 0
    split = _split(problem.sides)
    sizes = math.prod(problem.sides[:split]) + math.prod(problem.sides[split:])
    return problem.num_words * sizes * max(cost.itemsize for cost in problem.costs)


def fits(num_bytes: int) -> bool:
    """Whether this fits into 90% of the available memory."""
    return num_bytes == 0 or num_bytes <= 0.9 * free_memory()


def _split(sides: tuple[int, ...]) -> int:
    """Number of axes that are folded into the first one."""
    return min(range(1, len(sides)), key=lambda at: math.prod(sides[:at]) + math.prod(sides[at:]))


def _outer_sum(costs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Costs of every combination of codes, (V, product of the sides)."""
    total = costs[0]
    for cost in costs[1:]:
        total = (total[:, :, None] + cost[:, None, :]).reshape(len(cost), -1)
    return total
