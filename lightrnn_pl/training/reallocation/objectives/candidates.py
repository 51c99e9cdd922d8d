"""Candidate rows for each word, with column losses measured for each candidate.

The row loss selects the candidate rows.  The network then measures the column losses with each candidate as input, on
a sample of the contexts.  Rows are chosen as if every word kept its column, and then columns within each row according
to the measured losses.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from typing_extensions import override

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.checks import check_count
from lightrnn_pl.training.reallocation.objectives.base import LossProvider, Objective, Proposal
from lightrnn_pl.training.reallocation.objectives.columns import combine_stages, last_codes


class CandidatesObjective(Objective):
    """Chooses rows and then columns from measured losses of candidate rows; words have two codes.

    Args:
        maximum_moved: See :class:`Objective`.
        minimum_gain: See :class:`Objective`.
        num_candidates: Number of candidate rows per word, including its current row.
    """

    def __init__(self, maximum_moved: int | None = None, minimum_gain: float = 0.0, num_candidates: int = 4) -> None:
        super().__init__(maximum_moved, minimum_gain)
        check_count("reallocation.objective.num_candidates", num_candidates, at_least=2)
        self.num_candidates = num_candidates

    @override
    def _propose(self, losses: LossProvider) -> Proposal:
        statistics = losses.statistics()
        problem = statistics.problem()
        codes = problem.codes
        assert codes is not None
        self.require_rows_and_columns(problem, "candidates")
        candidates = cheapest_rows(problem, self.num_candidates)
        columns, sampled = losses.candidate_columns(candidates)
        # Extrapolate from the sample to all occurrences; for words outside it, column losses do not depend on the row.
        counts = statistics.counts.cpu().numpy()
        columns *= (counts / np.maximum(1, sampled))[:, None, None].astype(columns.dtype)
        columns[sampled == 0] = problem.costs[1][sampled == 0][:, None]
        words = np.arange(len(codes))
        same_column = columns[words, :, codes[:, 1]]  # loss of the current column under each candidate row
        row_costs = np.full(problem.costs[0].shape, np.inf, dtype=problem.costs[0].dtype)
        candidate_costs = np.take_along_axis(problem.costs[0], candidates, 1) + same_column
        np.put_along_axis(row_costs, candidates, candidate_costs, axis=1)
        free_columns = np.where(np.isinf(problem.costs[1]), np.inf, 0.0).astype(row_costs.dtype)
        row_problem = ReallocationProblem((row_costs, free_columns), codes, problem.available)
        rows = self.solve(losses, row_problem, statistics.counts)
        measured = columns[words, (candidates == rows.codes[:, :1]).argmax(axis=1)]
        before = statistics.nll_by_axis(codes)
        movable = self.movable(rows, codes)
        best_columns = losses.on_first_rank(lambda: last_codes(problem, rows.codes, measured, movable))
        solution = combine_stages(best_columns, rows, codes)
        row_loss = float(problem.costs[0][words, solution.codes[:, 0]].sum(dtype=np.float64))
        column_loss = float(measured[words, solution.codes[:, 1]].sum(dtype=np.float64))
        return Proposal(solution.codes, before, (row_loss, column_loss), solution)


def cheapest_rows(problem: ReallocationProblem, number: int) -> Int[np.ndarray, "V n"]:
    """The current row of each word, followed by the ``number`` - 1 other rows with the lowest loss."""
    cost, codes = problem.costs[0].copy(), problem.codes
    assert codes is not None
    cost[np.arange(len(cost)), codes[:, 0]] = -np.inf  # sort the current row first
    number = min(number, int(np.isfinite(problem.costs[0]).sum(axis=1).min()))
    rows = np.argpartition(cost, number - 1, axis=1)[:, :number]
    return np.take_along_axis(rows, np.take_along_axis(cost, rows, 1).argsort(axis=1, kind="stable"), 1)
