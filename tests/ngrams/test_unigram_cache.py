"""The unigram cache compared with its definition."""

import numpy as np
import pytest

from lightrnn_pl.ngrams.unigram_cache import cache_log_probabilities


def slow_cache(text: list[int], size: int, num_words: int, decay: float) -> np.ndarray:
    """The probability of every word at every position, (N, V)."""
    probabilities = np.empty((len(text), size))
    for now in range(len(text)):
        weights = np.zeros(size)
        for back, word in enumerate(reversed(text[max(0, now - num_words) : now])):
            weights[word] += decay**back
        probabilities[now] = weights / weights.sum() if now else 1 / size
    return probabilities


@pytest.mark.parametrize(("num_words", "decay"), [(1, 1.0), (5, 1.0), (5, 0.7), (200, 0.9), (30, 1.0), (1000, 1.0)])
def test_equals_its_definition(num_words, decay):
    generator = np.random.default_rng(0)
    text = np.minimum(generator.zipf(1.5, 300), 20) - 1
    dense = slow_cache(text.tolist(), 20, num_words, decay)
    assert np.allclose(dense.sum(1), 1)
    actual = np.exp(cache_log_probabilities(text, 20, num_words, decay))
    expected = dense[np.arange(300), text]
    assert np.allclose(actual, expected, atol=1e-12) and np.array_equal(actual == 0, expected == 0)


@pytest.mark.parametrize(
    ("num_words", "decay", "message"),
    [(0, 1.0, "cache_words"), (2.5, 1.0, "cache_words"), (5, 0.0, "cache_decay"), (5, 1.1, "cache_decay")],
)
def test_rejects_invalid_settings(num_words, decay, message):
    with pytest.raises(ValueError, match=f"{message} must be"):
        cache_log_probabilities(np.array([1, 2]), 5, num_words, decay)
