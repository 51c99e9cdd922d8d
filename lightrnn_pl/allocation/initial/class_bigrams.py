"""Rows of words that maximize the likelihood of a class bigram model, whose classes are the rows.

The model predicts the row of a word from the row of the word before it.  Up to a constant, its log-likelihood is the
sum of N(g, h) log [N(g, h) / (N(g) N(h))], where N(g, h) is the number of times that a word of row h follows a word of
row g (Brown et al. 1992, section 3).  Frequent words are moved one at a time by the exchange algorithm (Kneser and Ney
1993; Martin, Liermann and Ney 1998); the others, which hardly change the model, are then assigned all at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, no_type_check

import numba
import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float, Int
from numpy.typing import NDArray

from lightrnn_pl.allocation.initial.priced_assignment import PricedAssignment
from lightrnn_pl.allocation.initial.progress_bar import Advance, no_progress

_ASSIGNMENT_PASSES = 5
"""Passes over the less frequent words."""

_CSR_ARRAYS = "indptr", "indices", "data"

_LOG_TABLE = 1 << 16
"""x log x is looked up for counts below this number."""


def count_bigrams(
    blocks: Iterable[NDArray[np.integer[Any]]],
    num_words: int,
    rates: Float[np.ndarray, " V"] | None,
    generator: np.random.Generator,
    advance: Advance,
) -> sparse.csr_matrix:
    """The number of times that each word (column) follows each word (row) in a text, (V, V).

    Args:
        blocks: The text, in consecutive blocks of word ids.
        num_words: V.
        rates: The share of the occurrences of each word that is counted; None for all.  A pair is counted at the
            larger rate of its words, and counts as much as the pairs that are not.
        generator: Random numbers for the sampling.
        advance: Called with the number of tokens of each block.
    """
    counts = sparse.csr_matrix((num_words, num_words), dtype=np.int64)
    last = np.empty(0, dtype=np.int32)
    for block in blocks:
        text = np.concatenate([last, block])
        pairs, numbers = np.stack([text[:-1], text[1:]]), np.ones(len(text) - 1, dtype=np.int64)
        if rates is not None:
            rate = rates[pairs].max(axis=0)
            is_counted = generator.random(len(rate)) < rate
            pairs, numbers = pairs[:, is_counted], np.rint(1 / rate[is_counted]).astype(np.int64)
        counts += sparse.coo_matrix((numbers, tuple(pairs)), shape=counts.shape).tocsr()
        last = text[-1:]
        advance(len(block))
    return counts


class ClassBigrams:
    """The bigrams of a text and the rows of its words.

    Args:
        counts: The number of times that each word (column) follows each word (row).
        rows: The row of each word, which the methods change.
        num_rows: Number of rows.
    """

    def __init__(self, counts: sparse.csr_matrix, rows: Int[np.ndarray, " V"], num_rows: int) -> None:
        self.rows = rows
        self._num_rows = num_rows
        self._following = counts
        self._preceding = counts.T.tocsr()

    def row_counts(self) -> Int[np.ndarray, "rows rows"]:
        """The number of times that a word of each row (second axis) follows a word of each row (first axis)."""
        membership = self._membership(np.int64)
        return np.asarray((membership.T @ self._following @ membership).todense())

    def mutual_information(self) -> float:
        """The mutual information of the rows of adjacent words, in nats; the model's log-likelihood grows with it."""
        shares = self.row_counts() / max(self._following.sum(), 1)
        independent = np.outer(shares.sum(axis=1), shares.sum(axis=0))
        occurs = shares > 0
        return float((shares[occurs] * np.log(shares[occurs] / independent[occurs])).sum())

    def exchange(self, words: slice, rows: slice, free: Int[np.ndarray, " rows"], passes: int) -> None:
        """Move each of ``words`` in turn to the row of ``rows`` that maximizes the likelihood, given all other words.

        Args:
            words: Ids of the words.
            rows: Rows that they may take.
            free: Free cells of each row of the table, which are updated.
            passes: Number of passes over the words.
        """
        row_counts = self.row_counts()
        numbers = np.arange(1, _LOG_TABLE)
        _exchange(
            passes,
            *(getattr(counts, name) for counts in (self._following, self._preceding) for name in _CSR_ARRAYS),
            *(words.start, words.stop, rows.start, rows.stop),
            *(self.rows, free, row_counts, row_counts.sum(axis=1), row_counts.sum(axis=0)),
            np.concatenate([[0.0], numbers * np.log(numbers)]),
        )

    def assign(
        self, words: slice, rows: slice, capacities: Int[np.ndarray, " rows"], generator: np.random.Generator
    ) -> None:
        """Assign all of ``words`` to ``rows`` again, given the counts of pairs of rows.

        Args:
            words: Ids of the words.
            rows: Rows that they may take.
            capacities: Maximum number of words in each of ``rows``.
            generator: Random numbers for the order of the words.
        """
        row_counts = self.row_counts().astype(np.float32)
        total = max(float(row_counts.sum()), 1.0)
        # Smoothed by a prior that the rows are independent, which counts as much as the text.
        independent = np.outer(row_counts.sum(axis=1), row_counts.sum(axis=0)) / total
        information = np.log((row_counts + independent + 1e-9) / (2 * independent + 1e-9)).astype(np.float32)
        membership = self._membership(np.float32)
        following = (self._following[words].astype(np.float32) @ membership).tocsr()
        preceding = (self._preceding[words].astype(np.float32) @ membership).tocsr()
        after_row = np.ascontiguousarray(-information.T[:, rows])  # [following row, own row]
        before_row = np.ascontiguousarray(-information[:, rows])  # [preceding row, own row]

        def costs(block: Int[np.ndarray, " words"]) -> Float[np.ndarray, "words rows"]:
            result: Float[np.ndarray, "words rows"] = following[block] @ after_row + preceding[block] @ before_row
            return result

        num_words = words.stop - words.start
        assignment = PricedAssignment(costs, num_words, capacities, _ASSIGNMENT_PASSES, generator, no_progress)
        for step in assignment.steps:
            assignment.choose(costs, step)
        self.rows[words] = rows.start + assignment.assign(costs)

    def _membership(self, dtype: Any) -> sparse.csr_matrix:
        """1 for the row of each word, (V, rows)."""
        ones = np.ones(len(self.rows), dtype=dtype)
        return sparse.csr_matrix((ones, (np.arange(len(self.rows)), self.rows)), (len(self.rows), self._num_rows))


