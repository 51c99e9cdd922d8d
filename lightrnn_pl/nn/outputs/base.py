"""What every output layer promises: hidden states in, an exact normalised probability of each word out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from lightrnn_pl.allocation.table import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.types import Hidden, Words, WordScores


class Output(nn.Module, ABC):
    """Scores the next word from k hidden states.

    ``training_loss`` may be sampled or approximate; ``log_probability`` is always exact, and its exponentials sum
    to one over the vocabulary.  A metric may only call the second.

    Args:
        allocation: The word table, the same object as the embedding's.
        hidden_dim: H, the size of a hidden state.
    """

    def __init__(self, allocation: WordAllocation, hidden_dim: int) -> None:
        super().__init__()
        check_count("model.hidden_dim", hidden_dim)
        self.allocation = allocation
        self.hidden_dim = hidden_dim

    @abstractmethod
    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """Natural-log probability of each target, (B, T), given the k hidden states of its position."""

    def training_loss(self, hidden: Hidden, targets: Words) -> WordScores:
        """What is minimised, one number a word in nats, (B, T); the exact negative log-likelihood unless overridden."""
        return -self.log_probability(hidden, targets)
