"""The interface of objectives: an objective proposes new codes and predicts the loss under them.

Equation 6 of LightRNN adds the row loss and the column loss of a word as if they were independent.  However, the column
loss is measured with the old row as input, and every reallocation changes what the input vectors mean.  The objectives
differ in how much of this they take into account.  An objective does not depend on a trainer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int, Real
from torch import Tensor

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.reallocation_limits import restrict_problem, select_words
from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.solvers import KeepSolver, Solver
from lightrnn_pl.checks import check_count, check_number
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import LinearCodeOutput
from lightrnn_pl.training.reallocation.row_moves import RowMoves


class LossProvider(Protocol):
    """Provides the losses of the current model; all ranks get the same values."""

    model: LanguageModel
    solver: Solver

    def statistics(self, codes: Int[np.ndarray, "V k"] | None = None) -> LossStatistics:
        """Loss statistics of the training text with the current codes as inputs, or with ``codes``."""

    def input_costs(self) -> list[np.ndarray]:
        """The first-order input costs of each word under each code, one array (V, side) per axis, in nats."""

    def candidate_columns(self, rows: Int[np.ndarray, "V n"]) -> tuple[np.ndarray, np.ndarray]:
        """Column losses (V, n, C) with each of ``rows`` as input, summed over a sample of each word's occurrences, and
        the number of sampled occurrences (V,)."""

    def row_moves(self) -> RowMoves:
        """The losses with every word in every row, for outputs whose words keep their vectors."""

    def on_first_rank(self, solve: Callable[[], ReallocationResult]) -> ReallocationResult:
        """The result of ``solve``, computed once and sent to every rank."""


@dataclass(frozen=True)
class Proposal:
    """New codes, and their predicted effect.

    Attributes:
        codes: New codes, (V, k).
        before: Loss of the training text per axis under the current codes, in nats.
        predicted: Predicted loss per axis under the new codes, in nats.
        solution: The solver's result, including its lower bound.
    """

    codes: np.ndarray
    before: tuple[float, ...]
    predicted: tuple[float, ...]
    solution: ReallocationResult


class Objective(ABC):
    """Proposes new codes.

    Args:
        maximum_moved: Maximum number of words to reallocate, including those that only free a cell; None for no limit.
        minimum_gain: Nats, summed over its occurrences, that a word must gain from a better row to be reallocated.
    """

    uses_statistics = True
    """Whether the objective is based on loss statistics, which can be collected during training."""

    def __init__(self, maximum_moved: int | None = None, minimum_gain: float = 0.0) -> None:
        if maximum_moved is not None and maximum_moved < 2:
            raise ValueError(
                "reallocation.objective.maximum_moved must be at least 2, because words exchange their cells, or null "
                f"for no limit, got {maximum_moved}"
            )
        if maximum_moved is not None:
            check_count("reallocation.objective.maximum_moved", maximum_moved)
        check_number("reallocation.objective.minimum_gain", minimum_gain, at_least=0, hint=", in nats")
        self.maximum_moved = maximum_moved
        self.minimum_gain = minimum_gain

    @property
    def is_limited(self) -> bool:
        """Whether some words keep their codes."""
        return self.maximum_moved is not None or self.minimum_gain > 0

    def check_model(self, model: LanguageModel) -> None:
        """Check before training that ``model`` supports this objective.

        Raises:
            ValueError: If it does not.
        """
        if not isinstance(model.output, LinearCodeOutput):
            raise ValueError(
                f"reallocation.objective needs the losses of every code, which {type(model.output).__name__} does not "
                "provide; use reallocation=none, reallocation/objective=rows for model=row_word, or "
                "model/output=multi_component"
            )

    def check_solver(self, solver: Solver, num_words: int, sides: tuple[int, ...]) -> None:
        """Check before training that ``solver`` supports the problems of this objective.

        Args:
            solver: The solver.
            num_words: V.
            sides: Sides of the table.

        Raises:
            ValueError: If it does not.
        """
        solver.check(num_words, sides)

    def propose(self, losses: LossProvider) -> Proposal:
        """New codes, given the losses of the current model; the current codes if the solver is :class:`KeepSolver`."""
        return self._control(losses) if isinstance(losses.solver, KeepSolver) else self._propose(losses)

    def solve(self, losses: LossProvider, problem: ReallocationProblem, counts: Tensor) -> ReallocationResult:
        """Solve ``problem``; words that are not to be reallocated keep their codes."""
        return losses.on_first_rank(lambda: self._solve(losses.solver, problem, counts.cpu().numpy()))

    def movable(self, rows: ReallocationResult, current: Int[np.ndarray, "V k"]) -> Bool[np.ndarray, " V"] | None:
        """Words whose column may change, given the new rows: None for all, or those in a new cell if limits are set."""
        return (rows.codes != current).any(axis=1) if self.is_limited else None

    @staticmethod
    def require_rows_and_columns(problem: ReallocationProblem, name: str) -> None:
        """Check that words have a row and a column, for objectives that choose one after the other.

        Raises:
            ValueError: If words have a different number of codes.
        """
        if problem.num_components != 2:
            raise ValueError(
                f"reallocation/objective={name} requires two codes per word (row and column), got "
                f"{problem.num_components}; use reallocation/objective=joint"
            )

    @abstractmethod
    def _propose(self, losses: LossProvider) -> Proposal:
        """New codes, given the losses of the current model."""

    def _control(self, losses: LossProvider) -> Proposal:
        """The current codes: a control without reallocation."""
        statistics = losses.statistics()
        problem = statistics.problem()
        assert problem.codes is not None
        solution = losses.on_first_rank(lambda: losses.solver.solve(problem))
        nll = statistics.nll_by_axis(problem.codes)
        return Proposal(solution.codes, nll, nll, solution)

    def _solve(
        self, solver: Solver, problem: ReallocationProblem, counts: Real[np.ndarray, " V"]
    ) -> ReallocationResult:
        if not self.is_limited:
            return solver.solve(problem)
        assert problem.codes is not None
        words = select_words(problem, counts, self.maximum_moved, self.minimum_gain)
        codes = problem.codes.copy()
        if len(words) == 0:
            return replace(problem.result(codes, problem.floor, 0.0), solver=type(solver.choose(problem)).__name__)
        part = solver.solve(restrict_problem(problem, words))
        codes[words] = part.codes
        # The restricted problem does not bound the gain of the other words, so its lower bound does not apply.
        return replace(problem.result(codes, problem.floor, part.seconds), solver=part.solver)
