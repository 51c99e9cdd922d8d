"""Back-off n-gram models as sorted arrays, with vectorized scoring of whole texts.

The key of an n-gram is a single integer for every n: it combines the index of its first n - 1 words among the
(n - 1)-grams with its last word.  An order is therefore a sorted array of keys with a log-probability and a back-off
weight for each.  A text is looked up order by order, with one binary search for all its words.

    P(w | h) = p(hw) if hw is listed, else backoff(h) * P(w | h without its first word)

The context is reset at the begin marker of every line.  Without an end marker, a text is one line.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Logs = NDArray[np.float64]

ABSENT = -1
"""The index of an n-gram that is not listed, or the id of a word that the model does not have."""


@dataclass(frozen=True)
class Level:
    """All n-grams of one order, in ascending order of their keys.

    Attributes:
        keys: prefix * W + last word, int64, shape (N,).  For order 1, these are the word ids 0 to W - 1.
        log_probability: Natural-log probabilities, shape (N,).
        backoff: Natural logarithms of the back-off weights, shape (N,); empty for the highest order.
    """

    keys: Ids
    log_probability: Logs
    backoff: Logs


@dataclass(frozen=True)
class NgramModel:
    """A back-off model over W word ids.

    Attributes:
        levels: The n-grams by order, starting with order 1, which lists every id.
        begin: The id of the begin marker; ABSENT if the model has none.
        end: The id of the end marker, which ends a line and is predicted; ABSENT if the model has none.
        words: The word of each id; empty if the words are not needed.
    """

    levels: tuple[Level, ...]
    begin: int
    end: int
    words: tuple[str, ...] = ()

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.levels)

    @property
    def num_words(self) -> int:
        """W, including markers."""
        return len(self.levels[0].keys)

    @property
    def num_ngrams(self) -> list[int]:
        """Number of n-grams by order."""
        return [len(level.keys) for level in self.levels]

    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each token after the tokens of its line before it, shape (N,).

        Args:
            tokens: Ids of lines that end with the end marker if there is one, without begin markers.  ABSENT denotes a
                word that the model does not have, whose log-probability is -inf.
        """
        marked, positions = insert_begin_markers(tokens, self.begin, self.end)
        return self._scores(marked)[positions]

    def next_log_probabilities(self, history: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each of the W ids after a history, (W,).

        Args:
            history: The preceding ids, without begin markers; only the last line of it is used, (N,).
        """
        recent = np.asarray(history[-(self.order - 1) :] if self.order > 1 else history[:0], dtype=np.int64)
        if self.end != ABSENT and (ends := np.flatnonzero(recent == self.end)).size:
            recent = recent[ends[-1] + 1 :]
        if len(recent) < self.order - 1 and self.begin != ABSENT:
            recent = np.concatenate([[self.begin], recent])
        scores = self.levels[0].log_probability.copy()
        for size, (below, level) in enumerate(itertools.pairwise(self.levels), start=1):
            if size > len(recent):
                break
            context = recent[-size : -size + 1] if size > 1 else recent[-1:]
            for part, word in zip(self.levels[1:size], recent[len(recent) - size + 1 :], strict=True):
                context = find_ngrams(part, context, np.array([word]), self.num_words)
            if context[0] == ABSENT:
                continue
            scores += below.backoff[context[0]]
            bounds = context[0] * self.num_words + np.array([0, self.num_words])
            listed = slice(*np.searchsorted(level.keys, bounds))
            scores[level.keys[listed] - bounds[0]] = level.log_probability[listed]
        return scores

    def _scores(self, tokens: Ids) -> Logs:
        starts = self._starts(tokens)
        known = tokens != ABSENT
        scores = np.full(len(tokens), -np.inf)
        scores[known] = self.levels[0].log_probability[tokens[known]]
        ending = tokens  # index of the n-gram that ends in each token
        for below, level in itertools.pairwise(self.levels):
            contexts = np.concatenate([[ABSENT], ending[:-1]])
            contexts[starts] = ABSENT
            has_context = contexts != ABSENT
            scores[has_context] += below.backoff[contexts[has_context]]
            ending = find_ngrams(level, contexts, tokens, self.num_words)
            listed = ending != ABSENT
            scores[listed] = level.log_probability[ending[listed]]
        return scores

    def _starts(self, tokens: Ids) -> NDArray[np.bool_]:
        """True at tokens without context: at a begin marker, or without begin markers after an end marker."""
        if self.begin != ABSENT:
            return tokens == self.begin
        return line_starts(tokens, self.end)


def find_ngrams(level: Level, prefixes: Ids, words: Ids, num_words: int) -> Ids:
    """The indices of the n-grams that consist of a prefix and a word, ABSENT if they are not listed."""
    indices = np.full(len(prefixes), ABSENT, dtype=np.int64)
    queries = np.flatnonzero((prefixes != ABSENT) & (words != ABSENT))
    if len(level.keys) == 0 or len(queries) == 0:
        return indices
    keys = prefixes[queries] * num_words + words[queries]
    # Searching keys in ascending order makes better use of the processor cache.
    order = np.argsort(keys)
    candidates = np.empty(len(keys), dtype=np.int64)
    candidates[order] = np.searchsorted(level.keys, keys[order])
    candidates = np.minimum(candidates, len(level.keys) - 1)
    indices[queries] = np.where(level.keys[candidates] == keys, candidates, ABSENT)
    return indices


def line_starts(tokens: NDArray[np.integer], end: int) -> NDArray[np.bool_]:
    """True at the first token and, unless ``end`` is ABSENT, after each end marker, shape (N,)."""
    starts = np.zeros(len(tokens), dtype=np.bool_)
    starts[:1] = True
    if end != ABSENT:
        starts[1:] = tokens[:-1] == end
    return starts


def insert_begin_markers(tokens: NDArray[np.integer], begin: int, end: int) -> tuple[Ids, Ids]:
    """Insert a begin marker before every line.

    Args:
        tokens: Ids of lines that end with the end marker, shape (N,).
        begin: The id of the begin marker; if ABSENT, no markers are inserted.
        end: The id of the end marker; if ABSENT, the text is one line.

    Returns:
        The tokens with markers, and the new position of each token, shape (N,).

    Raises:
        ValueError: If the text is empty, or does not end with an end marker.
    """
    if len(tokens) == 0:
        raise ValueError("a text for n-grams must not be empty")
    if end not in (ABSENT, tokens[-1]):
        raise ValueError("a text for n-grams must end with an end marker")
    if begin == ABSENT:
        return tokens.astype(np.int64), np.arange(len(tokens))
    lines = np.cumsum(line_starts(tokens, end))
    positions = np.arange(len(tokens)) + lines
    marked = np.full(len(tokens) + int(lines[-1]), begin, dtype=np.int64)
    marked[positions] = tokens
    return marked, positions


def ngram_words(levels: Sequence[Level], order: int, indices: Ids, num_words: int) -> list[Ids]:
    """The words of n-grams of an order, given their indices: n arrays, first words first."""
    columns: list[Ids] = []
    for level in reversed(levels[1:order]):
        indices, last = np.divmod(level.keys[indices], num_words)
        columns.append(last)
    return [indices, *reversed(columns)]
