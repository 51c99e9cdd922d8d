"""The base class of embeddings with one vector per word, stored or computed."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.types import StepVectors, Words


class WordEmbedding(Embedding):
    """Abstract: the first step of a word reads the vector of the previous word.

    With k > 1 steps per word, this is the hybrid of the two papers: only the later steps read shared vectors, those of
    the codes of the target.  A reallocation changes what the shared vectors mean, but not what the word vectors mean.
    """

    offsets: Tensor

    def __init__(self, allocation: WordAllocation, embedding_dim: int, steps_per_word: int | None = None) -> None:
        super().__init__(allocation, embedding_dim, steps_per_word)
        if self.steps_per_word > 1:
            # One lookup table for all axes except the last, whose codes are never read.
            self.code_vectors = nn.Embedding(sum(allocation.sides[:-1]), embedding_dim)
            starts = torch.tensor((0, *allocation.sides[:-2])).cumsum(0)
            self.register_buffer("offsets", starts, persistent=False)

    @abstractmethod
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        """The vector of each word."""

    @override
    def forward(self, words: Words, targets: Words) -> StepVectors:
        word_vectors = self.word_vectors(words)
        if self.steps_per_word == 1:
            return word_vectors
        codes = self.allocation.encode(targets)[..., :-1] + self.offsets
        return torch.cat([word_vectors[:, :, None], self.code_vectors(codes)], dim=2).flatten(1, 2)

    @override
    def axis_vectors(self) -> list[Float[Tensor, "side D"] | None]:
        if self.steps_per_word == 1:
            return super().axis_vectors()
        return [*self.code_vectors.weight.detach().split(list(self.allocation.sides[:-1])), None]

    @override
    def first_step(self, words: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return self.word_vectors(words)

    @override
    def code_step(self, axis: int, codes: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return self.code_vectors(codes + self.offsets[axis])
