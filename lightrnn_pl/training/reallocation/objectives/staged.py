"""Axis by axis: rows by their own loss, then columns by the losses that the new rows bring.

The row loss is honest: the row is predicted before anything of the word is read.  The column losses are gathered
again with the new rows fed, so what is promised for the output side is what is kept there.
"""

from __future__ import annotations

import numpy as np

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.training.reallocation.objectives.base import Losses, Objective, Proposal
from lightrnn_pl.training.reallocation.objectives.columns import after_rows, last_codes


class StagedObjective(Objective):
    """Rows first, with as many words as they have cells; then columns row by row.  For tables of two axes."""

    def _propose(self, losses: Losses) -> Proposal:
        statistics = losses.statistics()
        problem = statistics.problem()
        assert problem.codes is not None
        self.require_rows_and_columns(problem, "staged")
        before = statistics.nll_by_axis(problem.codes)
        rows = self.solve(losses, rows_alone(problem), statistics.counts)
        fed = losses.statistics(rows.codes)
        movable = self.movable(rows, problem.codes)
        solution = losses.decide(lambda: last_codes(fed.problem(), rows.codes, movable=movable))
        promised = fed.nll_by_axis(solution.codes)
        return Proposal(solution.codes, before, promised, after_rows(solution, rows, problem.codes))


def rows_alone(problem: ReallocationProblem) -> ReallocationProblem:
    """The problem in which columns cost nothing, so that only the number of words in a row counts."""
    row_cost, column_cost = problem.costs
    nothing = np.where(np.isinf(column_cost), np.inf, 0.0).astype(column_cost.dtype)
    return ReallocationProblem((row_cost, nothing), problem.codes, problem.available)
