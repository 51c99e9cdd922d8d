"""The compiled inner loops of auction and greedy: finding the cheapest cell of a word without evaluating all cells.

The value of cell (i, j) for word w is ``a[w, i] + b[w, j] + p[i, j]``.  A row is skipped if a[w, i] plus the minimum of
b[w] plus the lowest price of the row cannot beat the second lowest value so far.  In the remaining rows, blocks of 16
columns are skipped by the same comparison.  The lowest prices of rows and blocks are exact, since a bid changes only
one block and one row.  Words numbered V and up represent the empty cells and have zero costs.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

BLOCK = 16
"""Columns per block; prices are padded with +inf to a multiple of it."""

# There are no NaNs, and sums may be reordered, which allows vectorized minima.  Infinities do occur.
_FASTMATH = {"nnan", "nsz", "reassoc", "contract"}


def block_minima(values: np.ndarray) -> np.ndarray:
    """Minimum of each row and block of columns, (N, columns) -> (N, blocks)."""
    starts = range(0, values.shape[1], BLOCK)
    return np.stack([values[:, start : start + BLOCK].min(axis=1) for start in starts], axis=1)


@numba.njit(cache=True, nogil=True)
@no_type_check
def find_bids(a, b, b_blocks, prices, block_prices, row_prices, words, best, second, cells):
    """Compute the lowest value, the second lowest value, and the cell of the lowest, of each word, in place.

    Shapes: a (V, R), b (V, C), b_blocks (V, blocks), prices (R, blocks * BLOCK), block_prices (R, blocks),
    row_prices (R,); words, best, second and cells (N,).
    """
    a_word = np.empty(prices.shape[0])
    b_word = np.zeros(prices.shape[1])
    blocks_word = np.empty(block_prices.shape[1])
    for n in range(len(words)):
        best[n], second[n], cells[n] = _cheapest(
            a, b, b_blocks, prices, block_prices, row_prices, words[n], a_word, b_word, blocks_word
        )


@numba.njit(cache=True, nogil=True)
@no_type_check
def bid_in_turn(
    a, b, b_blocks, prices, block_prices, row_prices, owners, assigned, waiting, num_waiting, epsilon, max_bids
):
    """Let the words in ``waiting`` bid one after the other, each at updated prices.

    Returns:
        The number of words that are still waiting.
    """
    a_word = np.empty(prices.shape[0])
    b_word = np.zeros(prices.shape[1])
    blocks_word = np.empty(block_prices.shape[1])
    while num_waiting > 0 and max_bids > 0:
        max_bids -= 1
        num_waiting -= 1
        word = waiting[num_waiting]
        best, second, cell = _cheapest(
            a, b, b_blocks, prices, block_prices, row_prices, word, a_word, b_word, blocks_word
        )
        num_waiting = _take(
            prices,
            block_prices,
            row_prices,
            owners,
            assigned,
            waiting,
            num_waiting,
            word,
            cell,
            _increment(best, second, epsilon),
        )
    return num_waiting


@numba.njit(cache=True, nogil=True)
@no_type_check
def accept_bids(
    prices,
    block_prices,
    row_prices,
    owners,
    assigned,
    waiting,
    num_waiting,
    words,
    best,
    second,
    cells,
    epsilon,
    changed,
    stamp,
):
    """Process bids that were all made at the same prices, in order.

    The first bid for a cell is accepted: other prices can only have risen since, so it is still the cheapest cell of
    the word.  The other bidders wait again.  ``changed`` stores for each cell the stamp of its last accepted bid.

    Returns:
        The number of waiting words.
    """
    for n in range(len(words)):
        if changed[cells[n]] == stamp:
            waiting[num_waiting] = words[n]
            num_waiting += 1
            continue
        changed[cells[n]] = stamp
        num_waiting = _take(
            prices,
            block_prices,
            row_prices,
            owners,
            assigned,
            waiting,
            num_waiting,
            words[n],
            cells[n],
            _increment(best[n], second[n], epsilon),
        )
    return num_waiting


@numba.njit(cache=True, nogil=True, inline="always")
@no_type_check
def _increment(best, second, epsilon):
    # A word that can use only one cell has no second choice.
    return second - best + epsilon if second < np.inf else epsilon


@numba.njit(cache=True, nogil=True)
@no_type_check
def _take(prices, block_prices, row_prices, owners, assigned, waiting, num_waiting, word, cell, increment):
    """Assign ``cell`` to ``word`` and raise its price; the previous owner waits again."""
    width = prices.shape[1]
    row = cell // width
    column = cell - row * width
    prices[row, column] += increment
    evicted = owners[cell]
    owners[cell] = word
    assigned[word] = cell
    if evicted >= 0:
        assigned[evicted] = -1
        waiting[num_waiting] = evicted
        num_waiting += 1
    _refresh_minima(prices, block_prices, row_prices, row, column)
    return num_waiting


@numba.njit(cache=True, nogil=True)
@no_type_check
def close(prices, block_prices, row_prices, row, column):
    """Exclude a cell from further assignments."""
    prices[row, column] = np.inf
    _refresh_minima(prices, block_prices, row_prices, row, column)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _refresh_minima(prices, block_prices, row_prices, row, column):
    block = column // BLOCK
    lowest = np.inf
    for j in range(block * BLOCK, (block + 1) * BLOCK):
        lowest = min(lowest, prices[row, j])
    block_prices[row, block] = lowest
    for k in range(block_prices.shape[1]):
        lowest = min(lowest, block_prices[row, k])
    row_prices[row] = lowest


@numba.njit(cache=True, nogil=True, fastmath=_FASTMATH)
@no_type_check
def _cheapest(a, b, b_blocks, prices, block_prices, row_prices, word, a_word, b_word, blocks_word):
    """The lowest value, the second lowest value, and the cell of the lowest; the last three arguments are buffers."""
    num_rows, width = prices.shape
    num_blocks = block_prices.shape[1]
    if word < a.shape[0]:
        for i in range(num_rows):
            a_word[i] = a[word, i]
        for j in range(b.shape[1]):
            b_word[j] = b[word, j]
        for k in range(num_blocks):
            blocks_word[k] = b_blocks[word, k]
    else:
        a_word[:] = 0.0
        b_word[:] = 0.0
        blocks_word[:] = 0.0
    b_lowest = np.inf
    for k in range(num_blocks):
        b_lowest = min(b_lowest, blocks_word[k])
    # Start with the most promising row: the earlier ``second`` is low, the more rows are skipped.
    first = 0
    lowest = np.inf
    for i in range(num_rows):
        value = a_word[i] + row_prices[i]
        if value < lowest:
            lowest = value
            first = i
    best, second, cell = np.inf, np.inf, -1
    for turn in range(-1, num_rows):
        i = first if turn < 0 else turn
        if turn == first or a_word[i] + row_prices[i] + b_lowest >= second:
            continue
        for k in range(num_blocks):
            limit = second - a_word[i]
            if blocks_word[k] + block_prices[i, k] >= limit:
                continue
            start = k * BLOCK
            lowest = np.inf
            for j in range(start, start + BLOCK):
                value = b_word[j] + prices[i, j]
                lowest = value if value < lowest else lowest
            if lowest >= limit:
                continue
            for j in range(start, start + BLOCK):
                value = a_word[i] + b_word[j] + prices[i, j]
                if value < best:
                    second = best
                    best = value
                    cell = i * width + j
                elif value < second:
                    second = value
    return best, second, cell
