"""Negative log-likelihood of a softmax whose logits are computed in chunks, with a custom gradient.

    log Z = log of the sum over all words of exp logit(w)        surprisal = log Z - logit(target)

The logits are computed for a chunk of words at a time, and again in the backward pass.  Autograd would allocate a
gradient of the size of all weights for each chunk.  Here, a single gradient is allocated, to which all chunks add.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightrnn_pl.nn.outputs.vector_sources import VectorSource, Weights


def surprisal(
    query: Float[Tensor, "N P"],
    weights: Weights,
    bias: Float[Tensor, " V"],
    words: Int[Tensor, " N"] | None,
    source: VectorSource,
    spans: list[tuple[int, int]],
) -> Float[Tensor, " N"]:
    """Surprisal of one word per position, or log Z if ``words`` is None.

    Args:
        query: The vector of each position, which is multiplied by the output vectors.
        weights: The parameters of the output vectors.
        bias: Bias of each word.
        words: One word per position, or None.
        source: Computes the output vectors from ``weights``.
        spans: First word and end of each chunk; the chunks cover all words in order.
    """
    device = query.device.type
    # Use the precision of autocast for products, because autocast does not apply to a custom backward pass.
    narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else bias.dtype
    with torch.autocast(device, enabled=False):
        return _Surprisal.apply(query, bias, words, source, spans, narrow, *weights)


class _Surprisal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "N P"],
        bias: Float[Tensor, " V"],
        words: Int[Tensor, " N"] | None,
        source: VectorSource,
        spans: list[tuple[int, int]],
        narrow: torch.dtype,
        *weights: Tensor,
    ) -> Float[Tensor, " N"]:
        wide = torch.promote_types(bias.dtype, torch.float32)
        narrow_query = query.to(narrow)
        parts = []
        for start, stop in spans:
            products = source.products(narrow_query, weights, source.locate(weights, slice(start, stop)))
            parts.append((products + bias[start:stop].to(narrow)).to(wide).logsumexp(-1))
        partition = torch.stack(parts).logsumexp(0)
        ctx.save_for_backward(query, bias, words, partition, *weights)
        ctx.source, ctx.spans, ctx.narrow = source, spans, narrow
        if words is None:
            return partition.to(bias.dtype)
        own_vectors = source.read(weights, source.locate(weights, words)).to(narrow)
        own = (narrow_query * own_vectors).to(wide).sum(-1) + bias[words].to(wide)
        return (partition - own).to(bias.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, " N"]) -> tuple[Tensor | None, ...]:
        query, bias, words, partition, *weights = ctx.saved_tensors
        source, wide, narrow_query = ctx.source, partition.dtype, query.to(ctx.narrow)
        grad_position = gradient.to(wide)[:, None]
        grad_query = torch.zeros(query.shape, dtype=wide, device=query.device)
        gradients, grad_bias = [torch.zeros_like(weight) for weight in weights], torch.empty_like(bias)
        for start, stop in ctx.spans:
            span = slice(start, stop)
            locations = source.locate(weights, span)
            logits = (source.products(narrow_query, weights, locations) + bias[span].to(ctx.narrow)).to(wide)
            # The gradient of log Z with respect to the logits: the probabilities.
            grad_logits = logits.sub_(partition[:, None]).exp_().mul_(grad_position)
            grad_bias[span] = grad_logits.sum(0)
            source.add_product_gradients(
                grad_logits.to(ctx.narrow), narrow_query, weights, locations, grad_query, gradients
            )
        if words is not None:
            grad_bias.index_add_(0, words, -grad_position[:, 0].to(bias.dtype))
            locations = source.locate(weights, words)
            source.add(gradients, locations, -(grad_position * query).to(bias.dtype))
            grad_query -= grad_position * source.read(weights, locations)
        return grad_query.to(query.dtype), grad_bias, None, None, None, None, *gradients
