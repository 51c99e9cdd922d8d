"""Reallocation of columns within rows, which is exact on the output side.

Since rows do not change, the measured column losses remain valid for every column.  Only the meaning of the input
vectors changes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from typing_extensions import override

from lightrnn_pl.allocation.new_word_cells import solve_by_prefix
from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.solvers import ExactSolver, Solver
from lightrnn_pl.allocation.stopwatch import Stopwatch
from lightrnn_pl.training.reallocation.objectives.base import LossProvider, Objective, Proposal


class ColumnsObjective(Objective):
    """Reassigns the words of each row to the cells of that row; each row is an assignment problem of its own."""

    def __init__(self) -> None:
        super().__init__()

    @override
    def check_solver(self, solver: Solver, num_words: int, sides: tuple[int, ...]) -> None:
        solver.check(min(num_words, sides[-1]), (sides[-1], 1))

    @override
    def _propose(self, losses: LossProvider) -> Proposal:
        statistics = losses.statistics()
        codes = losses.model.allocation.codes.cpu().numpy().astype(np.int64)
        solution = losses.on_first_rank(lambda: last_codes(statistics.last_axis_problem(), codes, solver=losses.solver))
        before = statistics.nll_by_axis(codes)
        return Proposal(solution.codes, before, statistics.nll_by_axis(solution.codes), solution)


def last_codes(
    problem: ReallocationProblem,
    codes: Int[np.ndarray, "V k"],
    costs: Float[np.ndarray, "V side"] | None = None,
    movable: Bool[np.ndarray, " V"] | None = None,
    solver: Solver | None = None,
) -> ReallocationResult:
    """The best last code of each word, given its other codes; a row keeps its codes unless its loss decreases.

    Args:
        problem: The losses with ``codes`` as inputs.
        codes: The codes of the words.
        costs: Losses of the last axis; None for those of ``problem``.
        movable: Words whose last code may change; None for all.
        solver: Solves the assignment problem of each row; None solves it exactly.
    """
    last = problem.costs[-1] if costs is None else costs
    free = np.ones(problem.sides, bool) if problem.available is None else problem.available.copy()
    prefixes, chosen = codes[:, :-1], codes.copy()
    if movable is not None:
        free[tuple(codes[~movable].T)] = False
    some = slice(None) if movable is None else movable  # a slice, because a copy of all costs may not fit into memory
    with Stopwatch() as stopwatch:
        chosen[some, -1], results = solve_by_prefix(last[some], prefixes[some], free, solver or ExactSolver())
        seconds = stopwatch.seconds
    # Rounding or ties must not change the codes of a row, let alone increase its loss.
    words = np.arange(len(codes))
    gained = last[words, codes[:, -1]].astype(np.float64) - last[words, chosen[:, -1]]
    rows = np.ravel_multi_index(tuple(prefixes.T), problem.sides[:-1]) if prefixes.shape[1] else np.zeros_like(words)
    by_row = np.bincount(rows, gained, minlength=math.prod(problem.sides[:-1]))
    chosen = np.where((by_row > 0)[rows][:, None], chosen, codes)
    names = sorted({row.solver for row in results})
    lower_bound = math.inf  # if every row was solved exactly, the cost is the bound
    if costs is None and names != [ExactSolver.__name__]:
        fixed = problem.cost(codes) - float(last[words, codes[:, -1]][some].sum(dtype=np.float64))
        lower_bound = fixed + sum(row.lower_bound for row in results)
    result = problem.result(chosen, lower_bound, seconds)
    return replace(result, solver=", ".join(names))


def combine_stages(
    columns: ReallocationResult, rows: ReallocationResult, current: Int[np.ndarray, "V k"]
) -> ReallocationResult:
    """The result of two stages: the codes of the second, the solver and lower bound of the first, the time of both."""
    moved = int((columns.codes != current).any(axis=1).sum())
    seconds = columns.seconds + rows.seconds
    return replace(rows, codes=columns.codes, cost=columns.cost, seconds=seconds, moved=moved)
