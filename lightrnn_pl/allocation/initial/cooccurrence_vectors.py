"""A first table made from the corpus: rows are balanced clusters of words that occur in the same places.

A LightRNN with k = 2 is a class-based language model whose classes are the rows, so rows should be classes from the
start.  Words become vectors by their neighbours (positive pointwise mutual information with the words left, left but
one and right; Bullinaria and Levy 2007), shortened by a truncated randomised SVD (Halko et al. 2011), and are grouped
by k-means in which every cluster holds exactly as many words as its row has cells.  Knows ids, not words.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float
from numpy.typing import NDArray

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
