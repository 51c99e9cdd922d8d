"""Reallocation in two stages: rows by their row loss, then columns by losses collected with the new rows as inputs.

The row loss is exact, because a row is predicted before any code of the word is read.  The column losses are collected
again with the new rows as inputs, so the predicted loss is exact on the output side.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.training.reallocation.objectives.base import LossProvider, Objective, Proposal
from lightrnn_pl.training.reallocation.objectives.columns import combine_stages, last_codes


class StagedObjective(Objective):
    """Chooses rows, limited by their number of cells, and then the columns within each row; words have two codes."""

    @override
    def _propose(self, losses: LossProvider) -> Proposal:
        statistics = losses.statistics()
        problem = statistics.problem()
        assert problem.codes is not None
        self.require_rows_and_columns(problem, "staged")
        before = statistics.nll_by_axis(problem.codes)
        rows = self.solve(losses, row_problem(problem), statistics.counts)
        with_new_rows = losses.statistics(rows.codes)
        movable = self.movable(rows, problem.codes)
        solution = losses.on_first_rank(lambda: last_codes(with_new_rows.problem(), rows.codes, movable=movable))
        predicted = with_new_rows.nll_by_axis(solution.codes)
        return Proposal(solution.codes, before, predicted, combine_stages(solution, rows, problem.codes))


def row_problem(problem: ReallocationProblem) -> ReallocationProblem:
    """The problem with column costs of zero, in which columns only limit the number of words per row."""
    row_cost, column_cost = problem.costs
    free_columns = np.where(np.isinf(column_cost), np.inf, 0.0).astype(column_cost.dtype)
    return ReallocationProblem((row_cost, free_columns), problem.codes, problem.available)
