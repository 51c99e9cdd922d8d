"""Only the last code moves: columns inside rows, which is exact on the output side.

The row that is fed stays the true one, so the column loss of every column is what it was measured to be; only the
input vectors of the words that move change their meaning.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from lightrnn_pl.allocation.new_word_cells import choose_codes
from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.solvers import ExactSolver
from lightrnn_pl.training.reallocation.objectives.base import Losses, Objective, Proposal


class ColumnsObjective(Objective):
    """Each row's words among that row's cells, each row an assignment problem of its own, solved exactly."""

    def __init__(self) -> None:
        super().__init__()

    def _propose(self, losses: Losses) -> Proposal:
        statistics = losses.statistics()
        problem = statistics.problem()
        codes = problem.codes
        assert codes is not None
        solution = losses.decide(lambda: last_codes(problem, codes))
        before = statistics.nll_by_axis(codes)
        return Proposal(solution.codes, before, statistics.nll_by_axis(solution.codes), solution)


def last_codes(
    problem: ReallocationProblem,
    codes: Int[np.ndarray, "V k"],
    costs: Float[np.ndarray, "V side"] | None = None,
    movable: Bool[np.ndarray, " V"] | None = None,
) -> ReallocationResult:
    """The best last code of each word, all others as in ``codes``; its own ones where nothing is better.

    Args:
        problem: Losses with ``codes`` fed.
        codes: The words' codes.
        costs: Losses of the last axis; None means those of ``problem``.
        movable: Words that may get another; None means all.
    """
    started = time.perf_counter()
    last = problem.costs[-1] if costs is None else costs
    free = np.ones(problem.sides, bool) if problem.available is None else problem.available.copy()
    prefixes, chosen = codes[:, :-1], codes.copy()
    movable = np.ones(len(codes), bool) if movable is None else movable
    free[tuple(codes[~movable].T)] = False
    chosen[movable, -1] = choose_codes(last[movable], prefixes[movable], free, ExactSolver())
    # No row gets worse for rounding or for ties.
    words = np.arange(len(codes))
    gained = last[words, codes[:, -1]].astype(np.float64) - last[words, chosen[:, -1]]
    rows = np.ravel_multi_index(tuple(prefixes.T), problem.sides[:-1]) if prefixes.shape[1] else np.zeros_like(words)
    by_row = np.bincount(rows, gained, minlength=math.prod(problem.sides[:-1]))
    chosen = np.where((by_row > 0)[rows][:, None], chosen, codes)
    # The best there is with these rows, so its own bound.
    return problem.result(chosen, math.inf, time.perf_counter() - started)


def after_rows(
    columns: ReallocationResult, rows: ReallocationResult, present: Int[np.ndarray, "V k"]
) -> ReallocationResult:
    """The answer of two stages: the codes of the second, the proof of the first, the time of both."""
    moved = int((columns.codes != present).any(axis=1).sum())
    seconds = columns.seconds + rows.seconds
    return replace(columns, lower_bound=rows.lower_bound, gap=rows.gap, seconds=seconds, moved=moved)
