"""A first table made from the corpus: rows are balanced clusters of words that occur in the same places.

A LightRNN with k = 2 is a class-based language model whose classes are the rows, so rows should be classes from the
start.  Words become vectors by their neighbours (positive pointwise mutual information with the words left, left but
one and right; Bullinaria and Levy 2007), shortened by a truncated randomised SVD (Halko et al. 2011), and are grouped
by k-means in which every cluster holds exactly as many words as its row has cells.  Knows ids, not words.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.solvers.transport import assign_codes

log = logging.getLogger(__name__)

_NEIGHBOURS = ((1, 1.0), (2, 0.5), (-1, 0.7))
"""Offset of a neighbour (positive: before the word) and its weight."""

_CHUNK = 1 << 21
"""Tokens that are counted at once."""

TrainingTokens: TypeAlias = NDArray[np.integer[Any]] | Iterable[NDArray[np.integer[Any]]]
"""Word ids of a text, whole or in blocks."""


def cooccurrence_vectors(
    tokens: TrainingTokens, num_words: int, dimension: int, num_contexts: int, seed: int
) -> Float[np.ndarray, "V dimension"]:
    """A unit vector for each word, zero for words that occur beside none of the contexts.

    Args:
        tokens: Word ids of the training text, by descending frequency: an array (N,), which may be a memory map, or
            one after the other of blocks of it.
        num_words: V.
        dimension: Of the vectors.
        num_contexts: Only the neighbours that are among so many most frequent words are looked at.
        seed: Of the randomised SVD.
    """
    num_contexts = min(num_contexts, num_words)
    counts = _count_neighbours(tokens, num_words, num_contexts)
    parts = [weight * _positive_information(found) for found, (_, weight) in zip(counts, _NEIGHBOURS, strict=True)]
    matrix = sparse.hstack(parts).tocsr().astype(np.float32)
    dimension = min(dimension, *matrix.shape)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Sparse")  # torch's notes that the format is young
        torch.manual_seed(seed)
        tensor = torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
        )
        left, scale, _ = torch.svd_lowrank(tensor, q=min(dimension + 16, *matrix.shape), niter=4)
    vectors = (left * scale.sqrt())[:, :dimension].numpy()
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


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


def _count_neighbours(tokens: TrainingTokens, num_words: int, num_contexts: int) -> list[sparse.csr_matrix]:
    """For each of ``_NEIGHBOURS``, how often each word has each context there; one pass over the text."""
    shape = num_words, num_contexts
    counts = [sparse.csr_matrix(shape, dtype=np.float32) for _ in _NEIGHBOURS]
    reach = max(abs(offset) for offset, _ in _NEIGHBOURS)
    before = np.empty(0, dtype=np.int32)
    for block in _blocks(tokens):
        text = np.concatenate([before, block])
        for number, (offset, _) in enumerate(_NEIGHBOURS):
            # Each pair is counted in the block of its later word.
            first = max(len(before), abs(offset))
            later, earlier = text[first:], text[first - abs(offset) : max(0, len(text) - abs(offset))]
            words, contexts = (later, earlier) if offset > 0 else (earlier, later)
            looked_at = contexts < num_contexts
            places = words[looked_at], contexts[looked_at]
            counts[number] += sparse.coo_matrix((np.ones(len(places[0]), np.float32), places), shape=shape).tocsr()
        before = text[-reach:]
    return counts


def _blocks(tokens: TrainingTokens) -> Iterator[NDArray[np.integer[Any]]]:
    """A text in pieces of a size to be counted at once; small blocks are joined."""
    held: list[NDArray[np.integer[Any]]] = []
    for block in [tokens] if isinstance(tokens, np.ndarray) else tokens:
        for start in range(0, len(block), _CHUNK):
            held.append(block[start : start + _CHUNK])
            if sum(map(len, held)) >= _CHUNK:
                yield np.concatenate(held)
                held.clear()
    if held:
        yield np.concatenate(held)


def _positive_information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information, contexts smoothed by the power 0.75 (Levy et al. 2015)."""
    total = counts.sum()
    of_word = np.asarray(counts.sum(1)).ravel()
    of_context = np.asarray(counts.sum(0)).ravel() ** 0.75
    of_context *= total / of_context.sum()
    entries = counts.tocoo()
    information = np.log(entries.data * total / (of_word[entries.row] * of_context[entries.col]))
    kept = information > 0
    return sparse.csr_matrix((information[kept], (entries.row[kept], entries.col[kept])), shape=counts.shape)
