"""The alias tables hold the noise distribution exactly, and what is drawn follows it."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lightrnn_pl.nn.losses.noise import _SCALE, NoiseDistribution


def table_probabilities(noise: NoiseDistribution) -> np.ndarray:
    """What the columns of the alias table add up to, by word."""
    kept, size = noise.threshold.numpy() / _SCALE, len(noise.alias)
    own = np.bincount(np.arange(size), kept, size)
    return (own + np.bincount(noise.alias.numpy(), 1 - kept, size)) / size


def expected_probabilities(counts: np.ndarray, power: float) -> np.ndarray:
    weights = np.maximum(counts, 1).astype(float) ** power
    return weights / weights.sum()


@given(st.lists(st.integers(0, 50) | st.integers(0, 10**9), min_size=1, max_size=40), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_the_table_holds_the_distribution(counts, power):
    counts = np.array(counts)
    noise, expected = NoiseDistribution(counts, power), expected_probabilities(counts, power)
    assert noise.threshold.min() >= 0
    np.testing.assert_allclose(table_probabilities(noise), expected, atol=1e-9)
    log_probability = noise.log_probability(torch.arange(len(counts)), torch.float64)
    np.testing.assert_allclose(log_probability.exp().numpy(), expected, rtol=1e-9)


def test_a_large_vocabulary_is_set_up_at_once():
    counts = (1e8 / np.arange(1, 800_001)).astype(np.int64)
    start = time.process_time()
    noise = NoiseDistribution(counts, 0.75)
    assert time.process_time() - start < 2
    np.testing.assert_allclose(table_probabilities(noise), expected_probabilities(counts, 0.75), rtol=1e-4)


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_draws_follow_the_distribution(power):
    torch.manual_seed(0)
    counts = np.array([1000, 400, 400, 90, 7, 1, 0])
    noise, num = NoiseDistribution(counts, power), 200_000
    seen = np.bincount(noise.sample(num).numpy(), minlength=len(counts))
    expected = num * expected_probabilities(counts, power)
    assert stats.chisquare(seen, expected).pvalue > 1e-3


def test_draws_are_independent_of_each_other():
    torch.manual_seed(0)
    counts = np.array([5, 3, 1])
    drawn = NoiseDistribution(counts, 1.0).sample(60_000).numpy()
    pairs = np.bincount(3 * drawn[::2] + drawn[1::2], minlength=9)
    single = expected_probabilities(counts, 1.0)
    assert stats.chisquare(pairs, 30_000 * np.outer(single, single).ravel()).pvalue > 1e-3


def test_neither_checkpoint_nor_dtype_touches_the_tables():
    counts = np.array([9, 5, 1, 0])
    noise = NoiseDistribution(counts, 0.75)
    before = table_probabilities(noise)
    assert not noise.state_dict()
    assert np.array_equal(table_probabilities(noise.bfloat16()), before)
    assert noise.log_probability(torch.tensor([0])).dtype == torch.float32


def test_no_words_are_refused():
    with pytest.raises(ValueError, match=r"number of words to draw noise from must be .* got 0"):
        NoiseDistribution(np.array([], dtype=np.int64), 0.5)
