"""Balanced clustering of word vectors: the rows, then the columns, of an initial allocation.

Spherical k-means in which every cluster holds exactly as many words as its row has cells.
"""

from __future__ import annotations

import logging
import time

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.solvers.transport import assign_codes

log = logging.getLogger(__name__)


def balanced_clusters(
    vectors: Float[np.ndarray, "V dimension"],
    counts: Int[np.ndarray, " V"],
    capacities: Int[np.ndarray, " clusters"],
    iterations: int,
    seed: int,
) -> Int[np.ndarray, " V"]:
    """The cluster of each word, each cluster as large as it may be at most; spherical k-means with capacities.

    A word weighs the square root of its count: frequent words decide what a cluster is about, rare ones still matter.

    Raises:
        ValueError: If the capacities hold fewer words than there are.
    """
    if capacities.sum() < len(vectors):
        raise ValueError(f"{len(vectors)} words do not fit into clusters of {capacities.sum()} places in all")
    generator = np.random.default_rng(seed)
    weights = np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    weights /= weights.mean()
    num_clusters = len(capacities)
    # Frequent words are different from each other, and where most of the text is.
    frequent = generator.permutation(min(len(vectors), 20 * num_clusters))[:num_clusters]
    centers = vectors[np.resize(frequent, num_clusters)]
    clusters = np.zeros(len(vectors), dtype=np.int64)
    distances = np.empty((len(vectors), num_clusters), dtype=vectors.dtype)  # one of them is large enough
    for iteration in range(iterations):
        started = time.monotonic()
        np.matmul(vectors, centers.T, out=distances)
        np.subtract(1, distances, out=distances)
        distances *= weights[:, None]
        clusters = assign_codes(distances, capacities)
        sums = np.zeros_like(centers)
        np.add.at(sums, clusters, vectors * weights[:, None])
        centers = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
        mean = distances[np.arange(len(vectors)), clusters].mean()
        log.debug("clustering %d: mean distance %.4f, %.1f s", iteration, mean, time.monotonic() - started)
    return clusters


def column_clusters(
    vectors: Float[np.ndarray, "V dimension"],
    rows: Int[np.ndarray, " V"],
    counts: Int[np.ndarray, " V"],
    num_columns: int,
    iterations: int,
    seed: int,
) -> Int[np.ndarray, " V"]:
    """A column for each word, no two of a row in one, so that a column's words differ alike from their rows' means.

    k-means of what is left of the vectors without their rows' means, in which each row is an assignment problem of its
    own.  A row with fewer words than columns takes its first ones, so that empty cells come last.
    """
    weights = np.sqrt(np.maximum(counts, 1)).astype(np.float32)
    members = [np.flatnonzero(rows == row) for row in range(int(rows.max()) + 1)]
    rest = vectors.copy()
    for words in members:
        rest[words] -= np.average(vectors[words], axis=0, weights=weights[words]) if len(words) else 0
    columns = np.empty(len(vectors), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for words in members:
        columns[words] = generator.permutation(len(words))
    for _ in range(iterations):
        sums = np.zeros((num_columns, vectors.shape[1]), dtype=np.float32)
        np.add.at(sums, columns, rest * weights[:, None])
        totals = np.bincount(columns, weights, minlength=num_columns)
        centers = sums / np.maximum(totals, 1e-9)[:, None].astype(np.float32)
        for words in members:
            near = -2 * rest[words] @ centers[: len(words)].T + (centers[: len(words)] ** 2).sum(1)
            columns[words] = linear_sum_assignment(near * weights[words, None])[1]
    return columns
