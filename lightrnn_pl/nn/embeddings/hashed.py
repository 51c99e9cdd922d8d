"""Embedding vectors whose elements are hashed into shared weights (HashNet, Chen et al. 2015, section 4).

Only the weights are stored.  The weight of each element is computed when a word is looked up.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_flag, check_seed
from lightrnn_pl.nn.embeddings.word import WordEmbedding
from lightrnn_pl.nn.sharing import hashed_vectors, shared_count
from lightrnn_pl.nn.traceable import TableLookup, Traceable, num_bytes, vectors_of_all_words


class HashedEmbedding(WordEmbedding):
    """N parameters: element j of word w is weight xxhash(w, j) mod N, with a sign from a second hash.

    Args:
        allocation: The word allocation.
        embedding_dim: D.
        compression: N / (V D); None if ``num_weights`` is set.
        num_weights: N; None if ``compression`` is set.
        signed: Whether each element multiplies its weight by a random sign.
        seed: Seed of the hashes.
        steps_per_word: 1, or the number of codes per word (the default); see :class:`Embedding`.

    Raises:
        ValueError: Unless exactly one of ``compression`` and ``num_weights`` is set and all arguments are in range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        embedding_dim: int,
        compression: float | None = None,
        num_weights: int | None = None,
        signed: bool = True,
        seed: int = 0,
        steps_per_word: int | None = None,
    ) -> None:
        super().__init__(allocation, embedding_dim, steps_per_word)
        num_elements = allocation.num_words * embedding_dim
        num_shared = shared_count(compression, num_weights, num_elements, "num_weights", "model.embedding")
        self.weight = nn.Parameter(torch.zeros(num_shared))
        check_flag("model.embedding.signed", signed)
        check_seed("model.embedding.seed", seed)
        self.signed = signed
        self.seed = seed

    @override
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        return hashed_vectors(self.weight, words, self.embedding_dim, self.signed, self.seed)

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        num_words = self.allocation.num_words
        table = vectors_of_all_words(self, self.word_vectors, num_words, self.embedding_dim, max_bytes)
        return Traceable(TableLookup(table), {"vectors of all words": num_bytes(table)})
