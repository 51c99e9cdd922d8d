"""Negative log-likelihood of a softmax whose logits are computed in chunks, with a custom gradient.

    log Z = log of the sum over all words of exp logit(w)        surprisal = log Z - logit(target)

The logits are computed for a chunk of words at a time, and again in the backward pass.  Autograd would allocate a
gradient of the size of all weights for each chunk.  Here, a single gradient is allocated, to which all chunks add.
A :class:`VectorSource` computes vectors from weights, and the gradient of the weights from that of the vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from typing_extensions import override


class VectorSource(ABC):
    """Abstract: computes output vectors from a tensor of weights."""

    @abstractmethod
    def read(
        self, weight: Float[Tensor, "*weights"], words: slice | Int[Tensor, " S"]
    ) -> tuple[Float[Tensor, "S P"], Any]:
        """The vectors of ``words``, and the locations of their weights for ``add``; called without autograd."""

    @abstractmethod
    def add(self, gradient: Float[Tensor, "*weights"], locations: Any, grad_vectors: Float[Tensor, "S P"]) -> None:
        """Add the gradient of vectors to the ``gradient`` of the weights, in place.

        Args:
            gradient: The gradient of the weights.
            locations: The second result of ``read``.
            grad_vectors: The gradient of the vectors.
        """


class MatrixRows(VectorSource):
    """The vectors are the rows of a matrix."""

    @override
    def read(
        self, weight: Float[Tensor, "*weights"], words: slice | Int[Tensor, " S"]
    ) -> tuple[Float[Tensor, "S P"], slice | Int[Tensor, " S"]]:
        return weight[words], words

    @override
    def add(self, gradient: Float[Tensor, "*weights"], locations: Any, grad_vectors: Float[Tensor, "S P"]) -> None:
        if isinstance(locations, slice):
            gradient[locations] += grad_vectors
        else:
            gradient.index_add_(0, locations, grad_vectors)


def surprisal(
    query: Float[Tensor, "N P"],
    weight: Float[Tensor, "*weights"],
    bias: Float[Tensor, " V"],
    words: Int[Tensor, " N"] | None,
    source: VectorSource,
    spans: list[tuple[int, int]],
) -> Float[Tensor, " N"]:
    """Surprisal of one word per position, or log Z if ``words`` is None.

    Args:
        query: The vector of each position, which is multiplied by the output vectors.
        weight: The weights of the output vectors.
        bias: Bias of each word.
        words: One word per position, or None.
        source: Computes the output vectors from ``weight``.
        spans: First word and end of each chunk; the chunks cover all words in order.
    """
    device = query.device.type
    # Use the precision of autocast for products, because autocast does not apply to a custom backward pass.
    narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with torch.autocast(device, enabled=False):
        return _Surprisal.apply(query, weight, bias, words, source, spans, narrow)


def read_vectors(
    weight: Float[Tensor, "*weights"], words: Int[Tensor, " S"], source: VectorSource
) -> Float[Tensor, "S P"]:
    """The vectors of ``words``, with a custom gradient that allocates a single gradient of the weights."""
    return _Read.apply(weight, words, source)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Float[Tensor, "*weights"], words: Int[Tensor, " S"], source: VectorSource
    ) -> Float[Tensor, "S P"]:
        ctx.save_for_backward(weight)
        ctx.source = source
        vectors, ctx.locations = source.read(weight, words)
        return vectors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "S P"]) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        grad_weight = torch.zeros_like(weight)
        ctx.source.add(grad_weight, ctx.locations, gradient.to(weight.dtype))
        return grad_weight, None, None


class _Surprisal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "N P"],
        weight: Float[Tensor, "*weights"],
        bias: Float[Tensor, " V"],
        words: Int[Tensor, " N"] | None,
        source: VectorSource,
        spans: list[tuple[int, int]],
        narrow: torch.dtype,
    ) -> Float[Tensor, " N"]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        narrow_query = query.to(narrow)
        parts = []
        for start, stop in spans:
            vectors = source.read(weight, slice(start, stop))[0].to(narrow)
            parts.append(F.linear(narrow_query, vectors, bias[start:stop].to(narrow)).to(wide).logsumexp(-1))
        partition = torch.stack(parts).logsumexp(0)
        ctx.save_for_backward(query, weight, bias, words, partition)
        ctx.source, ctx.spans, ctx.narrow = source, spans, narrow
        if words is None:
            return partition.to(weight.dtype)
        own = (narrow_query * source.read(weight, words)[0].to(narrow)).to(wide).sum(-1) + bias[words].to(wide)
        return (partition - own).to(weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, " N"]) -> tuple[Tensor | None, ...]:
        query, weight, bias, words, partition = ctx.saved_tensors
        wide, narrow_query = partition.dtype, query.to(ctx.narrow)
        grad_position = gradient.to(wide)[:, None]
        grad_query = torch.zeros(query.shape, dtype=wide, device=query.device)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.empty_like(bias)
        for start, stop in ctx.spans:
            span = slice(start, stop)
            vectors, locations = ctx.source.read(weight, span)
            vectors = vectors.to(ctx.narrow)
            logits = F.linear(narrow_query, vectors, bias[span].to(ctx.narrow)).to(wide)
            # The gradient of log Z with respect to the logits: the probabilities.
            grad_logits = logits.sub_(partition[:, None]).exp_().mul_(grad_position)
            grad_bias[span] = grad_logits.sum(0)
            grad_logits = grad_logits.to(ctx.narrow)
            ctx.source.add(grad_weight, locations, (grad_logits.T @ narrow_query).to(weight.dtype))
            grad_query += grad_logits @ vectors
        if words is not None:
            grad_bias.index_add_(0, words, -grad_position[:, 0].to(bias.dtype))
            vectors, locations = ctx.source.read(weight, words)
            ctx.source.add(grad_weight, locations, -(grad_position * query).to(weight.dtype))
            grad_query -= grad_position * vectors
        return grad_query.to(query.dtype), grad_weight, grad_bias, None, None, None, None
