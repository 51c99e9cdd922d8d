"""Short embedding vectors, projected to the size of the recurrent core's input (Slim Embedding, Figure 4: PM)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.embeddings.word import WordEmbedding


class ProjectedEmbedding(WordEmbedding):
    """V x P vectors and a P x D matrix without bias.

    Args:
        allocation: The word allocation.
        embedding_dim: D.
        projection_dim: P, the size of a word's vector before the projection; usually smaller than D.
        steps_per_word: 1, or the number of codes per word (the default); see :class:`Embedding`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, allocation: WordAllocation, embedding_dim: int, projection_dim: int, steps_per_word: int | None = None
    ) -> None:
        super().__init__(allocation, embedding_dim, steps_per_word)
        check_count("model.embedding.projection_dim", projection_dim)
        self.vectors = nn.Embedding(allocation.num_words, projection_dim)
        self.projection = nn.Linear(projection_dim, embedding_dim, bias=False)

    @override
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        return self.projection(self.vectors(words))
