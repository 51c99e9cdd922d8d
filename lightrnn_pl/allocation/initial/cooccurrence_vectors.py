"""Word vectors from the co-occurrence of words in the training text.

The features of a word are its positive pointwise mutual information with the words at three offsets: one and two
positions before it, and one position after it (Bullinaria and Levy 2007).  A truncated randomized SVD reduces their
dimension (Halko et al. 2011).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from lightrnn_pl.allocation.initial.progress_bar import progress_bar

log = logging.getLogger(__name__)

_NEIGHBORS = ((1, 1.0), (2, 0.5), (-1, 0.7))
"""Offset (positive: before the word) and weight of each neighbor."""

CHUNK = 1 << 21
"""Tokens that are counted at a time."""

SAMPLED_CHUNK = 1 << 24
"""The same if only a sample is counted: the matrix of all counts is copied for each block."""

TrainingTokens: TypeAlias = NDArray[np.integer[Any]] | Iterable[NDArray[np.integer[Any]]]
"""Word ids of a text, whole or in blocks."""


def cooccurrence_vectors(
    tokens: TrainingTokens,
    num_words: int,
    dimension: int,
    num_contexts: int,
    seed: int,
    rates: Float[np.ndarray, " V"] | None = None,
) -> Float[np.ndarray, "V dimension"]:
    """A unit vector for each word; zero for words that never occur next to a context word.

    Args:
        tokens: Word ids of the training text, numbered by descending frequency: an array (N,), which may be a memory
            map, or an iterable of consecutive blocks.
        num_words: V.
        dimension: Dimension of the vectors.
        num_contexts: Number of context words: the most frequent words of the vocabulary.
        seed: Seed of the randomized SVD and of the sampling.
        rates: The share of the occurrences of each word that is counted, from :func:`sampling_rates`; None for all.
    """
    num_contexts = min(num_contexts, num_words)
    counts = _count_neighbors(tokens, num_words, num_contexts, rates, seed)
    with progress_bar("factorizing the co-occurrence matrix", None):
        parts = [weight * _positive_information(matrix) for matrix, (_, weight) in zip(counts, _NEIGHBORS, strict=True)]
        matrix = sparse.hstack(parts).tocsr().astype(np.float32)
        del counts, parts  # most of the memory
        return _reduce_dimension(matrix, dimension, seed)


def sampling_rates(counts: Int[np.ndarray, " V"], max_tokens: int) -> Float[np.ndarray, " V"] | None:
    """The share of the occurrences of each word that is counted, so that ``max_tokens`` are counted in total.

    Of each word, the same number of occurrences is counted, or all if it has fewer.

    Args:
        counts: Occurrences of each word.
        max_tokens: Number of occurrences to count.

    Returns:
        Numbers from 0 to 1, or None if there are at most ``max_tokens`` occurrences.
    """
    if counts.sum() <= max_tokens:
        return None
    ascending = np.sort(counts)
    num_larger = np.arange(len(counts), 0, -1)
    num_smaller = ascending.cumsum() - ascending
    limit = ((max_tokens - num_smaller) / num_larger)[np.argmax(num_smaller + num_larger * ascending > max_tokens)]
    return np.minimum(1, limit / np.maximum(counts, 1))


def _reduce_dimension(matrix: sparse.csr_matrix, dimension: int, seed: int) -> Float[np.ndarray, "V dimension"]:
    """Unit vectors from the left singular vectors of ``matrix``, scaled by the roots of the singular values."""
    dimension = min(dimension, *matrix.shape)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Sparse")  # sparse CSR tensors are in beta
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


def _count_neighbors(
    tokens: TrainingTokens,
    num_words: int,
    num_contexts: int,
    rates: Float[np.ndarray, " V"] | None = None,
    seed: int = 0,
) -> list[sparse.csr_matrix]:
    """For each of ``_NEIGHBORS``, the number of times that each context occurs there, in one pass over the text.

    With ``rates``, these are estimates: an occurrence that is counted counts as much as those that are not.
    """
    shape = num_words, num_contexts
    counts = [sparse.csr_matrix(shape, dtype=np.float32) for _ in _NEIGHBORS]
    reach = max(abs(offset) for offset, _ in _NEIGHBORS)
    before, weights_before = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    generator = np.random.default_rng(seed)
    total = len(tokens) if isinstance(tokens, np.ndarray) else None
    with progress_bar("counting co-occurrences", total) as advance:
        for block in token_blocks(tokens, CHUNK if rates is None else SAMPLED_CHUNK):
            text = np.concatenate([before, block])
            weights = np.concatenate([weights_before, _weights(block, rates, generator)])
            for number, (offset, _) in enumerate(_NEIGHBORS):
                # Each pair is counted in the block of its later word.
                first, length = max(len(before), abs(offset)), len(text)
                later, earlier = slice(first, length), slice(first - abs(offset), max(0, length - abs(offset)))
                words, contexts = (later, earlier) if offset > 0 else (earlier, later)
                counted = (text[contexts] < num_contexts) & (weights[words] > 0)
                pairs = text[words][counted], text[contexts][counted]
                counts[number] += sparse.coo_matrix((weights[words][counted], pairs), shape=shape).tocsr()
            before, weights_before = text[-reach:], weights[-reach:]
            advance(len(block))
    return counts


def _weights(
    block: NDArray[np.integer[Any]], rates: Float[np.ndarray, " V"] | None, generator: np.random.Generator
) -> Float[np.ndarray, " N"]:
    """How often each occurrence counts: the inverse of the rate of its word if it is sampled, and 0 otherwise."""
    if rates is None:
        return np.ones(len(block), dtype=np.float32)
    own = rates[block]
    return np.where(generator.random(len(block)) < own, 1 / np.maximum(own, 1e-12), 0).astype(np.float32)


def token_blocks(tokens: TrainingTokens, size: int) -> Iterator[NDArray[np.integer[Any]]]:
    """The text in blocks of ``size`` tokens; smaller blocks are joined."""
    pending: list[NDArray[np.integer[Any]]] = []
    for block in [tokens] if isinstance(tokens, np.ndarray) else tokens:
        for start in range(0, len(block), size):
            pending.append(block[start : start + size])
            if sum(map(len, pending)) >= size:
                yield np.concatenate(pending)
                pending.clear()
    if pending:
        yield np.concatenate(pending)


def _positive_information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information, with context counts smoothed by the power 0.75 (Levy et al. 2015)."""
    total = counts.sum()
    word_counts = np.asarray(counts.sum(1)).ravel()
    context_counts = np.asarray(counts.sum(0)).ravel() ** 0.75
    context_counts *= total / context_counts.sum()
    entries = counts.tocoo()
    information = np.log(entries.data * total / (word_counts[entries.row] * context_counts[entries.col]))
    positive = information > 0
    return sparse.csr_matrix((information[positive], (entries.row[positive], entries.col[positive])), counts.shape)
