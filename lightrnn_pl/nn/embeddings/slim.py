"""Slim input vectors: K shared sub-vectors side by side (Slim Embedding, "Compressing Input Embedding Layer").

Knows nothing of how words come to share (``nn/sharing``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count, check_flag
from lightrnn_pl.nn.embeddings.word import WordEmbedding
from lightrnn_pl.nn.sharing import SubvectorMap, subvectors_for
from lightrnn_pl.nn.traceable import Traceable, map_of_all_words, num_bytes


class SlimEmbedding(WordEmbedding):
    """M x D/K parameters, however many words there are.

    Args:
        allocation: The word table.
        embedding_dim: D, divisible by K.
        num_parts: K.
        map: Makes the map of words to sub-vectors, given its sizes.
        compression: M / (K V), so the size beside a full embedding's; None where ``num_subvectors`` is given.
        num_subvectors: M; None where ``compression`` is given.
        disjoint: Each part draws from a set of its own, as an output's must, so that the two can be tied; otherwise all
            draw from one pool, as in the paper.

    Raises:
        ValueError: If K does not divide D, or M is not given once and in range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        embedding_dim: int,
        num_parts: int,
        map: Callable[..., SubvectorMap],
        compression: float | None = None,
        num_subvectors: int | None = None,
        disjoint: bool = False,
    ) -> None:
        super().__init__(allocation, embedding_dim)
        check_count("model.embedding.num_parts", num_parts)
        if embedding_dim % num_parts:
            raise ValueError(
                f"model.embedding_dim must be divisible by model.embedding.num_parts={num_parts}, got {embedding_dim}"
            )
        check_flag("model.embedding.disjoint", disjoint)
        number = subvectors_for(compression, num_subvectors, allocation.num_words, num_parts, "model.embedding")
        self.map = map(num_words=allocation.num_words, num_parts=num_parts, num_subvectors=number, disjoint=disjoint)
        self.vectors = nn.Embedding(number, embedding_dim // num_parts)

    @property
    def table_bytes(self) -> int:
        """Bytes of the map."""
        return self.map.table_bytes

    def initialise(self, scale: float) -> None:
        """Uniform, except that sub-vectors of the right size that the map knows are taken."""
        super().initialise(scale)
        start = self.map.starting_vectors()
        if start is not None and start.shape == self.vectors.weight.shape:
            with torch.no_grad():
                self.vectors.weight.copy_(start)

    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        """See :class:`WordEmbedding`."""
        return self.vectors(self.map(words)).flatten(-2)

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        numbers = map_of_all_words(self.map, self.allocation.num_words)
        return Traceable(
            _SubvectorLookup(numbers, self.vectors.weight), {"map of input sub-vectors": num_bytes(numbers)}
        )


class _SubvectorLookup(nn.Module):
    """Sub-vectors side by side, from a map that is a table."""

    numbers: Tensor

    def __init__(self, numbers: Tensor, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers)
        self.vectors = vectors

    def forward(self, words: Tensor) -> Tensor:
        return F.embedding(F.embedding(words, self.numbers).long(), self.vectors).flatten(1)
