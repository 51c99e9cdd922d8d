"""Output vectors that are computed from parameters, for a few words at a time, and the gradients of the parameters.

Losses that need the vectors of many groups of words (chunks of the vocabulary, rows of the word table) compute the
gradients of all groups themselves.  Autograd would allocate a gradient of the size of all parameters for each group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from typing_extensions import override

Weights = Sequence[Tensor]
"""The parameters that output vectors are computed from, or gradients of the same shapes."""


class VectorSource(ABC):
    """Abstract: computes output vectors from parameters.  All methods are called without autograd."""

    keep_locations = True
    """Whether locations of all words may be kept in memory: at most a few integers per word."""

    @abstractmethod
    def locate(self, weights: Weights, words: slice | Int[Tensor, " S"]) -> Any:
        """Where the vectors of ``words`` are stored in ``weights``, for the other methods."""

    @abstractmethod
    def read(self, weights: Weights, locations: Any) -> Float[Tensor, "S P"]:
        """The vectors at ``locations``."""

    @abstractmethod
    def add(self, gradients: Weights, locations: Any, grad_vectors: Float[Tensor, "S P"]) -> None:
        """Add the gradient of the vectors at ``locations`` to the ``gradients`` of the parameters, in place."""

    def logits(
        self, query: Float[Tensor, "N P"], weights: Weights, locations: Any, bias: Float[Tensor, " S"]
    ) -> Float[Tensor, "N S"]:
        """The product of each query and each vector, plus the bias of the word, in the precision of the queries."""
        return F.linear(query, self.read(weights, locations).to(query.dtype), bias.to(query.dtype))

    def add_logit_gradients(
        self,
        grad_logits: Float[Tensor, "N S"],
        query: Float[Tensor, "N P"],
        weights: Weights,
        locations: Any,
        grad_query: Float[Tensor, "N P"],
        gradients: Weights,
    ) -> None:
        """Add the gradients of the queries and the parameters to ``grad_query`` and ``gradients``, in place.

        Args:
            grad_logits: The gradient of the logits, in the precision of the queries, as ``grad_query``.
            query: The queries.
            weights: The parameters.
            locations: The vectors.
            grad_query: The gradient of the queries.
            gradients: The gradients of the parameters.
        """
        self.add(gradients, locations, (grad_logits.T @ query).to(gradients[0].dtype))
        grad_query.addmm_(grad_logits, self.read(weights, locations).to(query.dtype))


class MatrixRows(VectorSource):
    """The vectors are the rows of a matrix."""

    @override
    def locate(self, weights: Weights, words: slice | Int[Tensor, " S"]) -> slice | Int[Tensor, " S"]:
        return words

    @override
    def read(self, weights: Weights, locations: slice | Int[Tensor, " S"]) -> Float[Tensor, "S P"]:
        return weights[0][locations]

    @override
    def add(self, gradients: Weights, locations: slice | Int[Tensor, " S"], grad_vectors: Float[Tensor, "S P"]) -> None:
        if isinstance(locations, slice):
            gradients[0][locations] += grad_vectors
        else:
            gradients[0].index_add_(0, locations, grad_vectors)

    @override
    def add_logit_gradients(
        self,
        grad_logits: Float[Tensor, "N S"],
        query: Float[Tensor, "N P"],
        weights: Weights,
        locations: slice | Int[Tensor, " S"],
        grad_query: Float[Tensor, "N P"],
        gradients: Weights,
    ) -> None:
        if not isinstance(locations, slice) or query.dtype != gradients[0].dtype:
            super().add_logit_gradients(grad_logits, query, weights, locations, grad_query, gradients)
            return
        gradients[0][locations].addmm_(grad_logits.T, query)
        grad_query.addmm_(grad_logits, weights[0][locations])


def as_ids(words: slice | Int[Tensor, " S"], weights: Weights) -> Int[Tensor, " S"]:
    """The ids of ``words``, on the device of ``weights``."""
    return torch.arange(words.start, words.stop, device=weights[0].device) if isinstance(words, slice) else words


def read_vectors(weights: Weights, words: Int[Tensor, " S"], source: VectorSource) -> Float[Tensor, "S P"]:
    """The vectors of ``words``, with a custom gradient that allocates a single gradient of each parameter."""
    return _Read.apply(words, source, *weights)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, words: Int[Tensor, " S"], source: VectorSource, *weights: Tensor) -> Float[Tensor, "S P"]:
        ctx.save_for_backward(*weights)
        ctx.source, ctx.locations = source, source.locate(weights, words)
        return source.read(weights, ctx.locations)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "S P"]) -> tuple[Tensor | None, ...]:
        gradients = [torch.zeros_like(weight) for weight in ctx.saved_tensors]
        ctx.source.add(gradients, ctx.locations, gradient.to(gradients[0].dtype))
        return None, None, *gradients
