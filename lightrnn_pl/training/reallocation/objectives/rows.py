"""Reallocation of words to rows, for outputs that predict the row and then the word itself.

Columns have no meaning, so this is a transportation problem: the cost of each word in each row.  The words of a sample
exchange their cells, so rows keep their sizes, which may differ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from typing_extensions import override

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import WordVectorOutput
from lightrnn_pl.training.reallocation.objectives.base import LossProvider, Objective, Proposal


class RowsObjective(Objective):
    """Minimizes the estimated loss over the rows of all words; see :mod:`~lightrnn_pl.training.reallocation.row_moves`.

    Args:
        maximum_moved: See :class:`Objective`.
        minimum_gain: See :class:`Objective`.
    """

    uses_statistics = False

    @override
    def check_model(self, model: LanguageModel) -> None:
        if not isinstance(model.output, WordVectorOutput):
            raise ValueError(
                f"reallocation/objective=rows requires an output whose words keep their vectors, got "
                f"{type(model.output).__name__}; use model=row_word, or reallocation/objective=columns"
            )

    @override
    def _propose(self, losses: LossProvider) -> Proposal:
        moves = losses.row_moves()
        codes = losses.model.allocation.codes.cpu().numpy().astype(np.int64)
        words, sides = moves.words, losses.model.allocation.sides
        occupied, exchanged = np.zeros((2, *sides), bool)
        occupied[tuple(codes.T)] = True
        exchanged[tuple(codes[words].T)] = True
        costs = moves.row + moves.word
        problem = ReallocationProblem((costs, np.zeros((len(words), sides[1]), costs.dtype)), codes[words], exchanged)
        solution = self.solve(losses, problem, moves.counts[torch.from_numpy(words).to(moves.counts.device)])
        rows = codes[:, 0].copy()
        rows[words] = solution.codes[:, 0]
        chosen = keep_columns(rows, codes, occupied)
        solution = replace(solution, codes=chosen, moved=int((chosen != codes).any(axis=1).sum()))
        number = np.arange(len(words))
        row, word = (
            before + float((loss[number, rows[words]].astype(np.float64) - loss[number, codes[words, 0]]).sum())
            for before, loss in zip(moves.before, (moves.row, moves.word), strict=True)
        )
        return Proposal(chosen, moves.before, (row, word), solution)

    @override
    def _control(self, losses: LossProvider) -> Proposal:
        return self._propose(losses)


def keep_columns(
    rows: Int[np.ndarray, " V"], codes: Int[np.ndarray, "V 2"], available: Bool[np.ndarray, "R C"]
) -> Int[np.ndarray, "V 2"]:
    """The codes of words in new ``rows``: words that stay keep their cells, and others fill the free cells in order."""
    stay = rows == codes[:, 0]
    free = available.copy()
    free[tuple(codes[stay].T)] = False
    moved = np.flatnonzero(~stay)
    moved = moved[np.argsort(rows[moved], kind="stable")]
    result = codes.copy()
    result[moved, 0] = rows[moved]
    for row in np.unique(rows[moved]):
        members = moved[rows[moved] == row]
        result[members, 1] = np.flatnonzero(free[row])[: len(members)]
    return result
