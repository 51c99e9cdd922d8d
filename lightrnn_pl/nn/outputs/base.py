"""What every output layer promises: hidden states in, an exact normalised probability of each word out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.part import Part
from lightrnn_pl.nn.traceable import AllWords, Traceable
from lightrnn_pl.types import Hidden, Words, WordScores


class Output(Part, ABC):
    """Scores the next word from k hidden states.

    ``log_probability`` is always exact, and its exponentials sum to one over the vocabulary.  What training minimises
    instead of it, where it does, is a matter of the losses (``nn/losses``).

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

    @abstractmethod
    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """Natural-log probability of every word, for k = 1: all V numbers are held, for all positions at once."""

    @abstractmethod
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """Log-probabilities and ids of the k most likely words, best first, for k = 1 code a word.

        No more than V are given; the order of words that are exactly as likely is left open.
        """

    @abstractmethod
    def word_vectors(self) -> Float[Tensor, "V P"]:
        """What each word is predicted by, as one vector: words with vectors near one another are predicted alike."""

    def tie(self, embedding: Embedding) -> None:
        """Use the embedding's vectors as the output's (Press and Wolf 2017), where both have the same shape.

        Raises:
            ValueError: Where they have not.
        """
        raise ValueError(
            f"{type(self).__name__} of hidden size {self.hidden_dim} cannot share the vectors of "
            f"{type(embedding).__name__} of size {embedding.embedding_dim}; set model.tied=false, or choose two layers "
            "of one kind with model.embedding_dim equal to model.hidden_dim"
        )

    def traceable(self, max_bytes: int) -> Traceable:
        """This layer in operations that a tracer can follow, for k = 1; see :mod:`~lightrnn_pl.nn.traceable`.

        Args:
            max_bytes: The largest table that may be computed for it.

        Raises:
            ValueError: If a table would be larger.
        """
        return Traceable(AllWords(self), {})

    def _require_one_code(self) -> None:
        """Refuse a table whose words have several codes, for outputs that predict a word in one step."""
        if self.allocation.num_components != 1:
            raise ValueError(
                f"{type(self).__name__} predicts a word in one step, but the words have "
                f"{self.allocation.num_components} codes; use model.components=1 or model/output=multi_component"
            )
