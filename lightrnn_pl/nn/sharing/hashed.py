"""A map that is computed instead of stored, as the Slim Embedding paper suggests for large K ("Experiments")."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.checks import check_seed
from lightrnn_pl.nn.sharing.base import SubvectorMap, describe_key
from lightrnn_pl.nn.sharing.hashing import xxhash32


class HashedMap(SubvectorMap):
    """xxHash of (word, part): needs no table, but sub-vectors are not used equally often.

    An output recomputes all V K hashes whenever it computes the logits of all words without gradients, and so trades
    time for memory.  During training, the output stores them.

    Args:
        num_words: V.
        num_parts: K.
        num_subvectors: M.
        disjoint: See :class:`SubvectorMap`.
        seed: Seed of the hash.
    """

    starts: Tensor
    sizes: Tensor

    def __init__(self, num_words: int, num_parts: int, num_subvectors: int, disjoint: bool, seed: int = 0) -> None:
        super().__init__(num_words, num_parts, num_subvectors, disjoint)
        check_seed(describe_key("map.seed"), seed)
        self.seed = seed
        spans = torch.tensor([self.span(part) for part in range(num_parts)])
        self.register_buffer("starts", spans[:, 0], persistent=False)
        self.register_buffer("sizes", spans[:, 1] - spans[:, 0], persistent=False)

    @property
    @override
    def table_bytes(self) -> int:
        """0, as the spans of the parts do not depend on the vocabulary."""
        return 0

    @override
    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        parts = torch.arange(self.num_parts, device=words.device)
        return self.starts + xxhash32(words[..., None], parts, seed=self.seed) % self.sizes
