"""One vector a word: the ordinary input layer, for k = 1."""

from __future__ import annotations

from torch import nn

from lightrnn_pl.allocation.table import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.types import StepVectors, Words


class FullEmbedding(Embedding):
    """V x D parameters, one step a word.

    Raises:
        ValueError: If the words are spelled with more than one code.
    """

    def __init__(self, allocation: WordAllocation, embedding_dim: int) -> None:
        super().__init__(allocation, embedding_dim)
        if self.steps_per_word != 1:
            raise ValueError(
                f"the full embedding takes one step a word, but the words have {self.steps_per_word} codes; "
                "use model.components=1 or model/embedding=multi_component"
            )
        self.vectors = nn.Embedding(allocation.num_words, embedding_dim)

    def forward(self, words: Words, targets: Words) -> StepVectors:
        """See :class:`Embedding`; ``targets`` are not read."""
        return self.vectors(words)
