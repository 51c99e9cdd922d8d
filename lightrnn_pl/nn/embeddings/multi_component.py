"""LightRNN's shared embedding vectors: one per row and one per column (LightRNN, section 3.1, Figure 2), for any k."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.types import StepVectors, Words


class MultiComponentEmbedding(Embedding):
    """(R + C) x D parameters for k = 2: X^r and X^c of Equation 1, stored in a single lookup table.

    For k = 2, the steps of position t read the column vector of ``words[t]`` and then the row vector of ``targets[t]``.
    """

    offsets: Tensor

    def __init__(self, allocation: WordAllocation, embedding_dim: int, steps_per_word: int | None = None) -> None:
        super().__init__(allocation, embedding_dim, steps_per_word)
        if self.steps_per_word != allocation.num_components:
            raise ValueError(
                f"MultiComponentEmbedding reads one code per step, but model.steps_per_word={steps_per_word}; use "
                "model/embedding=slim or another embedding with one vector per word, or set model.steps_per_word to "
                f"model.components={allocation.num_components}"
            )
        self.vectors = nn.Embedding(sum(allocation.sides), embedding_dim)
        starts = torch.tensor((0, *allocation.sides[:-1])).cumsum(0)
        self.register_buffer("offsets", starts, persistent=False)

    @override
    def forward(self, words: Words, targets: Words) -> StepVectors:
        read = self.allocation.encode(words)[..., -1:]
        if self.steps_per_word > 1:
            read = torch.cat([read, self.allocation.encode(targets)[..., :-1]], -1)
        return self.vectors(read + self.offsets.roll(1)).flatten(1, 2)

    @override
    def axis_vectors(self) -> list[Float[Tensor, "side D"] | None]:
        return list(self.vectors.weight.detach().split(list(self.allocation.sides)))

    @override
    def first_step(self, words: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return self.code_step(self.steps_per_word - 1, self.allocation.encode(words)[..., -1])

    @override
    def code_step(self, axis: int, codes: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return self.vectors(codes + self.offsets[axis])

    @property
    @override
    def reads_last_code(self) -> bool:
        return self.steps_per_word > 1
