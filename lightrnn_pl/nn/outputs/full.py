"""One vector a word and one softmax over the vocabulary: the ordinary output layer, for k = 1."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from lightrnn_pl.allocation.table import WordAllocation
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.types import Hidden, Words, WordScores


class FullOutput(Output):
    """V x H weights and V biases.

    Raises:
        ValueError: If the words are spelled with more than one code.
    """

    def __init__(self, allocation: WordAllocation, hidden_dim: int) -> None:
        super().__init__(allocation, hidden_dim)
        if allocation.num_components != 1:
            raise ValueError(
                f"the full output predicts a word in one step, but the words have {allocation.num_components} "
                "codes; use model.components=1 or model/output=multi_component"
            )
        self.linear = nn.Linear(hidden_dim, allocation.num_words)

    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Output`."""
        scores = self.linear(hidden.flatten(0, 1))
        return -F.cross_entropy(scores, targets.flatten(), reduction="none").view(targets.shape)
