"""Assigns new words to the empty cells of a table, axis by axis, without reallocating the existing words.

The cost of a new word under each code of an axis comes from loss statistics like those of LightRNN, section 3.2,
collected on text that contains the new words.  The axes are processed one after the other: the model reads the row
before it predicts the column, so the costs of the columns depend on the row.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightrnn_pl.allocation.progress_log import with_log
from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.solvers import AutoSolver, Solver
from lightrnn_pl.allocation.word_allocation import WordAllocation

log = logging.getLogger(__name__)

_CELLS_PER_WORD = 1.25


def empty_cells(allocation: WordAllocation) -> Bool[np.ndarray, "*sides"]:
    """True for cells without a word, shape ``sides``."""
    return (allocation.words() < 0).cpu().numpy()


def usable_cells(allocation: WordAllocation) -> Bool[np.ndarray, "*sides"]:
    """True for empty cells whose codes are all in use, shape ``sides``.

    The vectors of unused codes were never trained.  A row without words is masked, and unmasking it would assign it an
    arbitrary share of the probability.
    """
    usable = empty_cells(allocation)
    codes = allocation.codes.cpu().long()
    for axis, side in enumerate(allocation.sides):
        used = np.bincount(codes[:, axis].numpy(), minlength=side) > 0
        usable &= used.reshape([-1 if other == axis else 1 for other in range(usable.ndim)])
    return usable


def cells_of_new_columns(allocation: WordAllocation, num_words: int) -> Bool[np.ndarray, "*sides"]:
    """Cells for ``num_words`` words in new columns (codes of the last axis): true in rows that have words.

    There are 1.25 cells per word, so that few words get another row because their best one is full.
    """
    has_words = (allocation.words() >= 0).any(-1).cpu().numpy()
    number = math.ceil(_CELLS_PER_WORD * num_words / has_words.sum())
    return np.repeat(has_words[..., None], number, axis=-1)


def solve_by_prefix(
    costs: Float[np.ndarray, "N side"],
    prefixes: Int[np.ndarray, "N axis"],
    free: Bool[np.ndarray, "*sides"],
    solver: Solver | None = None,
    filling: Float[np.ndarray, "*sides"] | None = None,
) -> tuple[Int[np.ndarray, " N"], list[ReallocationResult]]:
    """The next code of each new word, at the lowest total cost.  No code gets more words than it has free cells.

    Args:
        costs: Cost of each word under each code of the next axis.  Adding a constant to the costs of a word does not
            change the result.
        prefixes: Codes of the words on the preceding axes; no columns for the first axis.
        free: True for cells that may be filled, shape ``sides``.
        solver: Solves the assignment; None selects a solver like ``AutoSolver``.
        filling: Cost of filling each cell, independent of the word, shape ``sides``; None means 0.  The cost of a code
            with several free cells is their mean.

    Returns:
        The codes, and the result of the assignment problem of each prefix.

    Raises:
        ValueError: If more words share a prefix than there are free cells with that prefix.
    """
    axis = prefixes.shape[1]
    codes = np.empty(len(costs), dtype=np.int64)
    results: list[ReallocationResult] = []
    distinct, group = np.unique(prefixes, axis=0, return_inverse=True)

    def report(number: int) -> None:
        log.info("Assigned the words of %d of %d rows.", number, len(distinct))

    for number, prefix in enumerate(with_log(distinct if axis else [()], report)):
        members = np.flatnonzero(group.reshape(-1) == number) if axis else np.arange(len(costs))
        available = free[tuple(prefix)].reshape(free.shape[axis], -1)
        # The codes of later axes have no cost yet; the solver only counts their cells.
        undecided = np.zeros((len(members), available.shape[1]), dtype=costs.dtype)
        problem = ReallocationProblem((costs[members], undecided), available=available)
        if filling is not None:
            price = np.where(free, filling, 0.0)[tuple(prefix)].reshape(available.shape).sum(1)
            problem = replace(problem, costs=(costs[members] + price / np.maximum(1, available.sum(1)), undecided))
        # AutoSolver.solve would log its choice for each row.
        results.append((solver or AutoSolver()).choose(problem).solve(problem))
        codes[members] = results[-1].codes[:, 0]
    return codes, results


def first_free_cells(prefixes: Int[np.ndarray, "N axis"], free: Bool[np.ndarray, "*sides"]) -> Int[np.ndarray, "N k"]:
    """Codes of a distinct free cell for each word: the first ones with its prefix.

    They are placeholders while the codes after the prefix are not chosen yet.
    """
    axis = prefixes.shape[1]
    cells = np.flatnonzero(free)
    cell_prefixes = cells // math.prod(free.shape[axis:])
    word_prefixes = np.zeros(len(prefixes), dtype=np.int64)
    for column in range(axis):
        word_prefixes = word_prefixes * free.shape[column] + prefixes[:, column]
    order = np.argsort(word_prefixes, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(word_prefixes[order], word_prefixes[order])
    chosen = np.empty(len(order), dtype=np.int64)
    chosen[order] = cells[np.searchsorted(cell_prefixes, word_prefixes[order]) + rank]
    return np.stack(np.unravel_index(chosen, free.shape), axis=-1)


def grow_allocation(allocation: WordAllocation, codes: Int[np.ndarray, "N k"]) -> WordAllocation:
    """A new allocation that appends N words with ``codes``; the existing words keep their cells.

    Raises:
        ValueError: If a cell is outside the table or not empty.
    """
    old = allocation.codes.long()
    return WordAllocation(torch.cat([old, _to_tensor(codes, old)]), allocation.sides)


def reassign_new_words(allocation: WordAllocation, codes: Int[np.ndarray, "N k"]) -> None:
    """Assign other codes to the last N words of a grown allocation, in place."""
    existing = allocation.codes[: allocation.num_words - len(codes)].long()
    allocation.assign(torch.cat([existing, _to_tensor(codes, existing)]))


def _to_tensor(codes: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(codes, dtype=like.dtype, device=like.device)
