"""Input layers that give every word a vector of its own, whatever it is made of."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.types import StepVectors, Words


class WordEmbedding(Embedding):
    """One step a word for k = 1.  For k > 1 the hybrid of the two papers: the first step of a word reads the own
    vector of the word before it, and only the later steps read vectors that words share, those of the target's codes.

    So a reallocation changes what the code vectors mean, but not what a word's own vector means.
    """

    offsets: Tensor

    def __init__(self, allocation: WordAllocation, embedding_dim: int) -> None:
        super().__init__(allocation, embedding_dim)
        if self.steps_per_word > 1:
            # One lookup table for all axes but the last, whose code is predicted and never read.
            self.code_vectors = nn.Embedding(sum(allocation.sides[:-1]), embedding_dim)
            starts = torch.tensor((0, *allocation.sides[:-2])).cumsum(0)
            self.register_buffer("offsets", starts, persistent=False)

    @abstractmethod
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        """The vector of each word."""

    def forward(self, words: Words, targets: Words) -> StepVectors:
        """See :class:`Embedding`."""
        own = self.word_vectors(words)
        if self.steps_per_word == 1:
            return own
        codes = self.allocation.encode(targets)[..., :-1] + self.offsets
        return torch.cat([own[:, :, None], self.code_vectors(codes)], dim=2).flatten(1, 2)

    def axis_vectors(self) -> list[Float[Tensor, "side D"] | None]:
        """See :class:`Embedding`; the last code is predicted, and what is read is the word itself."""
        if self.steps_per_word == 1:
            return [None]
        return [*self.code_vectors.weight.detach().split(list(self.allocation.sides[:-1])), None]

    def first_step(self, words: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """See :class:`Embedding`: the word's own vector."""
        return self.word_vectors(words)

    def code_step(self, axis: int, codes: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """See :class:`Embedding`."""
        return self.code_vectors(codes + self.offsets[axis])
