"""LightRNN's shared output vectors: a softmax over rows, and then one over columns (LightRNN, Equations 2 and 3)."""

from __future__ import annotations

from itertools import accumulate
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.multi_component import MultiComponentEmbedding
from lightrnn_pl.nn.outputs.word_codes import LinearCodeOutput
from lightrnn_pl.types import Hidden, Words, WordScores


class MultiComponentOutput(LinearCodeOutput):
    """(R + C) x H weights for k = 2: Y^r and Y^c of Equation 2, concatenated, with biases.

    log P(w) is the sum over the axes of log softmax(logits of that step)[code of w].  Codes that no word has, given the
    preceding codes, are masked, so that the probabilities of the words sum to one even if the table has empty cells.
    """

    def __init__(self, allocation: WordAllocation, hidden_dim: int) -> None:
        super().__init__(allocation, hidden_dim)
        self.weight = nn.Parameter(torch.zeros(sum(allocation.sides), hidden_dim))
        self.bias = nn.Parameter(torch.zeros(sum(allocation.sides)))
        stops = list(accumulate(allocation.sides))
        self._spans = list(zip([0, *stops], stops, strict=False))

    @override
    def tie(self, embedding: Embedding) -> None:
        """Share the vectors of a multi-component embedding of the same size: Y^r = X^r and Y^c = X^c."""
        if not isinstance(embedding, MultiComponentEmbedding) or embedding.embedding_dim != self.hidden_dim:
            super().tie(embedding)
        else:
            self.weight = cast(nn.Parameter, embedding.vectors.weight)

    @override
    def axis_losses(self, hidden: Hidden, targets: Words) -> list[WordScores]:
        codes = self.allocation.encode(targets).flatten(0, 1)
        steps = self.hidden_by_axis(hidden, targets)
        losses = [self._axis_loss(axis, step, codes) for axis, step in enumerate(steps)]
        return [loss.view(targets.shape) for loss in losses]

    @override
    def code_log_probabilities(
        self, axis: int, hidden: Float[Tensor, "N H"], prefixes: Int[Tensor, " N"]
    ) -> Float[Tensor, "N side"]:
        return self._logits(axis, hidden, prefixes).log_softmax(-1)

    @torch.no_grad()
    @override
    def word_vectors(self) -> Float[Tensor, "V kH"]:
        """The concatenated vectors of the codes of each word."""
        weights, _ = self.axis_parameters()
        codes = self.allocation.codes.long()
        return torch.cat([weight[codes[:, axis]] for axis, weight in enumerate(weights)], 1)

    @override
    def axis_parameters(self) -> tuple[list[Float[Tensor, "side H"]], list[Float[Tensor, " side"]]]:
        weights = [self.weight.detach()[start:stop] for start, stop in self._spans]
        return weights, [self.bias.detach()[start:stop] for start, stop in self._spans]

    def _axis_loss(self, axis: int, hidden: Float[Tensor, "N H"], codes: Int[Tensor, "N k"]) -> Float[Tensor, " N"]:
        logits = self._logits(axis, hidden, self.allocation.prefixes(codes, axis))
        return F.cross_entropy(logits, codes[:, axis], reduction="none")

    def _logits(self, axis: int, hidden: Float[Tensor, "N H"], prefixes: Int[Tensor, " N"]) -> Float[Tensor, "N side"]:
        start, stop = self._spans[axis]
        logits = F.linear(hidden, self.weight[start:stop], self.bias[start:stop])
        allowed = self.allocation.allowed(axis)
        return logits if allowed is None else logits.masked_fill(~allowed[prefixes], float("-inf"))
