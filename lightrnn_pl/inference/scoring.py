"""Exact log-probabilities of given text, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.vocabulary import Vocabulary

_WINDOW = 64
"""Words scored at a time: with one code a word, scores of all V words are held for each of them."""


@torch.no_grad()
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
    device = next(model.parameters()).device
    last = [] if vocabulary.end_id is None else [vocabulary.end_id]
    texts = [[vocabulary.context_id, *vocabulary.encode(line.split()).tolist(), *last] for line in lines]
    scores: list[list[float]] = [[] for _ in texts]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    training = model.training
    model.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = max(len(texts[index]) for index in chosen)
        if width == 1:
            continue
        padded = torch.zeros(len(chosen), width, dtype=torch.int64)
        for place, index in enumerate(chosen):
            padded[place, : len(texts[index])] = torch.tensor(texts[index])
        padded = padded.to(device)
        state: State | None = None
        for first in range(0, width - 1, _WINDOW):
            words = padded[:, first : first + _WINDOW + 1]
            log_probabilities, state = model.score(words[:, :-1], words[:, 1:], state)
            for place, index in enumerate(chosen):
                scores[index] += log_probabilities[place, : max(0, len(texts[index]) - 1 - first)].tolist()
    model.train(training)
    return scores


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
