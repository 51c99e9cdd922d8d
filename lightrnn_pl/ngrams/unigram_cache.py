"""A unigram cache: the probability of a word is its relative frequency in the preceding words (Kuhn and De Mori 1990).

    P(w | h) = sum_{j=1..N} decay^(j-1) [the j-th word back is w] / sum_{j=1..N} decay^(j-1)

Before the first word of a text, the cache is empty and all words are equally probable.  Words outside the cache have
probability zero, so the model is only useful in a mixture.  The cache extends across lines and contains end markers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count, check_ratio


def check_cache(num_words: object, decay: object) -> None:
    """Check the settings of a cache.

    Raises:
        ValueError: Naming the key and its value.
    """
    check_count("cache_words", num_words)
    check_ratio("cache_decay", decay)


def cache_log_probabilities(
    tokens: NDArray[np.integer], vocabulary_size: int, num_words: int = 500, decay: float = 1.0
) -> NDArray[np.float64]:
    """Natural-log probability of each token given the preceding ones, shape (N,); -inf for words outside the cache.

    Args:
        tokens: Ids of a text, shape (N,).
        vocabulary_size: Number of words in the vocabulary.
        num_words: Size of the cache in words.
        decay: The weight of a word relative to the word after it.

    Raises:
        ValueError: If a setting is invalid.
    """
    check_cache(num_words, decay)
    text = np.asarray(tokens).tolist()
    logs = np.full(len(text), -math.log(vocabulary_size))
    expired_weight = decay**num_words
    # Occurrences in the window: the weight of a word without any is exactly zero, not a rounding error.
    occurrences: dict[int, int] = {}
    # The position at which the weight of a word was last updated, and the weight at that position.
    weights: dict[int, tuple[int, float]] = {}
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
            weights[old] = now + 1, weight * decay ** (now + 1 - then) - expired_weight if occurrences[old] else 0.0
            total -= expired_weight
    return logs
