"""Embedding vectors that are shorter for rarer words, projected to the size of the recurrent core's input."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.adaptive_vectors import AdaptiveVectors, frequency_cutoffs
from lightrnn_pl.nn.embeddings.word import WordEmbedding


class AdaptiveEmbedding(WordEmbedding):
    """Adaptive input representations (Baevski and Auli 2019); see :mod:`~lightrnn_pl.nn.adaptive_vectors`.

    Args:
        allocation: The word allocation.
        embedding_dim: D, the size of the vectors of the most frequent words.
        cutoffs: The first word of each band of shorter vectors, in the order of word ids, which is that of descending
            frequency.  None selects V/16 and V/4.
        div_value: Ratio of the vector sizes of consecutive bands.
        steps_per_word: 1, or the number of codes per word (the default); see :class:`Embedding`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        embedding_dim: int,
        cutoffs: Sequence[int] | None = None,
        div_value: float = 5.0,
        steps_per_word: int | None = None,
    ) -> None:
        super().__init__(allocation, embedding_dim, steps_per_word)
        chosen = frequency_cutoffs(cutoffs, allocation.num_words, embedding_dim, div_value, "model.embedding")
        self.vectors = AdaptiveVectors(allocation.num_words, embedding_dim, chosen, div_value)

    @property
    @override
    def table_bytes(self) -> int:
        return self.vectors.table_bytes

    @override
    def initialise(self, scale: float) -> None:
        super().initialise(scale)
        self.vectors.initialise(scale)

    @override
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        return self.vectors.expand(self.vectors(words))
