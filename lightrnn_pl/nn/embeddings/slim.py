"""Slim embedding vectors: concatenations of K shared sub-vectors (Slim Embedding, "Compressing Input Embedding Layer").

The maps from words to sub-vectors are in :mod:`lightrnn_pl.nn.sharing`.
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
from lightrnn_pl.nn.sharing import SubvectorMap, default_parts, subvector_count
from lightrnn_pl.nn.traceable import Traceable, map_of_all_words, num_bytes


class SlimEmbedding(WordEmbedding):
    """M x D/K parameters, independent of the number of words.

    Args:
        allocation: The word allocation.
        embedding_dim: D, divisible by K.
        num_parts: K; None for the divisor of the vectors' size nearest to 10.
        map: Creates the map of words to sub-vectors, given its sizes.
        compression: M / (K V), the size relative to a full embedding; None if ``num_subvectors`` is set.
        num_subvectors: M; None if ``compression`` is set.
        disjoint: Whether each part has its own set of sub-vectors, which is required for tying with an output.
            Otherwise, all parts share one set, as in the paper.
        steps_per_word: 1, or the number of codes per word (the default); see :class:`Embedding`.

    Raises:
        ValueError: If K does not divide D, if not exactly one of ``compression`` and ``num_subvectors`` is set, or if
            an argument is out of range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        embedding_dim: int,
        num_parts: int | None,
        map: Callable[..., SubvectorMap],
        compression: float | None = None,
        num_subvectors: int | None = None,
        disjoint: bool = False,
        steps_per_word: int | None = None,
    ) -> None:
        super().__init__(allocation, embedding_dim, steps_per_word)
        num_parts = default_parts(embedding_dim) if num_parts is None else num_parts
        check_count("model.embedding.num_parts", num_parts)
        if embedding_dim % num_parts:
            raise ValueError(
                f"model.embedding_dim must be divisible by model.embedding.num_parts={num_parts}, got {embedding_dim}"
            )
        check_flag("model.embedding.disjoint", disjoint)
        number = subvector_count(compression, num_subvectors, allocation.num_words, num_parts, "model.embedding")
        self.map = map(num_words=allocation.num_words, num_parts=num_parts, num_subvectors=number, disjoint=disjoint)
        self.vectors = nn.Embedding(number, embedding_dim // num_parts)

    @property
    @override
    def table_bytes(self) -> int:
        return self.map.table_bytes

    @override
    def initialise(self, scale: float) -> None:
        """Initialize uniformly, or with the initial sub-vectors of the map if they have the right shape."""
        super().initialise(scale)
        initial = self.map.initial_subvectors()
        if initial is not None and initial.shape == self.vectors.weight.shape:
            with torch.no_grad():
                self.vectors.weight.copy_(initial)

    @override
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        return self.vectors(self.map(words)).flatten(-2)

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        numbers = map_of_all_words(self.map, self.allocation.num_words)
        return Traceable(
            _SubvectorLookup(numbers, self.vectors.weight), {"map of input sub-vectors": num_bytes(numbers)}
        )


class _SubvectorLookup(nn.Module):
    """Concatenated sub-vectors, with the map as a table."""

    numbers: Tensor

    def __init__(self, numbers: Tensor, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers)
        self.vectors = vectors

    def forward(self, words: Tensor) -> Tensor:
        return F.embedding(F.embedding(words, self.numbers).long(), self.vectors).flatten(1)
