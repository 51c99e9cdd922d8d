"""The paper's objective (LightRNN, Equation 6): the sum of row loss and column loss, minimized over all codes."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.training.reallocation.objectives.base import LossProvider, Objective, Proposal


class JointObjective(Objective):
    """Chooses rows and columns jointly.

    The predicted loss is too optimistic, because the column loss was measured with the old row as input.

    Args:
        maximum_moved: See :class:`Objective`.
        minimum_gain: See :class:`Objective`.
        price_inputs: Add the first-order cost of the change of input vectors; see
            :mod:`~lightrnn_pl.training.reallocation.input_costs`.
    """

    def __init__(self, maximum_moved: int | None = None, minimum_gain: float = 0.0, price_inputs: bool = False) -> None:
        super().__init__(maximum_moved, minimum_gain)
        self.price_inputs = price_inputs

    @override
    def _propose(self, losses: LossProvider) -> Proposal:
        statistics = losses.statistics()
        problem = statistics.problem()
        if self.price_inputs:
            costs = tuple(
                (output_cost + input_cost).astype(output_cost.dtype)
                for output_cost, input_cost in zip(problem.costs, losses.input_costs(), strict=True)
            )
            problem = ReallocationProblem(costs, problem.codes, problem.available)
        solution = self.solve(losses, problem, statistics.counts)
        assert problem.codes is not None
        before = statistics.nll_by_axis(np.asarray(problem.codes))
        return Proposal(solution.codes, before, statistics.nll_by_axis(solution.codes), solution)
