"""The contract of outputs: they map hidden states to exact, normalized word probabilities."""

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
    """Abstract: predicts the next word from k hidden states.

    ``log_probability`` is always exact: its exponentials sum to one over the vocabulary.  Training may use a different
    loss (:mod:`lightrnn_pl.nn.losses`).

    Args:
        allocation: The word allocation, the same object as that of the embedding.
        hidden_dim: H, the size of a hidden state.

    Raises:
        ValueError: If ``hidden_dim`` is not an integer greater than or equal to 1.
    """

    def __init__(self, allocation: WordAllocation, hidden_dim: int) -> None:
        super().__init__()
        check_count("model.hidden_dim", hidden_dim)
        self.allocation = allocation
        self.hidden_dim = hidden_dim

    def initialise_for_allocation(self) -> None:
        """Initialize what depends on the codes of words; called when the initial allocation is known."""

    @abstractmethod
    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """Natural-log probability of each target, (B, T), given the k hidden states of its position."""

    @abstractmethod
    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """Natural-log probability of every word, for k = 1.  All N x V numbers are computed at once."""

    @abstractmethod
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """Log-probabilities and ids of the k most likely words, best first, for one code per word.

        At most V words are returned.  The order of words with equal probability is unspecified.
        """

    @abstractmethod
    def word_vectors(self) -> Float[Tensor, "V P"]:
        """The output vector of each word; words with similar vectors have similar probabilities in all contexts."""

    def tie(self, embedding: Embedding) -> None:
        """Share the vectors of the embedding (Press and Wolf 2017).

        Raises:
            ValueError: If the vectors of the embedding cannot be shared.
        """
        raise ValueError(
            f"{type(self).__name__} with hidden size {self.hidden_dim} cannot share the vectors of "
            f"{type(embedding).__name__} with embedding size {embedding.embedding_dim}; set model.tied=false, or use "
            "an embedding and an output of the same kind with model.embedding_dim equal to model.hidden_dim"
        )

    def initialise_projection(self, scale: float) -> None:
        """Initialize the projection of the hidden state to shared vectors of another size; called after ``tie``."""

    def traceable(self, max_bytes: int) -> Traceable:
        """A traceable version of ``log_probabilities``, for k = 1; see :mod:`~lightrnn_pl.nn.traceable`.

        Args:
            max_bytes: The maximum size of a precomputed table in bytes.

        Raises:
            ValueError: If a table would be larger.
        """
        return Traceable(AllWords(self), {})

    def _require_one_code(self) -> None:
        """Check that words have one code, for outputs that predict a word in one step."""
        if self.allocation.num_components != 1:
            raise ValueError(
                f"{type(self).__name__} predicts a word in one step, but each word has "
                f"{self.allocation.num_components} codes; use model.components=1 or model/output=multi_component"
            )
