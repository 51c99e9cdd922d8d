"""The contract of training losses: one number per word whose gradient trains the output's exact probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.part import Part
from lightrnn_pl.types import Hidden, Words, WordScores


class Loss(Part, ABC):
    """A loss may be sampled; what is reported as a perplexity never is (``Output.log_probability``)."""

    def check(self, output: Output) -> None:
        """Refuse an output that this loss cannot train.

        Raises:
            ValueError: Saying why, and what to use instead.
        """

    @abstractmethod
    def forward(self, output: Output, hidden: Hidden, targets: Words) -> WordScores:
        """The quantity to minimize, one number per word, (B, T)."""
