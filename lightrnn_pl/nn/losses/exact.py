"""The exact negative log-likelihood, which every output has."""

from __future__ import annotations

from lightrnn_pl.nn.losses.base import Loss
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.types import Hidden, Words, WordScores


class ExactLoss(Loss):
    """Negative natural-log probability of each target."""

    def forward(self, output: Output, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Loss`."""
        return -output.log_probability(hidden, targets)
