"""The softmax over the words of a row, given the row: exact log-probabilities, with a custom gradient.

    log P(w | row, h) = logit(w) - log of the sum over the words v of the row of exp logit(v)
    logit(w) = q(h) . y_w + b_w

On a CPU, positions are sorted by row: one small matrix product for each row that occurs, with the vectors of its words.
Only these vectors are read, and only their gradients are computed, so time per position grows with the size of a row.
Autograd would allocate a gradient of the size of all weights for each row.  Here, a single gradient is allocated, to
which all rows add.

On a GPU, that loop would wait for the host and run hundreds of small kernels.  There, the vectors of all words of the
row of each position are gathered into one batched product, for as many positions at a time as fit into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.outputs.softmax import SoftmaxOutput
from lightrnn_pl.nn.outputs.vector_sources import VectorSource, Weights

_MAX_ELEMENTS = 2**26
"""Elements of word vectors that are gathered at a time on a GPU: 256 MiB of float32."""


class RowLayout(NamedTuple):
    """The words of each row.  A GPU needs only the first two attributes, and does not wait for the others.

    Attributes:
        table: The word in each cell; -1 for empty cells.
        columns: The column of each word.
        ranks: Index of each word among the words of its row; on a CPU only.
        members: The words of each row; on a CPU only.
        locations: Where the vectors of each row are stored; None if this is computed when it is needed.
    """

    table: Int[Tensor, "R C"]
    columns: Int[Tensor, " V"]
    ranks: Int[Tensor, " V"] | None = None
    members: tuple[Int[Tensor, " _"], ...] = ()
    locations: list[Any] | None = None

    @classmethod
    def of(cls, allocation: WordAllocation, output: SoftmaxOutput) -> RowLayout:
        """The layout of a table with two codes per word, whose vectors ``output`` defines."""
        table = allocation.words()
        rows, columns = allocation.codes.long().unbind(1)
        if rows.device.type != "cpu":
            return cls(table, columns)
        order = allocation.cells().argsort()
        sizes = rows.bincount(minlength=allocation.sides[0])
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[rows[order]]
        members = order.split(sizes.tolist())
        locations = None
        if output.source.keep_locations:
            locations = [output.source.locate(output.vector_weights, words) for words in members]
        return cls(table, columns, ranks, members, locations)


def log_probability_in_row(
    output: SoftmaxOutput,
    hidden: Float[Tensor, "N H"],
    rows: Int[Tensor, " N"],
    words: Int[Tensor, " N"],
    layout: RowLayout,
) -> Float[Tensor, " N"]:
    """Log-probability of one word per position among the words of its row.

    Args:
        output: Defines the vectors and biases of the words.
        hidden: The hidden state that predicts each word.
        rows: The row of each word.
        words: The words.
        layout: The words of each row.
    """
    if hidden.device.type != "cpu":
        return _gathered(output, hidden, rows, words, layout)
    assert layout.ranks is not None
    query, ranks = output.query(hidden), layout.ranks[words]
    return log_probability_in_group(
        query, output.vector_weights, output.bias, rows, ranks, layout.members, output.source, layout.locations
    )


def expected_log_probability_in_row(
    output: SoftmaxOutput,
    hidden: Float[Tensor, "N H"],
    rows: Int[Tensor, " N"],
    shares: Float[Tensor, "N C"],
    layout: RowLayout,
) -> Float[Tensor, " N"]:
    """The sum of the log-probabilities of the words of one row per position, weighted with ``shares``, on a CPU.

    Args:
        output: Defines the vectors and biases of the words.
        hidden: The hidden state that predicts the words of each row.
        rows: The row of each position.
        shares: The weight of the word in each column; 0 for empty cells.
        layout: The words of each row.
    """
    query, weights = output.query(hidden), output.vector_weights
    order, pieces = _pieces_by_group(rows, layout.members, layout.locations, weights, output.source)
    parts = [shares[order[positions]][:, layout.columns[words]].to(output.bias.dtype) for positions, words, _ in pieces]
    return _in_groups(query, output.bias, order, parts, pieces, output.source, weights)


def log_probabilities_in_row(
    output: SoftmaxOutput, hidden: Float[Tensor, "N H"], rows: Int[Tensor, " N"], layout: RowLayout
) -> Float[Tensor, "N C"]:
    """Log-probability of the word in each column of one row with words per position; -inf for empty cells."""
    is_tracing = torch.jit.is_tracing() or torch.compiler.is_exporting()
    if hidden.device.type == "cpu" and not is_tracing and not torch.is_grad_enabled():
        return _log_probabilities_by_row(output, hidden, rows, layout)
    members = layout.table.int()[rows].long() if is_tracing else layout.table[rows]  # as a small constant
    present = members >= 0
    words = members.clamp(min=0)
    vectors = output.output_vectors(words.flatten()).unflatten(0, words.shape)
    logits = torch.bmm(vectors, output.query(hidden)[:, :, None].to(vectors.dtype))[..., 0] + output.bias[words]
    return logits.masked_fill(~present, -torch.inf).log_softmax(-1)


def _log_probabilities_by_row(
    output: SoftmaxOutput, hidden: Float[Tensor, "N H"], rows: Int[Tensor, " N"], layout: RowLayout
) -> Float[Tensor, "N C"]:
    query, weights = output.query(hidden).to(output.bias.dtype), output.vector_weights
    result = query.new_full((len(query), layout.table.shape[1]), -torch.inf)
    for row in rows.unique().tolist():
        positions, words = (rows == row).nonzero()[:, 0], layout.members[row]
        locations = layout.locations[row] if layout.locations else output.source.locate(weights, words)
        logits = output.source.logits(query[positions], weights, locations, output.bias[words])
        result[positions[:, None], layout.columns[words]] = logits.log_softmax(-1)
    return result


def _gathered(output: SoftmaxOutput, hidden: Tensor, rows: Tensor, words: Tensor, layout: RowLayout) -> Tensor:
    def block(hidden: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return log_probabilities_in_row(output, hidden, rows, layout).gather(1, columns[:, None])[:, 0]

    size = max(1, _MAX_ELEMENTS // (layout.table.shape[1] * output.hidden_dim))
    blocks = list(zip(hidden.split(size), rows.split(size), layout.columns[words].split(size), strict=True))
    if len(blocks) == 1 or not torch.is_grad_enabled():
        return torch.cat([block(*parts) for parts in blocks])
    return torch.cat([checkpoint(block, *parts, use_reentrant=False, preserve_rng_state=False) for parts in blocks])


def log_probability_in_group(
    query: Float[Tensor, "N P"],
    weights: Weights,
    bias: Float[Tensor, " V"],
    groups: Int[Tensor, " N"],
    ranks: Int[Tensor, " N"],
    members: Sequence[slice | Int[Tensor, " _"]],
    source: VectorSource,
    locations: Sequence[Any] | None = None,
) -> Float[Tensor, " N"]:
    """Log-probability of one word per position among the words of its group (a row or a class), in a loop over groups.

    Args:
        query: The vector of each position, which is multiplied by the output vectors.
        weights: The parameters of the output vectors.
        bias: Bias of each word.
        groups: The group of each position.
        ranks: The index of each position's word among the words of its group.
        members: The words of each group.
        source: Computes the output vectors from ``weights``.
        locations: Where the vectors of each group are stored; None if this is not known.
    """
    order, pieces = _pieces_by_group(groups, members, locations, weights, source)
    return _in_groups(query, bias, order, ranks[order], pieces, source, weights)


def _pieces_by_group(
    groups: Int[Tensor, " N"],
    members: Sequence[slice | Int[Tensor, " _"]],
    locations: Sequence[Any] | None,
    weights: Weights,
    source: VectorSource,
) -> tuple[Int[Tensor, " N"], list[_Piece]]:
    """The positions in the order of their groups, for one matrix product per group, and the pieces of this order."""
    order = groups.argsort(stable=True)
    counts = groups.bincount(minlength=len(members)).tolist()
    return order, [
        (slice(stop - count, stop), words, locations[group] if locations else source.locate(weights, words))
        for group, (count, stop, words) in enumerate(zip(counts, accumulate(counts), members, strict=True))
        if count
    ]


def _in_groups(
    query: Float[Tensor, "N P"],
    bias: Float[Tensor, " V"],
    order: Int[Tensor, " N"],
    chosen: Int[Tensor, " N"] | list[Tensor],
    pieces: list[_Piece],
    source: VectorSource,
    weights: Weights,
) -> Float[Tensor, " N"]:
    # Use the precision of the weights, because autocast does not apply to a custom backward pass.
    with torch.autocast(query.device.type, enabled=False):
        in_order = _LogProbabilityInGroup.apply(query[order].to(bias.dtype), bias, chosen, pieces, source, *weights)
    return torch.empty_like(in_order).index_copy(0, order, in_order)


_Piece = tuple[slice, slice | Tensor, Any]
"""The positions of a group in their order, its words, and where their vectors are stored."""


class _LogProbabilityInGroup(torch.autograd.Function):
    """The log-probability of one word per position, or a weighted sum over the words of its group.

    ``chosen`` is the index of each position's word in its group, or for each piece the weights of the words.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Float[Tensor, "N P"],
        bias: Float[Tensor, " V"],
        chosen: Int[Tensor, " N"] | list[Tensor],
        pieces: list[_Piece],
        source: VectorSource,
        *weights: Tensor,
    ) -> Float[Tensor, " N"]:
        result = query.new_empty(len(query))
        saved = []
        for number, (positions, words, locations) in enumerate(pieces):
            logs = source.logits(query[positions], weights, locations, bias[words]).log_softmax(-1)
            if isinstance(chosen, Tensor):
                result[positions] = logs.gather(1, chosen[positions, None])[:, 0]
            else:
                result[positions] = (chosen[number] * logs).sum(-1)
            if any(ctx.needs_input_grad):
                saved.append(logs)
        ctx.save_for_backward(query, bias, *weights, *saved)
        ctx.chosen, ctx.pieces, ctx.source = chosen, pieces, source
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, " N"]) -> tuple[Tensor | None, ...]:
        query, bias, *others = ctx.saved_tensors
        num_weights = len(others) - len(ctx.pieces)
        weights, saved = others[:num_weights], others[num_weights:]
        grad_query, grad_bias = torch.zeros_like(query), torch.zeros_like(bias)
        gradients = [torch.zeros_like(weight) for weight in weights]
        for number, ((positions, words, locations), logs) in enumerate(zip(ctx.pieces, saved, strict=True)):
            # The gradient of the logits: the weights, which are one at the target, minus the probabilities.
            grad_logits = logs.exp().neg_()
            if isinstance(ctx.chosen, Tensor):
                grad_logits[torch.arange(len(logs)), ctx.chosen[positions]] += 1
            else:
                shares = ctx.chosen[number]
                grad_logits *= shares.sum(-1, keepdim=True)
                grad_logits += shares
            grad_logits *= gradient[positions, None]
            grad_bias[words] = grad_logits.sum(0)
            ctx.source.add_logit_gradients(
                grad_logits, query[positions], weights, locations, grad_query[positions], gradients
            )
        return grad_query, grad_bias, None, None, None, *gradients
