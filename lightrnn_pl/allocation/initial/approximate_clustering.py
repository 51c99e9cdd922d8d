"""Balanced clustering for large vocabularies, without the distances of all words to all clusters.

The rows are assigned by online dual ascent: each cluster has a price, which increases with each word that chooses the
cluster.  A word chooses the cluster with the smallest sum of distance and price.  After a few passes the choices nearly
respect the capacities.  The last pass enforces the capacities, most frequent words first, and an auction then
reassigns the words for which another row is nearly as good, or better.

The columns of a row are assigned greedily, most frequent words first, and by an auction in the last iteration.  Rows
are divided among threads; the result does not depend on their number.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int

from lightrnn_pl.allocation.initial.centers import mean_vectors, unit_centers
from lightrnn_pl.allocation.initial.progress_bar import Advance
from lightrnn_pl.allocation.solvers.transport import assign_codes

_BLOCK = 4096
"""Words whose distances are computed at a time."""

_COLUMN_COSTS = 1 << 24
"""Number of costs of words in columns that are computed at a time."""

AUCTION_COSTS = 1 << 25
"""Number of costs of the auction, in float32: about 38,000 words and 891 rows."""

_AUCTION_TOLERANCE = 1e-2

_FIRST_STEP, _LAST_STEP = 10.0, 0.1
"""The price of a cluster increases by this multiple of the mean excess distance while it is filled once."""

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
    num_words, num_clusters = len(vectors), len(capacities)
    order = generator.permutation(num_words)
    mean_capacity = capacities.mean()
    unlimited = np.where(capacities > 0, np.iinfo(np.int64).max, 0)
    prices = np.where(capacities > 0, 0, np.inf).astype(np.float32)
    relative_steps = (mean_capacity / np.maximum(capacities, 1)).astype(np.float32)
    sample = _costs(vectors, weights, centers, order[:_BLOCK])
    excess = float((sample.mean(axis=1) - sample.min(axis=1)).mean()) / mean_capacity
    clusters = np.empty(num_words, dtype=np.int64)
    for step in np.geomspace(_FIRST_STEP, _LAST_STEP, iterations - 1, dtype=np.float32) * np.float32(excess):
        for start in range(0, num_words, _BLOCK):
            block = order[start : start + _BLOCK]
            costs = _costs(vectors, weights, centers, block)
            clusters[block] = _choose(costs, prices, step * relative_steps, unlimited)
            # The expected increase, so that prices remain at zero where the capacity is not used up.
            np.maximum(prices - step * mean_capacity * len(block) / num_words, 0, out=prices)
            advance(len(block))
        centers = unit_centers(vectors, weights, clusters, num_clusters)

    free = capacities.astype(np.int64)
    remaining_prices = np.where(free > 0, prices, np.inf).astype(np.float32)
    advantages = np.empty(num_words, dtype=np.float32)
    for start in range(0, num_words, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, num_words))
        costs = _costs(vectors, weights, centers, block)
        clusters[block] = _choose(costs, remaining_prices, np.zeros_like(prices), free)
        costs += prices
        chosen = np.arange(len(block)), clusters[block]
        own = costs[chosen]
        costs[chosen] = np.inf
        advantages[block] = costs.min(axis=1) - own
        advance(len(block))
    return _reassign_marginal_words(vectors, weights, capacities, centers, clusters, advantages)


def _reassign_marginal_words(
    vectors: Float[np.ndarray, "V dimension"],
    weights: Float[np.ndarray, " V"],
    capacities: Int[np.ndarray, " clusters"],
    centers: Float[np.ndarray, "clusters dimension"],
    clusters: Int[np.ndarray, " V"],
    advantages: Float[np.ndarray, " V"],
) -> Int[np.ndarray, " V"]:
    """Assign the words whose cluster has the smallest advantages over other clusters again, by an auction."""
    num_marginal = min(len(vectors), max(1, AUCTION_COSTS // len(capacities)))
    marginal = np.sort(np.argsort(advantages, kind="stable")[:num_marginal])
    free = capacities - np.bincount(np.delete(clusters, marginal), minlength=len(capacities))
    clusters[marginal] = assign_codes(_costs(vectors, weights, centers, marginal), free, _AUCTION_TOLERANCE)
    return clusters


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
    return _choose(costs, zeros, zeros, one_word)


def _costs(
    vectors: Float[np.ndarray, "V dimension"],
    weights: Float[np.ndarray, " V"],
    centers: Float[np.ndarray, "clusters dimension"],
    words: Int[np.ndarray, " words"],
) -> Float[np.ndarray, "words clusters"]:
    """Weighted distances of ``words`` to the centers."""
    costs = vectors[words] @ centers.T
    np.subtract(1, costs, out=costs)
    costs *= weights[words, None]
    return costs


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
@no_type_check
def _choose(costs, prices, steps, free):
    """The cluster with the smallest sum of cost and price for each word, in order.

    ``prices`` and ``free``, the number of free places, are updated in place.  The price of a full cluster is infinite.
    """
    num_words, num_clusters = costs.shape
    chosen = np.empty(num_words, np.int64)
    values = np.empty(num_clusters, costs.dtype)
    for word in range(num_words):
        smallest = np.float32(np.inf)
        for cluster in range(num_clusters):
            value = costs[word, cluster] + prices[cluster]
            values[cluster] = value
            smallest = min(smallest, value)
        best = 0
        while best < num_clusters - 1 and values[best] != smallest:
            best += 1
        chosen[word] = best
        free[best] -= 1
        prices[best] = prices[best] + steps[best] if free[best] > 0 else np.float32(np.inf)
    return chosen
