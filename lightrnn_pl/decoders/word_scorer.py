"""Scores one word after another along many hypotheses, as decoders need it: with a neural model or with n-grams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from typing_extensions import override

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.ngrams.members import Member
from lightrnn_pl.vocabulary import Vocabulary


class WordScorer(ABC):
    """Natural-log probabilities of words after a state.  States are not changed, so hypotheses may share them.

    Attributes:
        vocabulary: The words.  Other words are scored as the unknown word.
    """

    vocabulary: Vocabulary

    @abstractmethod
    def start(self) -> Any:
        """The state at the start of a line."""

    @abstractmethod
    def score(self, state: Any, word: str) -> tuple[float, Any]:
        """The log-probability of a word and the state after it.

        Raises:
            ValueError: If the word is unknown and the vocabulary has no unknown word.
        """

    @abstractmethod
    def end(self, state: Any) -> float:
        """The log-probability that the line ends; 0 if the vocabulary has no end marker."""

    def line(self, words: Sequence[str]) -> float:
        """The log-probability of a line, including its end."""
        state, total = self.start(), 0.0
        for word in words:
            score, state = self.score(state, word)
            total += score
        return total + self.end(state)


class NeuralScorer(WordScorer):
    """Scores words with a neural model.

    Args:
        bundle: The model.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.vocabulary, self._decoder = bundle.vocabulary, bundle.decoder
        self._start = self._decoder.start(1)

    @override
    def start(self) -> Any:
        return self._start

    @override
    def score(self, state: Any, word: str) -> tuple[float, Any]:
        ids = torch.tensor([self.vocabulary.id(word)], device=self._decoder.device)
        log_probability, state = self._decoder.step(state, ids)
        return float(log_probability), state

    @override
    def end(self, state: Any) -> float:
        if self.vocabulary.end_id is None:
            return 0.0
        ids = torch.tensor([self.vocabulary.end_id], device=self._decoder.device)
        return float(self._decoder.log_probability_of(state, ids))


class NgramScorer(WordScorer):
    """Scores words with an n-gram model, including models that kenlm reads.  States are the words of the line so far.

    Args:
        member: The model (``ngrams.members.read_member``).
        vocabulary: The vocabulary of ``member``, with an end marker.
    """

    def __init__(self, member: Member, vocabulary: Vocabulary) -> None:
        if vocabulary.end_id is None:
            raise ValueError("n-grams in a decoder require a vocabulary with an end marker")
        self.vocabulary, self._member, self._end = vocabulary, member, vocabulary.end_id

    @override
    def start(self) -> Any:
        return ()

    @override
    def score(self, state: Any, word: str) -> tuple[float, Any]:
        after = (*state, self.vocabulary.id(word))
        return float(self._member.log_probabilities(np.array([*after, self._end]))[len(state)]), after

    @override
    def end(self, state: Any) -> float:
        return float(self._member.log_probabilities(np.array([*state, self._end]))[-1])
