"""The contract of training losses: one number per word, whose gradient trains the output."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.part import Part
from lightrnn_pl.types import Hidden, Words, WordScores


class Loss(Part, ABC):
    """Abstract: a training loss, which may be sampled.  Perplexities are always exact (``Output.log_probability``)."""

    def check(self, output: Output) -> None:
        """Check that this loss can train ``output``.

        Raises:
            ValueError: If it cannot.  The message suggests an alternative.
        """

    @abstractmethod
    def forward(self, output: Output, hidden: Hidden, targets: Words) -> WordScores:
        """The loss of each target, (B, T)."""
