"""Back-off n-gram models as sorted arrays, and the probability of every word of a text at once.

An n-gram is the number of its first n - 1 words among the (n - 1)-grams, and its last word: one integer, whatever n.
So an order is a sorted array of integers with two numbers for each, a text is looked up order by order with one binary
search for all its words, and the n-grams that end in a word follow from those that end in the word before.

    P(w | h) = p(hw) if hw is listed, else backoff(h) * P(w | h without its first word)

Context starts anew at every line with the begin marker.  Knows nothing of files, estimation and neural models.
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
"""The number of an n-gram, or the id of a word, that there is none of."""


@dataclass(frozen=True)
class Level:
    """All n-grams of one order, in ascending order of their keys.

    Attributes:
        keys: prefix * W + last word, int64, shape (N,); for order 1 the words 0 to W - 1 themselves.
        log_probability: Natural logs, shape (N,).
        backoff: Natural logs, shape (N,); empty for the highest order.
    """

    keys: Ids
    log_probability: Logs
    backoff: Logs


@dataclass(frozen=True)
class NgramModel:
    """A back-off model over W word ids.

    Attributes:
        levels: Order 1 first; order 1 lists every id.
        begin: The id of the begin marker; ABSENT if the model has none.
        end: The id of the end marker, which closes a line and is predicted.
        words: How the ids are spelled, if anybody needs to know.
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
        """W, markers included."""
        return len(self.levels[0].keys)

    @property
    def num_ngrams(self) -> list[int]:
        """How many n-grams each order lists."""
        return [len(level.keys) for level in self.levels]

    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each token after the tokens of its line before it, shape (N,).

        Args:
            tokens: Ids of lines that each close with the end marker, without begin markers; ABSENT for a word that
                the model does not have, whose log-probability is -inf.
        """
        marked, kept = with_begins(tokens, self.begin, self.end)
        return self._scores(marked)[kept]

    def _scores(self, tokens: Ids) -> Logs:
        starts = self._starts(tokens)
        known = tokens != ABSENT
        scores = np.full(len(tokens), -np.inf)
        scores[known] = self.levels[0].log_probability[tokens[known]]
        ending = tokens  # the number of the n-gram that ends in each token
        for below, level in itertools.pairwise(self.levels):
            contexts = np.concatenate([[ABSENT], ending[:-1]])
            contexts[starts] = ABSENT
            has_context = contexts != ABSENT
            scores[has_context] += below.backoff[contexts[has_context]]
            ending = find(level, contexts, tokens, self.num_words)
            listed = ending != ABSENT
            scores[listed] = level.log_probability[ending[listed]]
        return scores

    def _starts(self, tokens: Ids) -> NDArray[np.bool_]:
        """Where a line starts, so that nothing before is context: at the begin marker, or after an end marker."""
        if self.begin != ABSENT:
            return tokens == self.begin
        return np.concatenate([[True], tokens[:-1] == self.end])[: len(tokens)]


def find(level: Level, prefixes: Ids, words: Ids, num_words: int) -> Ids:
    """The numbers of the n-grams made of a prefix and a word each, ABSENT where a part or the whole is not listed."""
    found = np.full(len(prefixes), ABSENT, dtype=np.int64)
    asked = np.flatnonzero((prefixes != ABSENT) & (words != ABSENT))
    if len(level.keys) == 0 or len(asked) == 0:
        return found
    keys = prefixes[asked] * num_words + words[asked]
    # In ascending order a binary search stays in the cache.
    order = np.argsort(keys)
    places = np.empty(len(keys), dtype=np.int64)
    places[order] = np.searchsorted(level.keys, keys[order])
    places = np.minimum(places, len(level.keys) - 1)
    found[asked] = np.where(level.keys[places] == keys, places, ABSENT)
    return found


def with_begins(tokens: NDArray[np.integer], begin: int, end: int) -> tuple[Ids, Ids]:
    """The tokens with a begin marker before every line, and where each of them went; no markers if there are none.

    Raises:
        ValueError: If the text does not close with an end marker.
    """
    if len(tokens) == 0 or tokens[-1] != end:
        raise ValueError("a text for n-grams needs lines that close with an end marker, and this one does not")
    if begin == ABSENT:
        return tokens.astype(np.int64), np.arange(len(tokens))
    lines_before = np.concatenate([[0], np.cumsum(tokens[:-1] == end)])
    kept = np.arange(len(tokens)) + lines_before + 1
    marked = np.full(len(tokens) + int(lines_before[-1]) + 1, begin, dtype=np.int64)
    marked[kept] = tokens
    return marked, kept


def spelled(levels: Sequence[Level], order: int, numbers: Ids, num_words: int) -> list[Ids]:
    """The words of the n-grams ``numbers`` of an order: n arrays, the first words first."""
    columns: list[Ids] = []
    for level in reversed(levels[1:order]):
        numbers, last = np.divmod(level.keys[numbers], num_words)
        columns.append(last)
    return [numbers, *reversed(columns)]
