"""Traceable replacements of layers, for export to ONNX and ExecuTorch.

Hashes, convolutions over characters and gathers with a custom gradient cannot be traced.  Layers that use them override
``traceable``, and return a module that computes the same result from precomputed tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightrnn_pl.nn.sharing.base import narrowest_dtype

CHUNK = 4096
"""Words whose vectors are computed at a time."""


class Traceable(NamedTuple):
    """A module that can be traced.

    Attributes:
        module: For an embedding, maps word ids (N,) to vectors (N, D).  For an output, maps hidden states (N, H) to
            log-probabilities (N, V).
        tables: Size in bytes of each precomputed table, by a description of the table.
    """

    module: nn.Module
    tables: dict[str, int]


class FirstStep(nn.Module):
    """An embedding whose own ``first_step`` is traceable."""

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        self.embedding: Any = embedding

    def forward(self, words: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return self.embedding.first_step(words)


class TableLookup(nn.Module):
    """A lookup in a precomputed table of vectors."""

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)

    def forward(self, words: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return F.embedding(words, self.vectors)


class AllWords(nn.Module):
    """An output whose own log-probabilities are traceable."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output: Any = output

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, H) -> (N, V)."""
        return self.output.log_probabilities(hidden)


class DenseSoftmax(nn.Module):
    """A softmax with a precomputed table of output vectors."""

    vectors: Tensor

    def __init__(self, vectors: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.bias = bias

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, H) -> (N, V)."""
        return F.linear(hidden, self.vectors, self.bias).log_softmax(-1)


def vectors_of_all_words(
    layer: nn.Module, vectors: Callable[[Tensor], Tensor], num_words: int, dim: int, max_bytes: int
) -> Tensor:
    """The vectors of all words as a table, (V, D).

    Args:
        layer: The layer, which the error message names.
        vectors: Maps word ids (N,) to vectors (N, D).
        num_words: V.
        dim: D.
        max_bytes: The maximum size of the table in bytes.

    Raises:
        ValueError: If the table would be larger.
    """
    size = num_words * dim * 4
    if size > max_bytes:
        raise ValueError(
            f"{type(layer).__name__} computes its vectors with operations that cannot be exported, and a table of "
            f"the vectors of {num_words:,} words takes {size / 2**20:,.0f} MiB, more than "
            f"largest_table={max_bytes / 2**20:,.0f}; raise largest_table, or export with format=safetensors"
        )
    return torch.cat([vectors(words) for words in torch.arange(num_words).split(CHUNK)])


def map_of_all_words(map: nn.Module, num_words: int) -> Tensor:
    """A map of words to shared sub-vectors as a table, (V, K), in the narrowest integer type."""
    return narrow_integers(torch.cat([map(words) for words in torch.arange(num_words).split(CHUNK)]))


def narrow_integers(numbers: Tensor) -> Tensor:
    """Non-negative integers in the narrowest type that can represent them."""
    return numbers.to(narrowest_dtype(int(numbers.max())))


def num_bytes(table: Tensor) -> int:
    """The size of a table in bytes."""
    return table.numel() * table.element_size()
