"""Descent by exact assignment of one block of the table at a time, for any number of axes.

With the rows held fixed, the best columns are one small assignment problem a row, and the other way round; each is
solved by scipy, so no step makes the table worse.  It stops where no single row and no single column can be improved,
which is a local optimum only.  Knows nothing of prices.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import Solver, finite_costs
from lightrnn_pl.allocation.solvers.transport import separable_bound

_MAX_BLOCK = 1024
"""Cells of a block that is solved at once: some 50 ms of scipy."""


class AlternatingSolver(Solver):
    """Never worse than the problem's codes; without codes it starts from the words in order.

    For k > 2 a block is all cells with one code fixed where that is at most 1,024 cells, otherwise all with all codes
    fixed but one.  The bound is that of the axes apart.

    Args:
        max_sweeps: Times that every axis gets its turn.
        tolerance: Stop when a sweep gains less than this share of the cost above the floor.
    """

    def __init__(self, max_sweeps: int = 50, tolerance: float = 1e-6) -> None:
        if max_sweeps < 0 or tolerance < 0:
            raise ValueError(f"neither may be negative: solver.max_sweeps={max_sweeps}, solver.tolerance={tolerance}")
        self.max_sweeps = max_sweeps
        self.tolerance = tolerance

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        codes = problem.spell(problem.cells[: problem.num_words]) if problem.codes is None else problem.codes
        return improve(problem, codes, self.max_sweeps, self.tolerance), separable_bound(problem)


def improve(
    problem: ReallocationProblem, codes: Int[np.ndarray, "V k"], max_sweeps: int, tolerance: float
) -> Int[np.ndarray, "V k"]:
    """Sweep over the axes from ``codes`` until a sweep gains less than ``tolerance`` of the excess; never worse."""
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
    """Which axes each half-sweep holds fixed: one where the rest is a small block, else all but one."""
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
    """Give the words that share the codes of the ``fixed`` axes the best of that block's cells, in place."""
    free = np.array([axis for axis in range(problem.num_components) if axis not in fixed])
    cells = problem.spell(problem.cells)
    word_blocks = _groups(codes, problem.sides, fixed)
    cell_blocks = _groups(cells, problem.sides, fixed)
    for block, words in word_blocks.items():
        choices = cells[cell_blocks[block]][:, free]
        if len(choices) == 1:
            continue
        pairs = sum(costs[axis][np.ix_(words, choices[:, at])].astype(np.float64) for at, axis in enumerate(free))
        before = sum(costs[axis][words, codes[words, axis]].sum(dtype=np.float64) for axis in free)
        rows, chosen = linear_sum_assignment(pairs)
        # Ties leave the words where they are.
        if pairs[rows, chosen].sum() < before:
            codes[np.ix_(words, free)] = choices[chosen]


def _groups(
    codes: Int[np.ndarray, "n k"], sides: tuple[int, ...], axes: tuple[int, ...]
) -> dict[int, Int[np.ndarray, " members"]]:
    """Row numbers of ``codes`` by their codes on ``axes``."""
    if not axes:
        return {0: np.arange(len(codes))}
    keys = np.ravel_multi_index(tuple(codes[:, list(axes)].T), [sides[axis] for axis in axes])
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))
