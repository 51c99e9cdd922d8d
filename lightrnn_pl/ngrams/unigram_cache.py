"""A unigram cache: a word is as probable as its share of the words just read (Kuhn and De Mori 1990).

    P(w | h) = sum_{j=1..N} decay^(j-1) [the j-th word back is w] / sum_{j=1..N} decay^(j-1)

Before the first word of a text the cache is empty, and all words are equally probable.  Words that were not read
lately have probability zero, so the model is of use in a mixture only.  Lines and their end markers are words of one
long text.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count


def check_cache(num_words: object, decay: object) -> None:
    """Refuse settings that describe no cache.

    Raises:
        ValueError: Naming the key and its value.
    """
    check_count("cache_words", num_words)
    if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 < decay <= 1:
        raise ValueError(f"cache_decay must be above 0 and at most 1 (no decay), got {decay}")


def cache_log_probabilities(
    tokens: NDArray[np.integer], vocabulary_size: int, num_words: int = 500, decay: float = 1.0
) -> NDArray[np.float64]:
    """Natural-log probability of each token after those before it, shape (N,); -inf for words not in the cache.

    Args:
        tokens: Ids of a text, shape (N,).
        vocabulary_size: Words that an empty cache chooses among.
        num_words: How many words back the cache reaches.
        decay: What a word weighs relative to the word read after it.

    Raises:
        ValueError: As ``check_cache`` does.
    """
    check_cache(num_words, decay)
    text = np.asarray(tokens).tolist()
    logs = np.full(len(text), -math.log(vocabulary_size))
    forgotten = decay**num_words
    occurrences: dict[
        int, int
    ] = {}  # of each word in the window: a word without any has no weight, not a rounding error
    weights: dict[int, tuple[int, float]] = {}  # of each word: when it was brought up to date, and what it weighed
    total = 0.0
    for now, word in enumerate(text):
        if now:
            then, weight = weights.get(word, (now, 0.0))
            share = weight * decay ** (now - then) / total if occurrences.get(word) else 0.0
            logs[now] = math.log(share) if share > 0 else -math.inf
        then, weight = weights.get(word, (now, 0.0))
        weights[word] = now + 1, (weight * decay ** (now - then)) * decay + 1.0
        occurrences[word] = occurrences.get(word, 0) + 1
        total = total * decay + 1.0
        if now >= num_words:
            old = text[now - num_words]
            then, weight = weights[old]
            occurrences[old] -= 1
            weights[old] = now + 1, weight * decay ** (now + 1 - then) - forgotten if occurrences[old] else 0.0
            total -= forgotten
    return logs
