"""New words into the empty cells of a table, axis by axis, with no word moved.

What a new word would cost under each code of an axis comes from loss statistics like those of section 3.2, gathered
on text where the words occur; how, is not known here.  Axes are filled one after the other, because the cost of a
column is only known once the row is: the model reads the row before it predicts the column.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import AutoSolver, Solver
from lightrnn_pl.allocation.word_allocation import WordAllocation


def empty_cells(allocation: WordAllocation) -> Bool[np.ndarray, "*sides"]:
    """True where no word is, shape ``sides``."""
    return (allocation.words() < 0).cpu().numpy()


def usable_cells(allocation: WordAllocation) -> Bool[np.ndarray, "*sides"]:
    """Empty cells each of whose codes some word has, shape ``sides``.

    The vectors of the other codes were never trained: a row without words is masked, and to open it would give an
    arbitrary share of the probability away.
    """
    usable = empty_cells(allocation)
    codes = allocation.codes.cpu().long()
    for axis, side in enumerate(allocation.sides):
        used = np.bincount(codes[:, axis].numpy(), minlength=side) > 0
        usable &= used.reshape([-1 if other == axis else 1 for other in range(usable.ndim)])
    return usable


def choose_codes(
    costs: Float[np.ndarray, "N side"],
    prefixes: Int[np.ndarray, "N axis"],
    free: Bool[np.ndarray, "*sides"],
    solver: Solver | None = None,
    filling: Float[np.ndarray, "*sides"] | None = None,
) -> Int[np.ndarray, " N"]:
    """The next code of each new word: the cheapest in all with no more words under a code than it has free cells.

    Args:
        costs: What each word would pay for each code of the next axis; a constant a word changes nothing.
        prefixes: The codes that the words have on the axes before; no columns for the first axis.
        free: The cells that may be filled, shape ``sides``.
        solver: Finds the codes; None means the choice of ``AutoSolver``.
        filling: What it costs to fill a cell, whichever word does, shape ``sides``; None means nothing.  A code with
            several free cells behind it costs their mean.

    Raises:
        ValueError: If more words have a prefix than there are free cells behind it.
    """
    axis = prefixes.shape[1]
    codes = np.empty(len(costs), dtype=np.int64)
    shared, group = np.unique(prefixes, axis=0, return_inverse=True)
    for number, prefix in enumerate(shared if axis else [()]):
        members = np.flatnonzero(group.reshape(-1) == number) if axis else np.arange(len(costs))
        behind = free[tuple(prefix)].reshape(free.shape[axis], -1)
        # The codes of later axes cost nothing yet, so that the solver only counts their cells.
        undecided = np.zeros((len(members), behind.shape[1]), dtype=costs.dtype)
        problem = ReallocationProblem((costs[members], undecided), available=behind)
        if filling is not None:
            price = np.where(free, filling, 0.0)[tuple(prefix)].reshape(behind.shape).sum(1)
            problem = replace(problem, costs=(costs[members] + price / np.maximum(1, behind.sum(1)), undecided))
        # AutoSolver itself would log its choice for each row.
        codes[members] = (solver or AutoSolver().choose(problem)).solve(problem).codes[:, 0]
    return codes


def first_cells(prefixes: Int[np.ndarray, "N axis"], free: Bool[np.ndarray, "*sides"]) -> Int[np.ndarray, "N k"]:
    """Codes of a free cell of its own for each word, the first ones behind its prefix: where the codes that are not
    chosen yet do not matter."""
    axis = prefixes.shape[1]
    cells = np.flatnonzero(free)
    behind = cells // math.prod(free.shape[axis:])
    wanted = np.zeros(len(prefixes), dtype=np.int64)
    for place in range(axis):
        wanted = wanted * free.shape[place] + prefixes[:, place]
    order = np.argsort(wanted, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(wanted[order], wanted[order])
    chosen = np.empty(len(order), dtype=np.int64)
    chosen[order] = cells[np.searchsorted(behind, wanted[order]) + rank]
    return np.stack(np.unravel_index(chosen, free.shape), axis=-1)


def grown_table(allocation: WordAllocation, codes: Int[np.ndarray, "N k"]) -> WordAllocation:
    """A larger table in which new words, numbered after those there are, have ``codes``; the others stay.

    Raises:
        ValueError: If a cell is outside the table or not empty.
    """
    old = allocation.codes.long()
    return WordAllocation(torch.cat([old, _tensor(codes, old)]), allocation.sides)


def move_new(allocation: WordAllocation, codes: Int[np.ndarray, "N k"]) -> None:
    """Give the last N words of a grown table other codes, in place."""
    kept = allocation.codes[: allocation.num_words - len(codes)].long()
    allocation.assign(torch.cat([kept, _tensor(codes, kept)]))


def _tensor(codes: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(codes, dtype=like.dtype, device=like.device)
