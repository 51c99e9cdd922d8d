"""What every input layer promises: words in, the recurrent core's step vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.part import Part
from lightrnn_pl.nn.traceable import FirstStep, Traceable
from lightrnn_pl.types import StepVectors, Words


class Embedding(Part, ABC):
    """Turns words into k step vectors each, where k is the number of codes that spell a word.

    The step that predicts code d of the next word reads code d - 1 of that word, its true one (teacher forcing);
    the first step of a word reads the word before.  So step d of position t may see ``words[t]`` and the first
    d - 1 codes of ``targets[t]``, never more.

    Args:
        allocation: The word table, the same object as the output's.
        embedding_dim: D, the size of a step vector.
    """

    def __init__(self, allocation: WordAllocation, embedding_dim: int) -> None:
        super().__init__()
        check_count("model.embedding_dim (by default model.hidden_dim)", embedding_dim)
        self.allocation = allocation
        self.embedding_dim = embedding_dim

    @property
    def steps_per_word(self) -> int:
        """k."""
        return self.allocation.num_components

    def axis_vectors(self) -> list[Float[Tensor, "side D"] | None]:
        """The vectors that words share by their code of each axis, as views of the parameters, detached; None for an
        axis whose codes are not read."""
        return [None] * self.steps_per_word

    @abstractmethod
    def forward(self, words: Words, targets: Words) -> StepVectors:
        """Step vectors, k for each position, the steps of one position side by side.

        Args:
            words: The words read, (B, T).
            targets: The words to predict, (B, T); only their codes before the last are read.
        """

    @abstractmethod
    def first_step(self, words: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """What the step reads that predicts the first code of the word after each of ``words``."""

    @abstractmethod
    def code_step(self, axis: int, codes: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """What the step reads that predicts code ``axis`` + 1 of a word, given its code ``axis``; for k > 1.

        ``first_step`` of a word, then ``code_step`` of each code of the next one but the last: the steps of
        ``forward``, one at a time.
        """

    @property
    def reads_last_code(self) -> bool:
        """Whether the first step of a word reads the last code of the previous word, and nothing else of it."""
        return False

    def traceable(self, max_bytes: int) -> Traceable:
        """``first_step`` in operations that a tracer can follow; see :mod:`~lightrnn_pl.nn.traceable`.

        Args:
            max_bytes: The largest table that may be computed for it.

        Raises:
            ValueError: If a table would be larger.
        """
        return Traceable(FirstStep(self), {})
