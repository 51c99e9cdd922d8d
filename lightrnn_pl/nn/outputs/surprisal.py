"""Negative log-likelihood of a softmax whose scores are never all held, with its gradient by hand.

    log Z = log of the sum over all words of exp score(w)        surprisal = log Z - score(target)

Scores are computed some words at a time, and again in the backward pass.  Autograd would make a gradient as large as
all weights for each chunk of them; here one is made, and every chunk adds to it.  Knows nothing of layers: how vectors
are read from weights, and how their gradient goes back there, is what a :class:`VectorSource` says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class VectorSource(ABC):
    """Output vectors that are read from one tensor of weights."""

    @abstractmethod
    def read(
        self, weight: Float[Tensor, "*weights"], words: slice | Int[Tensor, " S"]
    ) -> tuple[Float[Tensor, "S P"], Any]:
        """The vectors of some words, and where they are from; autograd never sees it."""

    @abstractmethod
    def add(self, gradient: Float[Tensor, "*weights"], places: Any, of_vectors: Float[Tensor, "S P"]) -> None:
        """Add the gradient of vectors to that of the weights they are from, in place."""


class MatrixRows(VectorSource):
    """One row of a matrix a word."""

    def read(
        self, weight: Float[Tensor, "*weights"], words: slice | Int[Tensor, " S"]
    ) -> tuple[Float[Tensor, "S P"], slice | Int[Tensor, " S"]]:
        """See :class:`VectorSource`."""
        return weight[words], words

    def add(self, gradient: Float[Tensor, "*weights"], places: Any, of_vectors: Float[Tensor, "S P"]) -> None:
        """See :class:`VectorSource`."""
        if isinstance(places, slice):
            gradient[places] += of_vectors
        else:
            gradient.index_add_(0, places, of_vectors)


def surprisal(
    query: Float[Tensor, "N P"],
    weight: Float[Tensor, "*weights"],
    bias: Float[Tensor, " V"],
    words: Int[Tensor, " N"] | None,
    source: VectorSource,
    spans: list[tuple[int, int]],
) -> Float[Tensor, " N"]:
    """Surprisal of a word a position, or log Z where no words are given.

    Args:
        query: What is multiplied with the output vectors.
        weight: What they are read from.
        bias: Of each word.
        words: A word for each position.
        source: How vectors are read.
        spans: From which to before which word scores are held at a time; all words in order.
    """
    device = query.device.type
    # Products in the precision that autocast would choose; it does not reach into a backward pass by itself.
    narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with torch.autocast(device, enabled=False):
        return _Surprisal.apply(query, weight, bias, words, source, spans, narrow)


def read_vectors(
    weight: Float[Tensor, "*weights"], words: Int[Tensor, " S"], source: VectorSource
) -> Float[Tensor, "S P"]:
    """The vectors of some words, with one gradient of the weights however many steps ``source`` takes."""
    return _Read.apply(weight, words, source)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Float[Tensor, "*weights"], words: Int[Tensor, " S"], source: VectorSource
    ) -> Float[Tensor, "S P"]:
        ctx.save_for_backward(weight)
        ctx.source = source
        vectors, ctx.places = source.read(weight, words)
        return vectors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "S P"]) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        of_weight = torch.zeros_like(weight)
        ctx.source.add(of_weight, ctx.places, gradient.to(weight.dtype))
        return of_weight, None, None


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
        of_position = gradient.to(wide)[:, None]
        of_query = torch.zeros(query.shape, dtype=wide, device=query.device)
        of_weight, of_bias = torch.zeros_like(weight), torch.empty_like(bias)
        for start, stop in ctx.spans:
            span = slice(start, stop)
            read, places = ctx.source.read(weight, span)
            vectors = read.to(ctx.narrow)
            scores = F.linear(narrow_query, vectors, bias[span].to(ctx.narrow)).to(wide)
            # The gradient of the scores: the probabilities.
            of_scores = scores.sub_(partition[:, None]).exp_().mul_(of_position)
            of_bias[span] = of_scores.sum(0)
            of_scores = of_scores.to(ctx.narrow)
            ctx.source.add(of_weight, places, (of_scores.T @ narrow_query).to(weight.dtype))
            of_query += of_scores @ vectors
        if words is not None:
            of_bias.index_add_(0, words, -of_position[:, 0].to(bias.dtype))
            vectors, places = ctx.source.read(weight, words)
            ctx.source.add(of_weight, places, -(of_position * query).to(weight.dtype))
            of_query -= of_position * vectors
        return of_query.to(query.dtype), of_weight, of_bias, None, None, None, None
