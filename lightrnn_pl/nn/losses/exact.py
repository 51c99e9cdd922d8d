"""The exact negative log-likelihood, for any output."""

from __future__ import annotations

from typing_extensions import override

from lightrnn_pl.nn.losses.base import Loss
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.types import Hidden, Words, WordScores


class ExactLoss(Loss):
    """Negative natural-log probability of each target."""

    @override
    def forward(self, output: Output, hidden: Hidden, targets: Words) -> WordScores:
        return -output.log_probability(hidden, targets)
