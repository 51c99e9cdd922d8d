"""Balanced clustering of word vectors into the rows, and then the columns, of an initial allocation.

The rows are the clusters of spherical k-means in which each cluster has as many words as its row has cells.  Small
problems are solved nearly exactly in each iteration; see :mod:`~lightrnn_pl.allocation.initial.approximate_clustering`
for the others.
"""

from __future__ import annotations

import logging
import time

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.initial.approximate_clustering import (
    MAX_AUCTION_ROW,
    approximate_clusters,
    approximate_column_clusters,
)
from lightrnn_pl.allocation.initial.centers import mean_vectors, unit_centers
from lightrnn_pl.allocation.initial.progress_bar import Advance, no_progress
from lightrnn_pl.allocation.solvers.transport import assign_codes

log = logging.getLogger(__name__)

EXACT_DISTANCES = 10_000_000
"""Largest number of distances, of words to clusters or to columns, for which each iteration is nearly exact."""


def balanced_clusters(
    vectors: Float[np.ndarray, "V dimension"],
    counts: Int[np.ndarray, " V"],
    capacities: Int[np.ndarray, " clusters"],
    iterations: int,
    seed: int,
    advance: Advance = no_progress,
) -> Int[np.ndarray, " V"]:
    """The cluster of each word, by spherical k-means in which no cluster exceeds its capacity.

    Words are weighted by the square root of their counts, so that frequent words dominate the centers but rare words
    still contribute.

    Args:
        vectors: Unit vectors or zeros, in the order of descending frequency.
        counts: Occurrences of each word.
        capacities: Maximum number of words of each cluster.
        iterations: Number of iterations.
        seed: Seed of all random numbers.
        advance: Called with numbers of words, ``iterations`` x V in total.

    Raises:
        ValueError: If the total capacity is smaller than the number of words.
    """
    if capacities.sum() < len(vectors):
        raise ValueError(f"{len(vectors)} words do not fit into clusters with a total capacity of {capacities.sum()}")
    generator = np.random.default_rng(seed)
    weights = np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    weights /= weights.mean()
    num_clusters = len(capacities)
    # Start from frequent words: they differ from each other and cover most of the text.
    frequent = generator.permutation(min(len(vectors), 20 * num_clusters))[:num_clusters]
    centers = vectors[np.resize(frequent, num_clusters)]
    if len(vectors) * num_clusters > EXACT_DISTANCES:
        return approximate_clusters(vectors, weights, capacities, centers, iterations, generator, advance)
    clusters = np.zeros(len(vectors), dtype=np.int64)
    distances = np.empty((len(vectors), num_clusters), dtype=vectors.dtype)  # allocated once, because it is large
    for iteration in range(iterations):
        started = time.monotonic()
        np.matmul(vectors, centers.T, out=distances)
        np.subtract(1, distances, out=distances)
        distances *= weights[:, None]
        clusters = assign_codes(distances, capacities)
        centers = unit_centers(vectors, weights, clusters, num_clusters)
        mean = distances[np.arange(len(vectors)), clusters].mean()
        log.debug("clustering %d: mean distance %.4f, %.1f s", iteration, mean, time.monotonic() - started)
        advance(len(vectors))
    return clusters


def column_clusters(
    vectors: Float[np.ndarray, "V dimension"],
    rows: Int[np.ndarray, " V"],
    counts: Int[np.ndarray, " V"],
    num_columns: int,
    iterations: int,
    seed: int,
    advance: Advance = no_progress,
) -> Int[np.ndarray, " V"]:
    """A distinct column for each word of a row, such that the words of a column deviate similarly from their row means.

    The method is k-means on the deviations of the vectors from the means of their rows.  Each row is an assignment
    problem of its own.  A row with fewer words than columns uses the first columns, so that empty cells come last.

    Args:
        vectors: One vector for each word.
        rows: Row of each word.
        counts: Occurrences of each word.
        num_columns: Number of cells per row.
        iterations: Number of iterations.
        seed: Seed of all random numbers.
        advance: Called with numbers of words, ``iterations`` x V in total.
    """
    weights = np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    generator = np.random.default_rng(seed)
    if num_columns > MAX_AUCTION_ROW or len(vectors) * num_columns > EXACT_DISTANCES:
        return approximate_column_clusters(vectors, weights, rows, num_columns, iterations, generator, advance)
    members = [np.flatnonzero(rows == row) for row in range(int(rows.max()) + 1)]
    deviations = vectors.copy()
    for words in members:
        deviations[words] -= np.average(vectors[words], axis=0, weights=weights[words]) if len(words) else 0
    columns = np.empty(len(vectors), dtype=np.int64)
    for words in members:
        columns[words] = generator.permutation(len(words))
    for _ in range(iterations):
        centers = mean_vectors(deviations, weights, columns, num_columns)
        for words in members:
            distances = -2 * deviations[words] @ centers[: len(words)].T + (centers[: len(words)] ** 2).sum(1)
            columns[words] = linear_sum_assignment(distances * weights[words, None])[1]
        advance(len(vectors))
    return columns
