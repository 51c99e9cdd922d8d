"""LightRNN's shared output vectors: a softmax over rows, then one over columns (LightRNN, Equations 2 and 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lightrnn_pl.allocation.table import WordAllocation
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.types import Hidden, Words, WordScores


class MultiComponentOutput(Output):
    """(R + C) x H weights for k = 2: Y^r and Y^c of Equation 2, with biases.

    log P(w) is the sum over axes of log softmax(hidden of that step)[code of w].  Codes that no word has, given the
    codes before, are masked, so that the probabilities of the words sum to one also where the table has empty cells.
    """

    def __init__(self, allocation: WordAllocation, hidden_dim: int) -> None:
        super().__init__(allocation, hidden_dim)
        self.axes = nn.ModuleList(nn.Linear(hidden_dim, side) for side in allocation.sides)

    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Output`."""
        codes = self.allocation.encode(targets).flatten(0, 1)
        steps = hidden.reshape(len(codes), len(self.axes), self.hidden_dim)
        losses = [self._axis_loss(axis, steps[:, axis], codes) for axis in range(len(self.axes))]
        return -torch.stack(losses).sum(0).view(targets.shape)

    def axis_parameters(self) -> tuple[list[Float[Tensor, "side H"]], list[Float[Tensor, " side"]]]:
        """Output vectors and biases of each axis, what the loss statistics are priced with."""
        layers = [self._layer(axis) for axis in range(len(self.axes))]
        return [layer.weight.detach() for layer in layers], [layer.bias.detach() for layer in layers]

    def _layer(self, axis: int) -> nn.Linear:
        layer = self.axes[axis]
        assert isinstance(layer, nn.Linear)
        return layer

    def _axis_loss(self, axis: int, hidden: Float[Tensor, "N H"], codes: Int[Tensor, "N k"]) -> Float[Tensor, " N"]:
        scores = self._layer(axis)(hidden)
        allowed = self.allocation.allowed(axis)
        if allowed is not None:
            scores = scores.masked_fill(~allowed[self.allocation.prefixes(codes, axis)], float("-inf"))
        return F.cross_entropy(scores, codes[:, axis], reduction="none")
