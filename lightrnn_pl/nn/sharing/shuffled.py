"""The map of the paper: a shuffled list of sub-vectors (Slim Embedding, "Compressing Input Embedding Layer")."""

from __future__ import annotations

import torch
from jaxtyping import Int, Integer
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.checks import check_seed
from lightrnn_pl.nn.sharing.base import SubvectorMap, describe_key, narrowest_dtype


class ShuffledMap(SubvectorMap):
    """A random map in which all sub-vectors of a set are used equally often, up to a difference of one.

    Without disjoint sets, a list of K V elements that repeats 0..M-1 is shuffled and divided among the words.  With
    disjoint sets, each part has such a list of V elements.  The table is saved with the model, so that it does not
    depend on the implementation of the shuffle.

    Args:
        num_words: V.
        num_parts: K.
        num_subvectors: M.
        disjoint: See :class:`SubvectorMap`.
        seed: Seed of the shuffle, which is independent of the global random generators.
    """

    numbers: Tensor

    def __init__(self, num_words: int, num_parts: int, num_subvectors: int, disjoint: bool, seed: int = 0) -> None:
        super().__init__(num_words, num_parts, num_subvectors, disjoint)
        check_seed(describe_key("map.seed"), seed)
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
        self.register_buffer("numbers", numbers.to(narrowest_dtype(num_subvectors - 1)))

    @override
    def table(self) -> Integer[Tensor, "V K"]:
        return self.numbers

    @override
    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        return self.numbers[words].long()
