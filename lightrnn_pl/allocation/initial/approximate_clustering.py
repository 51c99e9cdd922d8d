"""Balanced clustering for large vocabularies, without the distances of all words to all clusters.

The rows are assigned in passes over the words; see :mod:`~lightrnn_pl.allocation.initial.priced_assignment`.

The columns of a row are assigned greedily, most frequent words first, and by an auction in the last iteration.  Rows
are divided among threads; the result does not depend on their number.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int

from lightrnn_pl.allocation.initial.centers import mean_vectors, unit_centers
from lightrnn_pl.allocation.initial.priced_assignment import PricedAssignment, choose_in_order
from lightrnn_pl.allocation.initial.progress_bar import Advance
from lightrnn_pl.allocation.solvers.transport import assign_codes

_COLUMN_COSTS = 1 << 24
"""Number of costs of words in columns that are computed at a time."""

MAX_AUCTION_ROW = 1000
"""Largest number of cells of a row whose columns are assigned by an auction in the last iteration."""


def approximate_clusters(
    vectors: Float[np.ndarray, "V dimension"],
    weights: Float[np.ndarray, " V"],
    capacities: Int[np.ndarray, " clusters"],
    centers: Float[np.ndarray, "clusters dimension"],
    iterations: int,
    generator: np.random.Generator,
    advance: Advance,
) -> Int[np.ndarray, " V"]:
    """The cluster of each word; see :func:`~lightrnn_pl.allocation.initial.clustering.balanced_clusters`.

    Args:
        vectors: Unit vectors or zeros, in the order of descending frequency.
        weights: Weight of each word.
        capacities: Maximum number of words of each cluster, in total at least V.
        centers: Initial centers.
        iterations: Number of passes over the words; the last one enforces the capacities.
        generator: Random numbers for the order of the words.
        advance: Called with the number of words of each block.
    """

    def costs(words: Int[np.ndarray, " words"]) -> Float[np.ndarray, "words clusters"]:
        distances = vectors[words] @ centers.T
        np.subtract(1, distances, out=distances)
        distances *= weights[words, None]
        return distances

    assignment = PricedAssignment(costs, len(vectors), capacities, iterations, generator, advance)
    for step in assignment.steps:
        clusters = assignment.choose(costs, step)
        centers = unit_centers(vectors, weights, clusters, len(capacities))
    return assignment.assign(costs)


def approximate_column_clusters(
    vectors: Float[np.ndarray, "V dimension"],
    weights: Float[np.ndarray, " V"],
    rows: Int[np.ndarray, " V"],
    num_columns: int,
    iterations: int,
    generator: np.random.Generator,
    advance: Advance,
) -> Int[np.ndarray, " V"]:
    """A distinct column for each word of a row; see :func:`~lightrnn_pl.allocation.initial.clustering.column_clusters`.

    Args:
        vectors: One vector for each word.
        weights: Weight of each word.
        rows: Row of each word.
        num_columns: Number of cells per row.
        iterations: Number of iterations; the last one is an auction for rows of up to ``MAX_AUCTION_ROW`` cells.
        generator: Random numbers for the initial columns.
        advance: Called with the number of words of each row.
    """
    num_rows = int(rows.max()) + 1
    order = np.lexsort((-weights, rows))
    sizes = np.bincount(rows, minlength=num_rows)
    stops = np.cumsum(sizes).tolist()
    row_slices = [slice(stop - size, stop) for size, stop in zip(sizes.tolist(), stops, strict=True) if size]
    # Words in the order of their rows, so that a row is a slice.
    rows, weights = rows[order], weights[order]
    vectors = vectors[order]
    deviations = vectors - mean_vectors(vectors, weights, rows, num_rows)[rows]
    columns = np.concatenate([generator.permutation(row.stop - row.start) for row in row_slices])
    group_size = max(torch.get_num_threads(), _COLUMN_COSTS // num_columns**2)
    for iteration in range(iterations):
        is_auction = iteration == iterations - 1 and num_columns <= MAX_AUCTION_ROW
        centers = mean_vectors(deviations, weights, columns, num_columns)
        norms = (centers**2).sum(axis=1)
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for start in range(0, len(row_slices), group_size):
                group = row_slices[start : start + group_size]
                # One product for the rows of a group, because products in several threads compete for the cores.
                words = slice(group[0].start, group[-1].stop)
                costs = deviations[words] @ centers.T
                costs *= -2
                costs += norms
                costs *= weights[words, None]
                blocks = np.split(costs, [row.stop - words.start for row in group[:-1]])
                columns[words] = np.concatenate(list(threads.map(partial(_assign_columns, is_auction), blocks)))
                advance(words.stop - words.start)
    result = np.empty_like(columns)
    result[order] = columns
    return result


def _assign_columns(is_auction: bool, costs: Float[np.ndarray, "words columns"]) -> Int[np.ndarray, " words"]:
    """The columns of the words of one row, which are the first ones if there are fewer words than columns."""
    size = len(costs)
    costs = np.ascontiguousarray(costs[:, :size])
    one_word = np.ones(size, dtype=np.int64)
    if is_auction:
        return assign_codes(costs, one_word)
    zeros = np.zeros(size, dtype=np.float32)
    return choose_in_order(costs, zeros, zeros, one_word)
