"""The paper's map: copies of 1..M, shuffled (Slim Embedding, "Compressing Input Embedding Layer")."""

from __future__ import annotations

import torch
from jaxtyping import Int, Integer
from torch import Tensor

from lightrnn_pl.checks import check_seed
from lightrnn_pl.nn.sharing.base import SubvectorMap, in_either, smallest_dtype


class ShuffledMap(SubvectorMap):
    """Random, but as uniform as can be: within a set, the uses of two sub-vectors differ by one at most.

    One pool: a list of K V elements that repeats 0..M-1, shuffled and cut into words.  Disjoint sets: such a list of V
    elements for each part.  The table is saved with the model, so that it never depends on how torch shuffles.

    Args:
        num_words: V.
        num_parts: K.
        num_subvectors: M.
        disjoint: See :class:`SubvectorMap`.
        seed: Of the shuffle, which depends on nothing else.
    """

    numbers: Tensor

    def __init__(self, num_words: int, num_parts: int, num_subvectors: int, disjoint: bool, seed: int = 0) -> None:
        super().__init__(num_words, num_parts, num_subvectors, disjoint)
        check_seed(in_either("map.seed"), seed)
        generator = torch.Generator().manual_seed(seed)
        if disjoint:
            parts = []
            for part in range(num_parts):
                start, stop = self.span(part)
                parts.append(start + torch.randperm(num_words, generator=generator) % (stop - start))
            numbers = torch.stack(parts, 1)
        else:
            elements = torch.randperm(num_words * num_parts, generator=generator) % num_subvectors
            numbers = elements.view(num_words, num_parts)
        self.register_buffer("numbers", numbers.to(smallest_dtype(num_subvectors - 1)))

    def table(self) -> Integer[Tensor, "V K"]:
        """See :class:`SubvectorMap`."""
        return self.numbers

    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        """See :class:`SubvectorMap`."""
        return self.numbers[words].long()
