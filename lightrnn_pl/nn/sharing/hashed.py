"""A map that is computed and not stored, as the Slim Embedding paper suggests for large K ("Experiments")."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from lightrnn_pl.checks import check_seed
from lightrnn_pl.nn.sharing.base import SubvectorMap, in_either
from lightrnn_pl.nn.sharing.hashing import xxhash32


class HashedMap(SubvectorMap):
    """xxHash of (word, part): no table, but a sub-vector's uses are only as equal as chance makes them.

    An output hashes all V K numbers anew whenever it scores all words without a gradient, and so pays for the room with
    time; while it is trained it keeps them after all.

    Args:
        num_words: V.
        num_parts: K.
        num_subvectors: M.
        disjoint: See :class:`SubvectorMap`.
        seed: Of the hash.
    """

    starts: Tensor
    sizes: Tensor

    def __init__(self, num_words: int, num_parts: int, num_subvectors: int, disjoint: bool, seed: int = 0) -> None:
        super().__init__(num_words, num_parts, num_subvectors, disjoint)
        check_seed(in_either("map.seed"), seed)
        self.seed = seed
        spans = torch.tensor([self.span(part) for part in range(num_parts)])
        self.register_buffer("starts", spans[:, 0], persistent=False)
        self.register_buffer("sizes", spans[:, 1] - spans[:, 0], persistent=False)

    @property
    def table_bytes(self) -> int:
        """Nothing that grows with the vocabulary."""
        return 0

    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        """See :class:`SubvectorMap`."""
        parts = torch.arange(self.num_parts, device=words.device)
        return self.starts + xxhash32(words[..., None], parts, seed=self.seed) % self.sizes
