"""Any number of axes as two, so that what knows rows and columns solves the others as well.

A cube (i, j, k) is a table of rows i and columns (j, k), or of rows (i, j) and columns k; its cells keep their numbers.
"""

from __future__ import annotations

import math

import numpy as np

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import GIB, finite_costs, free_memory


def fold(problem: ReallocationProblem, solver: str) -> tuple[np.ndarray, np.ndarray]:
    """Costs of the first axes and of the last, (V, R) and (V, C), split so that the two tables are small.

    Two axes are what they are, without a copy; what is forbidden has a finite price (see ``finite_costs``).

    Raises:
        ValueError: If the tables of more than two axes do not fit into memory, with the solver that needs none.
    """
    if not fits(folded_bytes(problem)):
        raise ValueError(
            f"solver={solver} would need {folded_bytes(problem) / GIB:.1f} GiB to fold the axes of a table of sides "
            f"{list(problem.sides)} into two; use solver=alternating, which needs no more than the costs"
        )
    costs = finite_costs(problem)
    if len(costs) == 1:
        return np.zeros((problem.num_words, 1), np.float32), costs[0]
    split = _split(problem.sides)
    return _outer_sum(costs[:split]), _outer_sum(costs[split:])


def folded_bytes(problem: ReallocationProblem) -> int:
    """What ``fold`` takes beside the costs."""
    if problem.num_components <= 2:
        return 0
    split = _split(problem.sides)
    sizes = math.prod(problem.sides[:split]) + math.prod(problem.sides[split:])
    return problem.num_words * sizes * max(cost.itemsize for cost in problem.costs)


def fits(num_bytes: int) -> bool:
    """Whether so much memory can be taken, with a tenth to spare."""
    return num_bytes == 0 or num_bytes <= 0.9 * free_memory()


def _split(sides: tuple[int, ...]) -> int:
    """How many axes are the first of the two."""
    return min(range(1, len(sides)), key=lambda at: math.prod(sides[:at]) + math.prod(sides[at:]))


def _outer_sum(costs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Costs of every combination of codes, (V, product of the sides)."""
    total = costs[0]
    for cost in costs[1:]:
        total = (total[:, :, None] + cost[:, None, :]).reshape(len(cost), -1)
    return total
