"""The contract of embeddings: they map words to the step vectors of the recurrent core."""

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
    """Abstract: maps each word to step vectors: one for each of its k codes, or a single one.

    With k steps per word, the step that predicts code d of the next word reads the true code d - 1 of that word
    (teacher forcing).  The first step reads the previous word.  Step d of position t depends only on ``words[t]`` and
    on the first d - 1 codes of ``targets[t]``.

    Args:
        allocation: The word allocation, the same object as that of the output.
        embedding_dim: D, the size of a step vector.
        steps_per_word: k, the number of codes per word, or 1 for outputs that predict all codes of a word from the same
            hidden state; None means k.

    Raises:
        ValueError: If ``embedding_dim`` is not an integer greater than or equal to 1, or ``steps_per_word`` is neither
            1 nor k.
    """

    def __init__(self, allocation: WordAllocation, embedding_dim: int, steps_per_word: int | None = None) -> None:
        super().__init__()
        check_count("model.embedding_dim (by default model.hidden_dim)", embedding_dim)
        self.allocation = allocation
        self.embedding_dim = embedding_dim
        codes = allocation.num_components
        self.steps_per_word = codes if steps_per_word is None else steps_per_word
        if self.steps_per_word not in (1, codes):
            raise ValueError(
                f"model.steps_per_word must be 1 or the number of codes per word (model.components={codes}), got "
                f"{steps_per_word}"
            )

    def axis_vectors(self) -> list[Float[Tensor, "side D"] | None]:
        """The shared vectors of the codes of each axis, as detached views of the parameters.

        The entry of an axis whose codes are not read is None.
        """
        return [None] * self.allocation.num_components

    @abstractmethod
    def forward(self, words: Words, targets: Words) -> StepVectors:
        """Step vectors, ``steps_per_word`` per position; the steps of a position are consecutive.

        Args:
            words: The input words, (B, T).
            targets: The words to predict, (B, T); their last code is not read.
        """

    @abstractmethod
    def first_step(self, words: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """The vector for the step that predicts the first code of the word after each of ``words``."""

    @abstractmethod
    def code_step(self, axis: int, codes: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """The vector for the step that predicts code ``axis`` + 1 of a word, given its code ``axis``.

        Only for several steps per word.

        The steps of ``forward`` are ``first_step`` of a word, followed by ``code_step`` of each code of the next word
        except the last.
        """

    @property
    def reads_last_code(self) -> bool:
        """Whether the first step of a word reads only the last code of the previous word."""
        return False

    def traceable(self, max_bytes: int) -> Traceable:
        """A traceable version of ``first_step``; see :mod:`~lightrnn_pl.nn.traceable`.

        Args:
            max_bytes: The maximum size of a precomputed table in bytes.

        Raises:
            ValueError: If a table would be larger.
        """
        return Traceable(FirstStep(self), {})
