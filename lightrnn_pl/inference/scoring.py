"""Exact log-probabilities of text, for a list of lines or an unbounded stream.

Every line is scored without the lines before it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.tokenization import Tokenizer
from lightrnn_pl.vocabulary import Vocabulary

_WINDOW = 64
"""Number of words per window.  With one code per word, the logits of all V words are computed for each of them."""

_BUFFERED_WORDS = 1 << 18
"""Number of buffered words at which the lines of a stream are scored, even if there are less than ``buffer_lines``."""


@dataclass(frozen=True)
class ScoredLine:
    """A line with the log-probability of each of its words.

    Attributes:
        line: The line as passed.
        words: Its words, followed by the end marker if the vocabulary has one.
        log_probabilities: Natural-log probability of each of ``words``.
        known: For each of ``words``, False if it was scored as the unknown word.
    """

    line: str
    words: list[str]
    log_probabilities: list[float]
    known: list[bool]

    @property
    def log_probability(self) -> float:
        """Natural-log probability of the line, including the end marker."""
        return math.fsum(self.log_probabilities)

    def penalized(self, penalty: float) -> ScoredLine:
        """The line with ``penalty`` subtracted from the log-probability of each unknown word.

        A model that was trained with a frequent unknown word gives it a higher probability than most known words.
        """
        if not penalty:
            return self
        words = zip(self.log_probabilities, self.known, strict=True)
        return replace(self, log_probabilities=[value - penalty * (not known) for value, known in words])


class LineScorer(ABC):
    """Scores lines of text with a model.  The context is reset at every line.

    Args:
        vocabulary: The vocabulary of the model.
        tokenize: Splits a line into words.
    """

    def __init__(self, vocabulary: Vocabulary, tokenize: Tokenizer = str.split) -> None:
        self.vocabulary, self.tokenize = vocabulary, tokenize

    @abstractmethod
    def score_ids(self, texts: Sequence[NDArray[np.int32]]) -> list[list[float]]:
        """Natural-log probability of each id of each text except the first id, which is the context of the line."""

    def score(self, lines: Iterable[str], buffer_lines: int = 4096) -> Iterator[ScoredLine]:
        """Score a stream of lines and yield them in order.  At most one buffer of lines is kept in memory.

        Args:
            lines: The text.
            buffer_lines: Number of lines that are scored together.  Fewer are buffered if they are long.

        Raises:
            ValueError: If ``buffer_lines`` is not a positive integer, or a word is unknown and the vocabulary has no
                unknown word.  The message contains the number of the line.
        """
        check_count("buffer_lines", buffer_lines)
        last = [] if self.vocabulary.end is None else [self.vocabulary.end]
        buffer: list[tuple[str, list[str], NDArray[np.int32]]] = []
        num_words = 0

        def score_buffer() -> Iterator[ScoredLine]:
            scores = self.score_ids([ids for _, _, ids in buffer])
            for (line, words, ids), log_probabilities in zip(buffer, scores, strict=True):
                known = [True] * (len(ids) - 1) if unknown is None else (ids[1:] != unknown).tolist()
                yield ScoredLine(line, [*words, *last], log_probabilities, known)

        unknown = self.vocabulary.unknown_id
        for number, line in enumerate(lines, start=1):
            words = self.tokenize(line)
            try:
                ids = _encode(self.vocabulary, words)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            buffer.append((line, words, ids))
            num_words += len(ids)
            if len(buffer) == buffer_lines or num_words >= _BUFFERED_WORDS:
                yield from score_buffer()
                buffer.clear()
                num_words = 0
        yield from score_buffer()


class NeuralLineScorer(LineScorer):
    """Scores lines with a neural model.  Lines of similar length share a batch.

    Args:
        model: The language model.
        vocabulary: The vocabulary of the model.
        batch_size: Number of lines scored at a time.
        tokenize: Splits a line into words.

    Raises:
        ValueError: If ``batch_size`` is not a positive integer.
    """

    def __init__(
        self, model: LanguageModel, vocabulary: Vocabulary, batch_size: int = 32, tokenize: Tokenizer = str.split
    ) -> None:
        super().__init__(vocabulary, tokenize)
        check_count("batch_size", batch_size)
        self.model, self.batch_size = model, batch_size

    @override
    def score_ids(self, texts: Sequence[NDArray[np.int32]]) -> list[list[float]]:
        return _score_ids(self.model, texts, self.batch_size)


def score_lines(
    model: LanguageModel, vocabulary: Vocabulary, lines: Sequence[str], batch_size: int = 32
) -> list[list[float]]:
    """Natural-log probability of each word of each line, in the order of the lines.

    A line is read from a zero state, after the begin marker, or after the end marker if there is no begin marker.  If
    the vocabulary has an end marker, it is scored last.  Lines of similar length share a batch.

    Raises:
        ValueError: If ``lines`` is a single string or contains anything but strings, or a word is unknown and the
            vocabulary has no unknown word.
    """
    check_lines(lines)
    scorer = NeuralLineScorer(model, vocabulary, batch_size)
    return scorer.score_ids([_encode(vocabulary, line.split()) for line in lines])


def check_lines(lines: Any) -> None:
    """Check that ``lines`` is a sequence of strings.

    Raises:
        ValueError: If it is a single string, or contains an item that is not a string.
    """
    if isinstance(lines, str):
        raise ValueError("score expects a list of lines, got a single string; use score([line])")
    for index, line in enumerate(lines):
        if not isinstance(line, str):
            raise ValueError(f"score expects a list of strings, but item {index} is {line!r}")


def _encode(vocabulary: Vocabulary, words: list[str]) -> NDArray[np.int32]:
    """The ids of a line, preceded by the context word and followed by the end marker if there is one."""
    ids = np.empty(len(words) + 1 + (vocabulary.end_id is not None), dtype=np.int32)
    ids[0] = vocabulary.context_id
    ids[1 : len(words) + 1] = vocabulary.encode(words)
    if vocabulary.end_id is not None:
        ids[-1] = vocabulary.end_id
    return ids


@torch.no_grad()
def _score_ids(model: LanguageModel, texts: Sequence[NDArray[np.int32]], batch_size: int) -> list[list[float]]:
    """The log-probabilities of all ids of each text except the first."""
    device = next(model.parameters()).device
    scores: list[list[float]] = [[] for _ in texts]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        # Longest first, so that the texts that continue in the next window are the first rows of the state.
        chosen = order[start : start + batch_size][::-1]
        state: State | None = None
        for first in range(0, len(texts[chosen[0]]) - 1, _WINDOW):
            chosen = [index for index in chosen if len(texts[index]) - 1 > first]
            parts = [texts[index][first : first + _WINDOW + 1] for index in chosen]
            padded = np.zeros((len(parts), len(parts[0])), dtype=np.int64)
            for row, part in zip(padded, parts, strict=True):
                row[: len(part)] = part
            words = torch.from_numpy(padded).to(device)
            if state is not None:
                state = tuple(part[:, : len(chosen)].contiguous() for part in state)
            log_probabilities, state = model.score(words[:, :-1], words[:, 1:], state)
            for index, row, part in zip(chosen, log_probabilities.tolist(), parts, strict=True):
                scores[index] += row[: len(part) - 1]
    model.train(training)
    return scores
