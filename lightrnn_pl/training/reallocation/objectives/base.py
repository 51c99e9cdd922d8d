"""What every objective promises: new codes for the words, and what they are to gain.

Equation 6 of LightRNN adds the row loss and the column loss of a word as if they were independent.  The column loss
is measured with the old row fed, so it has been told the old row; and every move changes what the input vectors mean.
The objectives differ in how much of that they take into account.  An objective sees losses, never a trainer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.move_limits import movers, restricted
from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.solvers import KeepSolver, Solver
from lightrnn_pl.nn.language_model import LanguageModel


class Losses(Protocol):
    """Where an objective gets its numbers from; the same on every rank."""

    model: LanguageModel
    solver: Solver

    def statistics(self, codes: Int[np.ndarray, "V k"] | None = None) -> LossStatistics:
        """Loss statistics of the training text under the present codes, or with others fed."""

    def input_prices(self) -> list[np.ndarray]:
        """To first order, what a word costs as an input under each code of each axis, (V, side)."""

    def candidate_columns(self, rows: Int[np.ndarray, "V n"]) -> tuple[np.ndarray, np.ndarray]:
        """Column losses (V, n, C) with each of ``rows`` fed, summed over a sample of each word's occurrences, and how
        many those were, (V,)."""

    def decide(self, choose: Callable[[], ReallocationResult]) -> ReallocationResult:
        """What ``choose`` returns, computed once and handed to every rank."""


@dataclass(frozen=True)
class Proposal:
    """Where the words shall go.

    Attributes:
        codes: New codes, (V, k).
        before: Nats in all over the training text by axis, before: row loss, column loss, ...
        promised: The same with the new codes, as far as the objective can tell.
        solution: The answer of the solver that chose the rows (or all of the table), with its proof.
    """

    codes: np.ndarray
    before: tuple[float, ...]
    promised: tuple[float, ...]
    solution: ReallocationResult


class Objective(ABC):
    """A way to choose new codes.

    Args:
        maximum_moved: Most words that may move, those that make room counted; None means all.
        minimum_gain: Nats that a better row must save a word, all its occurrences together, for it to be moved.
    """

    def __init__(self, maximum_moved: int | None = None, minimum_gain: float = 0.0) -> None:
        if maximum_moved is not None and maximum_moved < 2:
            raise ValueError(
                f"reallocation.objective.maximum_moved must be at least 2, a word and who makes room, got "
                f"{maximum_moved}; null means all"
            )
        if minimum_gain < 0:
            raise ValueError(f"reallocation.objective.minimum_gain is nats, at least 0, got {minimum_gain}")
        self.maximum_moved = maximum_moved
        self.minimum_gain = minimum_gain

    @property
    def is_limited(self) -> bool:
        """Whether some words have to stay."""
        return self.maximum_moved is not None or self.minimum_gain > 0

    def propose(self, losses: Losses) -> Proposal:
        """New codes, from the losses of the model as it is; the present ones where the solver moves no word."""
        return self._kept(losses) if isinstance(losses.solver, KeepSolver) else self._propose(losses)

    def solve(self, losses: Losses, problem: ReallocationProblem, counts: Tensor) -> ReallocationResult:
        """Solve ``problem`` for the words that may move, the others staying where they are."""
        return losses.decide(lambda: self._solve(losses.solver, problem, counts.cpu().numpy()))

    def movable(self, rows: ReallocationResult, present: Int[np.ndarray, "V k"]) -> Bool[np.ndarray, " V"] | None:
        """Words whose column may change once ``rows`` are chosen: all (None), or those that moved where moves are
        limited."""
        return (rows.codes != present).any(axis=1) if self.is_limited else None

    @staticmethod
    def require_rows_and_columns(problem: ReallocationProblem, name: str) -> None:
        """Refuse a table that is not one of rows and columns, for objectives that take these one after the other."""
        if problem.num_components != 2:
            raise ValueError(
                f"reallocation/objective={name} is for tables of rows and columns, and the words have "
                f"{problem.num_components} codes; use reallocation/objective=joint"
            )

    @abstractmethod
    def _propose(self, losses: Losses) -> Proposal:
        """New codes, from the losses of the model as it is."""

    @staticmethod
    def _kept(losses: Losses) -> Proposal:
        """The control of any objective."""
        statistics = losses.statistics()
        problem = statistics.problem()
        assert problem.codes is not None
        solution = losses.decide(lambda: losses.solver.solve(problem))
        nll = statistics.nll_by_axis(problem.codes)
        return Proposal(solution.codes, nll, nll, solution)

    def _solve(self, solver: Solver, problem: ReallocationProblem, counts: Int[np.ndarray, " V"]) -> ReallocationResult:
        if not self.is_limited:
            return solver.solve(problem)
        assert problem.codes is not None
        words = movers(problem, counts, self.maximum_moved, self.minimum_gain)
        codes = problem.codes.copy()
        if len(words) == 0:
            return problem.result(codes, problem.floor, 0.0)
        part = solver.solve(restricted(problem, words))
        codes[words] = part.codes
        # What others than the movers could gain is not bounded by their problem.
        return problem.result(codes, problem.floor, part.seconds)
