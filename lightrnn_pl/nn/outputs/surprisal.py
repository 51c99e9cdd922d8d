"""Negative log-likelihood of a softmax whose logits are computed in chunks, with a custom gradient.

    log Z = log of the sum over all words of exp logit(w)        surprisal = log Z - logit(target)

The logits are computed for a chunk of words at a time.  The backward pass computes them again, unless their
exponentials fit into memory.  Autograd would allocate a gradient of the size of all weights for each chunk.  Here, a
single gradient is allocated, to which all chunks add.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
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
    keep: bool,
) -> Float[Tensor, " N"]:
    """Surprisal of one word per position, or log Z if ``words`` is None.

    Args:
        query: The vector of each position, which is multiplied by the output vectors.
        weights: The parameters of the output vectors.
        bias: Bias of each word.
        words: One word per position, or None.
        source: Computes the output vectors from ``weights``.
        spans: First word and end of each chunk; the chunks cover all words in order.
        keep: Whether to store all N x V exponentials for the backward pass, instead of computing the logits again.
    """
    device = query.device.type
    # Use the precision of autocast for products, because autocast does not apply to a custom backward pass.
    narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else bias.dtype
    with torch.autocast(device, enabled=False):
        return _Surprisal.apply(query, bias, words, source, spans, narrow, keep, *weights)


class _Chunk(NamedTuple):
    """What the backward pass needs of a chunk of words.

    Attributes:
        exponentials: exp(logit - maximum of the position).
        maximum: The largest logit of each position.
        locations: The locations of the output vectors of the words.
    """

    exponentials: Float[Tensor, "N C"]
    maximum: Float[Tensor, " N"]
    locations: Any


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
        keep: bool,
        *weights: Tensor,
    ) -> Float[Tensor, " N"]:
        wide = torch.promote_types(bias.dtype, torch.float32)
        narrow_query = query.to(narrow)
        own = torch.zeros(len(query), dtype=wide, device=query.device)
        kept, parts = [], []
        for start, stop in spans:
            locations = source.locate(weights, slice(start, stop))
            logits = source.logits(narrow_query, weights, locations, bias[start:stop]).to(wide)
            if words is not None:
                index, inside = _positions_in_chunk(words, start, stop)
                own = torch.where(inside, logits.gather(1, index)[:, 0], own)
            # In place: on a CPU, allocating memory takes as long as the arithmetic.
            maximum = logits.amax(-1)
            exponentials = logits.sub_(maximum[:, None]).exp_()
            parts.append(exponentials.sum(-1).log() + maximum)
            if keep and any(ctx.needs_input_grad):
                kept.append(_Chunk(exponentials, maximum, locations))
        partition = torch.stack(parts).logsumexp(0)
        ctx.save_for_backward(query, bias, words, partition, *weights)
        ctx.source, ctx.spans, ctx.narrow, ctx.kept = source, spans, narrow, kept
        return (partition if words is None else partition - own).to(bias.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, " N"]) -> tuple[Tensor | None, ...]:
        query, bias, words, partition, *weights = ctx.saved_tensors
        source, wide, narrow_query = ctx.source, partition.dtype, query.to(ctx.narrow)
        grad_position = gradient.to(wide)[:, None]
        grad_query = torch.zeros(query.shape, dtype=ctx.narrow, device=query.device)
        gradients, grad_bias = [torch.zeros_like(weight) for weight in weights], torch.empty_like(bias)
        kept, ctx.kept = ctx.kept, []  # modified in place below, so a second backward pass computes the logits again
        for number, (start, stop) in enumerate(ctx.spans):
            # The gradient of log Z with respect to the logits: the probabilities.
            if kept:
                grad_logits, maximum, locations = kept[number]
                grad_logits.mul_((maximum - partition).exp()[:, None] * grad_position)
            else:
                locations = source.locate(weights, slice(start, stop))
                logits = source.logits(narrow_query, weights, locations, bias[start:stop]).to(wide)
                grad_logits = logits.sub_(partition[:, None]).exp_().mul_(grad_position)
            if words is not None:
                index, inside = _positions_in_chunk(words, start, stop)
                grad_logits.scatter_add_(1, index, torch.where(inside[:, None], -grad_position, 0.0))
            grad_bias[start:stop] = grad_logits.sum(0)
            source.add_logit_gradients(
                grad_logits.to(ctx.narrow), narrow_query, weights, locations, grad_query, gradients
            )
        return grad_query.to(query.dtype), grad_bias, None, None, None, None, None, *gradients


def _positions_in_chunk(
    words: Int[Tensor, " N"], start: int, stop: int
) -> tuple[Int[Tensor, "N 1"], Bool[Tensor, " N"]]:
    """The index of each word in the chunk, and whether the chunk contains it; the index of other words is arbitrary."""
    return (words - start).clamp(0, stop - start - 1)[:, None], (words >= start) & (words < stop)
