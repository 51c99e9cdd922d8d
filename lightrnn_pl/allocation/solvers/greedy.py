"""The papers' 1/2-approximation (LightRNN, section 3.2, citing Preis 1999), without a list of the V x V edges.

The gain of giving a cell to a word is the word's highest cost less its cost there.  Preis's algorithm takes edges that
are heavier than all their neighbours; where gains differ there is one matching of this kind, the one that taking the
heaviest free edge first gives, and its gain is at least half of the best.  Here every word offers its best free cell
in a heap; an offer whose cell is gone meanwhile is renewed.  Never revisits a choice and knows no prices.
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


class GreedySolver(Solver):
    """One pass over the words, by one of three orders; ignores the start codes.

    Args:
        order: ``gain``, the largest gain first, the paper's 1/2-approximation; ``regret``, first who would lose most
            by its second choice (as of its last look); ``rows_first``, every word to a row by largest gain and then
            to one of that row's cells, the order of the authors' release.
    """

    def __init__(self, order: Literal["gain", "regret", "rows_first"] = "gain") -> None:
        if order not in ("gain", "regret", "rows_first"):
            raise ValueError(f"solver.order={order!r}; choose gain, regret or rows_first")
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
            everyone = np.zeros(problem.num_words, np.int64)
            rows = _take_codes(a, a.max(axis=1).astype(np.float64), everyone, is_free.sum(axis=1)[None])
            cells = rows * width + _take_codes(b, b.max(axis=1).astype(np.float64), rows, is_free)
        else:
            worst = a.max(axis=1).astype(np.float64) + b.max(axis=1)
            cells = _take_cells(a, *columns, worst, self.order == "regret")
        codes = problem.spell(cells // width * num_columns + cells % width)
        return codes, separable_bound(problem)


@numba.njit(cache=True)
@no_type_check
def _take_cells(a, b, b_blocks, closed, block_closed, row_closed, worst, by_regret):
    """Cell of each word, padded numbers; ``closed`` is 0 where a cell is free and +inf where it is not."""
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
def _take_codes(cost, worst, groups, left):
    """Code of each word, the largest gain first; ``left[g, c]`` words of group g may still have code c."""
    num_words = len(cost)
    codes = np.empty(num_words, np.int64)
    keys = np.empty(num_words)
    for word in range(num_words):
        codes[word] = _cheapest_open(cost, word, left[groups[word]])
        keys[word] = worst[word] - cost[word, codes[word]]
    keys, heap = _heap(keys)
    size = num_words
    while size > 0:
        word = heap[0]
        places = left[groups[word]]
        if places[codes[word]] > 0:
            places[codes[word]] -= 1
            size -= 1
            key, last = keys[size], heap[size]
        else:
            codes[word] = _cheapest_open(cost, word, places)
            key = worst[word] - cost[word, codes[word]]
            last = word
        if size > 0:
            _replace_largest(keys, heap, size, key, last)
    return codes


@numba.njit(cache=True)
@no_type_check
def _cheapest_open(cost, word, left):
    cheapest = np.inf
    chosen = -1
    for code in range(cost.shape[1]):
        if left[code] > 0 and (chosen < 0 or cost[word, code] < cheapest):
            cheapest = cost[word, code]
            chosen = code
    return chosen


@numba.njit(cache=True)
@no_type_check
def _heap(keys):
    """A heap, largest key on top, of the words: descending order is one."""
    order = np.argsort(-keys, kind="mergesort")
    return keys[order], order


@numba.njit(cache=True)
@no_type_check
def _replace_largest(keys, heap, size, key, word):
    """Put (key, word) in place of the top of the heap's first ``size`` entries."""
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
