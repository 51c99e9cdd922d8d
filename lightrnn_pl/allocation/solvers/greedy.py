"""The 1/2-approximation of the paper (LightRNN, section 3.2, citing Preis 1999), without a list of the V x V edges.

The gain of assigning a word to a cell is the word's highest cost minus its cost in that cell.  Preis's algorithm
selects edges that are heavier than all their neighbors.  If all gains differ, this yields the same matching as always
selecting the heaviest free edge, and its gain is at least half of the optimum.  Here, a heap contains the best free
cell of each word, and an entry whose cell has been assigned in the meantime is updated.
"""

from __future__ import annotations

from typing import Literal, no_type_check

import numba
import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import auction_kernels as kernels
from lightrnn_pl.allocation.solvers.base import Solver
from lightrnn_pl.allocation.solvers.folding import fold
from lightrnn_pl.allocation.solvers.transport import separable_bound
from lightrnn_pl.checks import check_choice


class GreedySolver(Solver):
    """Assigns one word after the other; ignores the current codes.

    Args:
        order: The order of the words.  ``gain``: largest gain first, the 1/2-approximation of the paper.  ``regret``:
            largest difference between the best and the second best cell first (as of the last update of the word).
            ``rows_first``: all words to rows by largest gain, then to the cells of their rows, as in the code released
            by the authors.

    Raises:
        ValueError: If ``order`` is not one of the choices.
    """

    def __init__(self, order: Literal["gain", "regret", "rows_first"] = "gain") -> None:
        check_choice("solver.order", order, ("gain", "regret", "rows_first"))
        self.order = order

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        a, b = fold(problem, "greedy")
        num_columns = b.shape[1]
        width = -(-num_columns // kernels.BLOCK) * kernels.BLOCK
        row, column = np.divmod(problem.cells, num_columns)
        closed = np.full((a.shape[1], width), np.inf)
        closed[row, column] = 0.0
        blocks = kernels.block_minima(closed)
        columns = (b, kernels.block_minima(b), closed, blocks, blocks.min(axis=1))
        if self.order == "rows_first":
            is_free = (closed == 0).astype(np.int64)
            one_group = np.zeros(problem.num_words, np.int64)
            rows = _assign_codes(a, a.max(axis=1).astype(np.float64), one_group, is_free.sum(axis=1)[None])
            cells = rows * width + _assign_codes(b, b.max(axis=1).astype(np.float64), rows, is_free)
        else:
            worst = a.max(axis=1).astype(np.float64) + b.max(axis=1)
            cells = _assign_cells(a, *columns, worst, self.order == "regret")
        codes = problem.codes_of(cells // width * num_columns + cells % width)
        return codes, separable_bound(problem)


@numba.njit(cache=True)
@no_type_check
def _assign_cells(a, b, b_blocks, closed, block_closed, row_closed, worst, by_regret):
    """Padded number of the cell of each word; ``closed`` is 0 for free cells and +inf for all others."""
    num_words = a.shape[0]
    words = np.arange(num_words)
    best, second, cells = np.empty(num_words), np.empty(num_words), np.empty(num_words, np.int64)
    kernels.find_bids(a, b, b_blocks, closed, block_closed, row_closed, words, best, second, cells)
    keys = second - best if by_regret else worst - best
    keys, heap = _heap(keys)
    size = num_words
    width = closed.shape[1]
    one = np.empty(1, np.int64)
    while size > 0:
        word = heap[0]
        row = cells[word] // width
        column = cells[word] - row * width
        if closed[row, column] == 0.0:
            kernels.close(closed, block_closed, row_closed, row, column)
            size -= 1
            key, last = keys[size], heap[size]
        else:
            one[0] = word
            kernels.find_bids(
                a,
                b,
                b_blocks,
                closed,
                block_closed,
                row_closed,
                one,
                best[word : word + 1],
                second[word : word + 1],
                cells[word : word + 1],
            )
            key = second[word] - best[word] if by_regret else worst[word] - best[word]
            last = word
        if size > 0:
            _replace_largest(keys, heap, size, key, last)
    return cells


@numba.njit(cache=True)
@no_type_check
def _assign_codes(cost, worst, groups, capacity):
    """Code of each word, largest gain first; ``capacity[g, c]`` more words of group g may have code c."""
    num_words = len(cost)
    codes = np.empty(num_words, np.int64)
    keys = np.empty(num_words)
    for word in range(num_words):
        codes[word] = _cheapest_available(cost, word, capacity[groups[word]])
        keys[word] = worst[word] - cost[word, codes[word]]
    keys, heap = _heap(keys)
    size = num_words
    while size > 0:
        word = heap[0]
        remaining = capacity[groups[word]]
        if remaining[codes[word]] > 0:
            remaining[codes[word]] -= 1
            size -= 1
            key, last = keys[size], heap[size]
        else:
            codes[word] = _cheapest_available(cost, word, remaining)
            key = worst[word] - cost[word, codes[word]]
            last = word
        if size > 0:
            _replace_largest(keys, heap, size, key, last)
    return codes


@numba.njit(cache=True)
@no_type_check
def _cheapest_available(cost, word, remaining):
    cheapest = np.inf
    chosen = -1
    for code in range(cost.shape[1]):
        if remaining[code] > 0 and (chosen < 0 or cost[word, code] < cheapest):
            cheapest = cost[word, code]
            chosen = code
    return chosen


@numba.njit(cache=True)
@no_type_check
def _heap(keys):
    """A max-heap of the words by their keys; an array in descending order is one."""
    order = np.argsort(-keys, kind="mergesort")
    return keys[order], order


@numba.njit(cache=True)
@no_type_check
def _replace_largest(keys, heap, size, key, word):
    """Replace the top of a max-heap of ``size`` entries by (key, word)."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] > keys[child]:
            child += 1
        if keys[child] <= key:
            break
        keys[at] = keys[child]
        heap[at] = heap[child]
        at = child
    keys[at] = key
    heap[at] = word
