"""One vector per word: the standard embedding."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.word import WordEmbedding


class FullEmbedding(WordEmbedding):
    """V x D parameters."""

    def __init__(self, allocation: WordAllocation, embedding_dim: int, steps_per_word: int | None = None) -> None:
        super().__init__(allocation, embedding_dim, steps_per_word)
        self.vectors = nn.Embedding(allocation.num_words, embedding_dim)

    @override
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        return self.vectors(words)
