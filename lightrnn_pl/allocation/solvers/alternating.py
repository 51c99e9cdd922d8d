"""Alternating optimization: exact assignment of one block of the table at a time, for any number of axes.

With the rows fixed, the optimal columns are a small assignment problem per row, and vice versa.  Each is solved by
scipy, so the cost never increases.  The result is a local optimum, in which no single row or column can be improved.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import Solver, finite_costs
from lightrnn_pl.allocation.solvers.forbidden_codes import without_forbidden_codes
from lightrnn_pl.allocation.solvers.transport import separable_bound
from lightrnn_pl.checks import check_count, check_number

_MAX_BLOCK = 1024
"""Largest number of cells of a block that is assigned at once, which takes about 50 ms."""


class AlternatingSolver(Solver):
    """Starts from the problem's codes, or from the words in order if it has none.

    For k > 2, a block consists of the cells that share one code if these are at most 1,024 cells, and otherwise of the
    cells that share all codes but one.  The lower bound is the sum of the bounds of the axes.

    Args:
        max_sweeps: Maximum number of sweeps over all axes.
        tolerance: Stop if a sweep saves less than this share of the cost above the floor.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, max_sweeps: int = 50, tolerance: float = 1e-6) -> None:
        check_count("solver.max_sweeps", max_sweeps, 0)
        check_number("solver.tolerance", tolerance, 0)
        self.max_sweeps = max_sweeps
        self.tolerance = tolerance

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        codes = problem.codes_of(problem.cells[: problem.num_words]) if problem.codes is None else problem.codes
        codes = without_forbidden_codes(problem, codes)
        return improve(problem, codes, self.max_sweeps, self.tolerance), separable_bound(problem)


def improve(
    problem: ReallocationProblem, codes: Int[np.ndarray, "V k"], max_sweeps: int, tolerance: float
) -> Int[np.ndarray, "V k"]:
    """Sweep over the axes, starting from ``codes``, until a sweep saves less than ``tolerance`` of the excess cost."""
    costs = finite_costs(problem)
    words = np.arange(problem.num_words)
    codes = codes.copy()

    def total() -> float:
        return float(sum(cost[words, codes[:, axis]].sum(dtype=np.float64) for axis, cost in enumerate(costs)))

    cost = total()
    for _ in range(max_sweeps):
        for fixed in _fixed_axes(problem.sides):
            _reassign_blocks(problem, costs, codes, fixed)
        previous, cost = cost, total()
        if previous - cost <= tolerance * (previous - problem.floor):
            break
    return codes


def _fixed_axes(sides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The axes that are fixed in each step of a sweep: one if the remaining block is small, otherwise all but one."""
    axes = range(len(sides))
    if len(sides) == 1:
        return [()]
    if len(sides) > 2 and math.prod(sides) // min(sides) <= _MAX_BLOCK:
        return [(axis,) for axis in axes]
    return [tuple(other for other in axes if other != axis) for axis in reversed(axes)]


def _reassign_blocks(
    problem: ReallocationProblem,
    costs: tuple[np.ndarray, ...],
    codes: Int[np.ndarray, "V k"],
    fixed: tuple[int, ...],
) -> None:
    """Reassign the words that share their codes on the ``fixed`` axes to the cells of their block, in place."""
    free = np.array([axis for axis in range(problem.num_components) if axis not in fixed])
    cells = problem.codes_of(problem.cells)
    word_blocks = _groups(codes, problem.sides, fixed)
    cell_blocks = _groups(cells, problem.sides, fixed)
    for block, words in word_blocks.items():
        choices = cells[cell_blocks[block]][:, free]
        if len(choices) == 1:
            continue
        pairs = sum(costs[axis][np.ix_(words, choices[:, at])].astype(np.float64) for at, axis in enumerate(free))
        before = sum(costs[axis][words, codes[words, axis]].sum(dtype=np.float64) for axis in free)
        rows, chosen = linear_sum_assignment(pairs)
        # In a tie, the words keep their cells.
        if pairs[rows, chosen].sum() < before:
            codes[np.ix_(words, free)] = choices[chosen]


def _groups(
    codes: Int[np.ndarray, "n k"], sides: tuple[int, ...], axes: tuple[int, ...]
) -> dict[int, Int[np.ndarray, " members"]]:
    """Row numbers of ``codes``, grouped by the codes on ``axes``."""
    if not axes:
        return {0: np.arange(len(codes))}
    keys = np.ravel_multi_index(tuple(codes[:, list(axes)].T), [sides[axis] for axis in axes])
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True))
