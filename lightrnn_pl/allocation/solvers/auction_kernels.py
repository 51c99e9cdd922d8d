"""The compiled inner loops of auction and greedy: finding the cheapest cell of a word without looking at all of them.

A word w values cell (i, j) at ``a[w, i] + b[w, j] + p[i, j]``.  A row is passed over when a[w, i] plus the least
b[w] plus the row's least price cannot beat the second best value found so far, and in a row that is opened so is
every block of 16 columns by the same comparison of its own least values.  The least prices of rows and blocks are kept
exact: one bid changes one block and one row.  Knows arrays only; the words numbered V and up are the empty cells,
whose costs are zero.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

BLOCK = 16
"""Columns that are passed over together; prices are padded with +inf to a multiple of it."""

# Nothing here is NaN, and sums may be taken in any order: this lets minima be vectorised.  Infinities do occur.
_FASTMATH = {"nnan", "nsz", "reassoc", "contract"}


def block_minima(values: np.ndarray) -> np.ndarray:
    """Least value of each row and block of columns: (N, columns) -> (N, blocks)."""
    starts = range(0, values.shape[1], BLOCK)
    return np.stack([values[:, start : start + BLOCK].min(axis=1) for start in starts], axis=1)


@numba.njit(cache=True, nogil=True)
@no_type_check
def find_bids(a, b, b_blocks, prices, block_prices, row_prices, words, best, second, cells):
    """Fill in, for each of ``words``, its least value, its second least and the cell of the least.

    Shapes: a (V, R), b (V, C), b_blocks (V, blocks), prices (R, blocks * BLOCK), block_prices (R, blocks),
    row_prices (R,); the rest as many as there are words.
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
    a, b, b_blocks, prices, block_prices, row_prices, owners, places, waiting, num_waiting, epsilon, max_bids
):
    """Let waiting words bid one after the other, each at the prices the last one left; how many still wait."""
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
            places,
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
    places,
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
    """Take bids that were all made at the same prices, in order; how many words wait now.

    The first bid for a cell stands: other prices have only risen since, so its cell is still the word's cheapest.
    The others wait again.  ``changed`` (a stamp a cell) distinguishes them.
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
            places,
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
    # A word with one cell left to it has no second best.
    return second - best + epsilon if second < np.inf else epsilon


@numba.njit(cache=True, nogil=True)
@no_type_check
def _take(prices, block_prices, row_prices, owners, places, waiting, num_waiting, word, cell, increment):
    """Give ``cell`` to ``word`` at a higher price; who had it waits."""
    width = prices.shape[1]
    row = cell // width
    column = cell - row * width
    prices[row, column] += increment
    evicted = owners[cell]
    owners[cell] = word
    places[word] = cell
    if evicted >= 0:
        places[evicted] = -1
        waiting[num_waiting] = evicted
        num_waiting += 1
    _refresh_minima(prices, block_prices, row_prices, row, column)
    return num_waiting


@numba.njit(cache=True, nogil=True)
@no_type_check
def close(prices, block_prices, row_prices, row, column):
    """Make a cell too dear for everyone."""
    prices[row, column] = np.inf
    _refresh_minima(prices, block_prices, row_prices, row, column)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _refresh_minima(prices, block_prices, row_prices, row, column):
    block = column // BLOCK
    least = np.inf
    for j in range(block * BLOCK, (block + 1) * BLOCK):
        least = min(least, prices[row, j])
    block_prices[row, block] = least
    for k in range(block_prices.shape[1]):
        least = min(least, block_prices[row, k])
    row_prices[row] = least


@numba.njit(cache=True, nogil=True, fastmath=_FASTMATH)
@no_type_check
def _cheapest(a, b, b_blocks, prices, block_prices, row_prices, word, a_word, b_word, blocks_word):
    """Least value, second least, and the cell of the least; the last three arguments are scratch."""
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
    b_least = np.inf
    for k in range(num_blocks):
        b_least = min(b_least, blocks_word[k])
    # The most promising row first: the sooner the second best is low, the more rows are passed over.
    first = 0
    least = np.inf
    for i in range(num_rows):
        value = a_word[i] + row_prices[i]
        if value < least:
            least = value
            first = i
    best, second, cell = np.inf, np.inf, -1
    for turn in range(-1, num_rows):
        i = first if turn < 0 else turn
        if turn == first or a_word[i] + row_prices[i] + b_least >= second:
            continue
        for k in range(num_blocks):
            limit = second - a_word[i]
            if blocks_word[k] + block_prices[i, k] >= limit:
                continue
            start = k * BLOCK
            least = np.inf
            for j in range(start, start + BLOCK):
                value = b_word[j] + prices[i, j]
                least = value if value < least else least
            if least >= limit:
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
