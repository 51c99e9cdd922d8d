"""Exact log-probabilities of given text, line by line, of a list or of a stream without end.

Every line is read from a zero state.  Knows models and vocabularies; neither files nor formats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.vocabulary import Vocabulary

_WINDOW = 64
"""Words scored at a time: with one code a word, scores of all V words are held for each of them."""

_BUFFERED_WORDS = 1 << 18
"""Words after which a stream's lines are scored although the buffer would take more lines."""


@dataclass(frozen=True)
class ScoredLine:
    """A line and what the model makes of it.

    Attributes:
        line: As it was given.
        words: Its words, the end marker last where the vocabulary has one.
        log_probabilities: The natural-log probability of each of ``words``.
        known: False for each of ``words`` that is, or was read as, the unknown word.
    """

    line: str
    words: list[str]
    log_probabilities: list[float]
    known: list[bool]

    @property
    def log_probability(self) -> float:
        """The natural-log probability of the line, end marker included."""
        return math.fsum(self.log_probabilities)


def score_lines(
    model: LanguageModel, vocabulary: Vocabulary, lines: Sequence[str], batch_size: int = 32
) -> list[list[float]]:
    """Natural-log probability of each word of each line, in the order given.

    A line is read from a zero state after the begin marker, or after an end marker where there is none; the end
    marker is scored last where the vocabulary has one.  Lines of similar length share a batch.

    Raises:
        ValueError: If ``lines`` is one string or holds something else than strings, or a word is unknown and the
            vocabulary has no unknown word.
    """
    check_lines(lines)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    return _score_ids(model, [_encode(vocabulary, line.split()) for line in lines], batch_size)


def score_stream(
    model: LanguageModel,
    vocabulary: Vocabulary,
    lines: Iterable[str],
    batch_size: int = 32,
    buffer_lines: int = 4096,
) -> Iterator[ScoredLine]:
    """Score lines as they come and yield them in their order; holds no more than a buffer of them.

    Args:
        model: Scores them.
        vocabulary: The model's.
        lines: Tokenised text, words separated by whitespace.
        batch_size: Lines scored at a time.
        buffer_lines: Lines that are sorted by length together; fewer where they are long.

    Raises:
        ValueError: If a number is no positive whole number, or naming the first line with an unknown word if the
            vocabulary has none that stands for it.
    """
    check_count("batch_size", batch_size)
    check_count("buffer_lines", buffer_lines)
    last = [] if vocabulary.end is None else [vocabulary.end]
    held: list[tuple[str, list[str], NDArray[np.int32]]] = []
    num_words = 0

    def scored() -> Iterator[ScoredLine]:
        scores = _score_ids(model, [ids for _, _, ids in held], batch_size)
        for (line, words, ids), log_probabilities in zip(held, scores, strict=True):
            known = [True] * (len(ids) - 1) if unknown is None else (ids[1:] != unknown).tolist()
            yield ScoredLine(line, [*words, *last], log_probabilities, known)

    unknown = vocabulary.unknown_id
    for number, line in enumerate(lines, start=1):
        words = line.split()
        try:
            ids = _encode(vocabulary, words)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        held.append((line, words, ids))
        num_words += len(ids)
        if len(held) == buffer_lines or num_words >= _BUFFERED_WORDS:
            yield from scored()
            held.clear()
            num_words = 0
    yield from scored()


def check_lines(lines: Any) -> None:
    """Refuse what is no sequence of strings.

    Raises:
        ValueError: Naming the first item that is no string.
    """
    if isinstance(lines, str):
        raise ValueError("score takes a list of lines, got one string; write score([line])")
    for place, line in enumerate(lines):
        if not isinstance(line, str):
            raise ValueError(f"score takes a list of lines, but item {place} is {line!r}; give strings")


def _encode(vocabulary: Vocabulary, words: list[str]) -> NDArray[np.int32]:
    """The ids of a line between what is read before it and what ends it."""
    ids = np.empty(len(words) + 1 + (vocabulary.end_id is not None), dtype=np.int32)
    ids[0] = vocabulary.context_id
    ids[1 : len(words) + 1] = vocabulary.encode(words)
    if vocabulary.end_id is not None:
        ids[-1] = vocabulary.end_id
    return ids


@torch.no_grad()
def _score_ids(model: LanguageModel, texts: Sequence[NDArray[np.int32]], batch_size: int) -> list[list[float]]:
    """The log-probability of every id but the first of each text."""
    device = next(model.parameters()).device
    scores: list[list[float]] = [[] for _ in texts]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        # The longest first: the texts that go on are then the first rows of the batch and of its state.
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
