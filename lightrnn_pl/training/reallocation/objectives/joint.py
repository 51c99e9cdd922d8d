"""The paper's objective (LightRNN, Equation 6): row loss plus column loss, all words at once."""

from __future__ import annotations

import numpy as np

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.training.reallocation.objectives.base import Losses, Objective, Proposal


class JointObjective(Objective):
    """Promises more than it keeps, because the column loss was measured with the old row fed.

    Args:
        maximum_moved: See :class:`Objective`.
        minimum_gain: See :class:`Objective`.
        price_inputs: Add what a move costs on the input side, to first order: the gradient of the loss with respect to
            the vectors that the word is read as, times the vectors of its new codes.
    """

    def __init__(self, maximum_moved: int | None = None, minimum_gain: float = 0.0, price_inputs: bool = False) -> None:
        super().__init__(maximum_moved, minimum_gain)
        self.price_inputs = price_inputs

    def _propose(self, losses: Losses) -> Proposal:
        statistics = losses.statistics()
        problem = statistics.problem()
        if self.price_inputs:
            priced = tuple(
                (cost + price).astype(cost.dtype)
                for cost, price in zip(problem.costs, losses.input_prices(), strict=True)
            )
            problem = ReallocationProblem(priced, problem.codes, problem.available)
        solution = self.solve(losses, problem, statistics.counts)
        assert problem.codes is not None
        before = statistics.nll_by_axis(np.asarray(problem.codes))
        return Proposal(solution.codes, before, statistics.nll_by_axis(solution.codes), solution)
