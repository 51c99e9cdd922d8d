"""A few rows for each word, their column losses measured with each of them fed.

The row loss says which rows are worth a try; what the columns of such a row would cost is asked of the network itself,
on a sample of the contexts.  Rows are then chosen as if every word kept its column, and columns in each row by what was
measured for it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.checks import check_count
from lightrnn_pl.training.reallocation.objectives.base import Losses, Objective, Proposal
from lightrnn_pl.training.reallocation.objectives.columns import after_rows, last_codes


class CandidatesObjective(Objective):
    """For tables of two axes.

    Args:
        maximum_moved: See :class:`Objective`.
        minimum_gain: See :class:`Objective`.
        num_candidates: Rows looked at for each word, its present one among them.
    """

    def __init__(self, maximum_moved: int | None = None, minimum_gain: float = 0.0, num_candidates: int = 4) -> None:
        super().__init__(maximum_moved, minimum_gain)
        check_count("reallocation.objective.num_candidates", num_candidates, at_least=2)
        self.num_candidates = num_candidates

    def _propose(self, losses: Losses) -> Proposal:
        statistics = losses.statistics()
        problem = statistics.problem()
        codes = problem.codes
        assert codes is not None
        self.require_rows_and_columns(problem, "candidates")
        candidates = cheapest_rows(problem, self.num_candidates)
        columns, sampled = losses.candidate_columns(candidates)
        # From the sample to all occurrences; words outside it are taken to pay the same behind every row.
        counts = statistics.counts.cpu().numpy()
        columns *= (counts / np.maximum(1, sampled))[:, None, None].astype(columns.dtype)
        columns[sampled == 0] = problem.costs[1][sampled == 0][:, None]
        words = np.arange(len(codes))
        kept = columns[words, :, codes[:, 1]]  # what the present column would cost behind each candidate
        rows = np.full(problem.costs[0].shape, np.inf, dtype=problem.costs[0].dtype)
        np.put_along_axis(rows, candidates, np.take_along_axis(problem.costs[0], candidates, 1) + kept, axis=1)
        nothing = np.where(np.isinf(problem.costs[1]), np.inf, 0.0).astype(rows.dtype)
        chosen = self.solve(losses, ReallocationProblem((rows, nothing), codes, problem.available), statistics.counts)
        place = (candidates == chosen.codes[:, :1]).argmax(axis=1)
        measured = columns[words, place]
        before = statistics.nll_by_axis(codes)
        movable = self.movable(chosen, codes)
        columns_chosen = losses.decide(lambda: last_codes(problem, chosen.codes, measured, movable))
        solution = after_rows(columns_chosen, chosen, codes)
        row_loss = float(problem.costs[0][words, solution.codes[:, 0]].sum(dtype=np.float64))
        column_loss = float(measured[words, solution.codes[:, 1]].sum(dtype=np.float64))
        return Proposal(solution.codes, before, (row_loss, column_loss), solution)


def cheapest_rows(problem: ReallocationProblem, number: int) -> Int[np.ndarray, "V n"]:
    """The present row of each word, and the cheapest others."""
    cost, codes = problem.costs[0].copy(), problem.codes
    assert codes is not None
    cost[np.arange(len(cost)), codes[:, 0]] = -np.inf  # the present one comes first
    number = min(number, int(np.isfinite(problem.costs[0]).sum(axis=1).min()))
    rows = np.argpartition(cost, number - 1, axis=1)[:, :number]
    return np.take_along_axis(rows, np.take_along_axis(cost, rows, 1).argsort(axis=1, kind="stable"), 1)