@numba.njit(cache=True, inline="always")
@no_type_check
def _x_log_x(x, log_table):
    return log_table[x] if x < len(log_table) else x * np.log(x)


@numba.njit(cache=True)
@no_type_check
def _count_rows(word, start, neighbors, counts, rows, by_row, found):
    """Add the neighbors of a word to ``by_row``, and list the rows that occur in ``found``.

    Returns:
        The number of these rows, that of all neighbors, and that of neighbors that are the word itself, which are in
        none of the rows.
    """
    num_found, total, itself = 0, 0, 0
    for k in range(start[word], start[word + 1]):
        total += counts[k]
        if neighbors[k] == word:
            itself += counts[k]
            continue
        row = rows[neighbors[k]]
        if by_row[row] == 0:
            found[num_found] = row
            num_found += 1
        by_row[row] += counts[k]
    return num_found, total, itself


@numba.njit(cache=True, nogil=True)
@no_type_check
def _exchange(
    passes,
    next_start,
    next_words,
    next_counts,
    previous_start,
    previous_words,
    previous_counts,
    first_word,
    stop_word,
    first_row,
    stop_row,
    rows,
    free,
    row_counts,
    left,
    right,
    log_table,
):
    """Passes over the words from ``first_word`` to ``stop_word``.

    ``rows``, ``free``, ``row_counts`` and its sums ``left`` (over the second axis) and ``right`` are updated in place.
    """
    num_rows = len(free)
    after, before = np.zeros(num_rows, np.int64), np.zeros(num_rows, np.int64)  # words of each row next to the word
    after_rows, before_rows = np.empty(num_rows, np.int64), np.empty(num_rows, np.int64)  # those that are not zero
    for position in range(passes * (stop_word - first_word)):
        word = first_word + position % (stop_word - first_word)
        num_after, num_left, itself = _count_rows(word, next_start, next_words, next_counts, rows, after, after_rows)
        num_before, num_right, itself = _count_rows(
            word, previous_start, previous_words, previous_counts, rows, before, before_rows
        )

        own = rows[word]
        for k in range(num_after):
            row_counts[own, after_rows[k]] -= after[after_rows[k]]
        for k in range(num_before):
            row_counts[before_rows[k], own] -= before[before_rows[k]]
        row_counts[own, own] -= itself
        left[own] -= num_left
        right[own] -= num_right

        best, largest = own, -np.inf
        for row in range(first_row, stop_row):
            if free[row] <= 0 and row != own:
                continue
            gain = _x_log_x(left[row], log_table) - _x_log_x(left[row] + num_left, log_table)
            gain += _x_log_x(right[row], log_table) - _x_log_x(right[row] + num_right, log_table)
            for k in range(num_after):
                if after_rows[k] != row:
                    count = row_counts[row, after_rows[k]]
                    gain += _x_log_x(count + after[after_rows[k]], log_table) - _x_log_x(count, log_table)
            for k in range(num_before):
                if before_rows[k] != row:
                    count = row_counts[before_rows[k], row]
                    gain += _x_log_x(count + before[before_rows[k]], log_table) - _x_log_x(count, log_table)
            count = row_counts[row, row]
            gain += _x_log_x(count + after[row] + before[row] + itself, log_table) - _x_log_x(count, log_table)
            if gain > largest + 1e-9 or (row == own and gain >= largest):
                best, largest = row, gain

        rows[word] = best
        free[own] += 1
        free[best] -= 1
        for k in range(num_after):
            row_counts[best, after_rows[k]] += after[after_rows[k]]
            after[after_rows[k]] = 0
        for k in range(num_before):
            row_counts[before_rows[k], best] += before[before_rows[k]]
            before[before_rows[k]] = 0
        row_counts[best, best] += itself
        left[best] += num_left
        right[best] += num_right
