"""Layers in operations that a tracer can follow, for export to ONNX.

Hashes, convolutions over characters and gathers with a custom gradient cannot be traced.  Layers that use them override
``traceable`` and return a module that computes the same from tables that were computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 4096
"""Words whose vectors are computed at a time."""


class Traceable(NamedTuple):
    """A module in traceable operations.

    Attributes:
        module: For an embedding, word ids (N,) -> vectors (N, D); for an output, hidden states (N, H) ->
            log-probabilities (N, V).
        tables: Bytes of each table that was computed for it, by a description of the table.
    """

    module: nn.Module
    tables: dict[str, int]


class FirstStep(nn.Module):
    """The vectors of an embedding whose own lookup is traceable."""

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        self.embedding: Any = embedding

    def forward(self, words: Tensor) -> Tensor:
        """(N,) -> (N, D)."""
        return self.embedding.first_step(words)


class TableLookup(nn.Module):
    """Vectors that were computed once."""

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
    """A softmax over output vectors that were computed once."""

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
        layer: The layer, named in the error.
        vectors: Word ids (N,) -> vectors (N, D).
        num_words: V.
        dim: D.
        max_bytes: The largest table allowed.

    Raises:
        ValueError: If the table would be larger.
    """
    size = num_words * dim * 4
    if size > max_bytes:
        raise ValueError(
            f"{type(layer).__name__} computes its vectors in a way that ONNX does not support: as a table, those of "
            f"{num_words:,} words take {size / 2**20:,.0f} MiB, more than largest_table={max_bytes / 2**20:,.0f}; "
            "raise it, or export the model as format=safetensors"
        )
    return torch.cat([vectors(words) for words in torch.arange(num_words).split(CHUNK)])


def map_of_all_words(map: nn.Module, num_words: int) -> Tensor:
    """A map of words to shared sub-vectors as a table, (V, K), in the narrowest integer type."""
    return narrowest(torch.cat([map(words) for words in torch.arange(num_words).split(CHUNK)]))


def narrowest(numbers: Tensor) -> Tensor:
    """Non-negative integers in the narrowest type that can store them."""
    for dtype in (torch.uint8, torch.int16):
        if int(numbers.max()) <= torch.iinfo(dtype).max:
            return numbers.to(dtype)
    return numbers.to(torch.int32)


def num_bytes(table: Tensor) -> int:
    """The size of a table in bytes."""
    return table.numel() * table.element_size()
