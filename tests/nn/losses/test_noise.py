"""The alias table represents the noise distribution exactly, and samples follow it."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lightrnn_pl.nn.losses.noise import _SCALE, NoiseDistribution


def table_probabilities(noise: NoiseDistribution) -> np.ndarray:
    """The probability of each word according to the alias table."""
    threshold, size = noise.threshold.numpy() / _SCALE, len(noise.alias)
    own = np.bincount(np.arange(size), threshold, size)
    return (own + np.bincount(noise.alias.numpy(), 1 - threshold, size)) / size


def expected_probabilities(counts: np.ndarray, power: float) -> np.ndarray:
    weights = np.maximum(counts, 1).astype(float) ** power
    return weights / weights.sum()


@given(st.lists(st.integers(0, 50) | st.integers(0, 10**9), min_size=1, max_size=40), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_alias_table_represents_the_distribution(counts, power):
    counts = np.array(counts)
    noise, expected = NoiseDistribution(counts, power), expected_probabilities(counts, power)
    assert noise.threshold.min() >= 0
    np.testing.assert_allclose(table_probabilities(noise), expected, atol=1e-9)
    log_probability = noise.log_probability(torch.arange(len(counts)), torch.float64)
    np.testing.assert_allclose(log_probability.exp().numpy(), expected, rtol=1e-9)


def test_alias_table_of_a_large_vocabulary_is_fast():
    counts = (1e8 / np.arange(1, 800_001)).astype(np.int64)
    start = time.process_time()
    noise = NoiseDistribution(counts, 0.75)
    assert time.process_time() - start < 2
    np.testing.assert_allclose(table_probabilities(noise), expected_probabilities(counts, 0.75), rtol=1e-4)


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_samples_follow_the_distribution(power):
    torch.manual_seed(0)
    counts = np.array([1000, 400, 400, 90, 7, 1, 0])
    noise, num = NoiseDistribution(counts, power), 200_000
    sampled = np.bincount(noise.sample(num).numpy(), minlength=len(counts))
    expected = num * expected_probabilities(counts, power)
    assert stats.chisquare(sampled, expected).pvalue > 1e-3


def test_samples_are_independent():
    torch.manual_seed(0)
    counts = np.array([5, 3, 1])
    samples = NoiseDistribution(counts, 1.0).sample(60_000).numpy()
    pairs = np.bincount(3 * samples[::2] + samples[1::2], minlength=9)
    single = expected_probabilities(counts, 1.0)
    assert stats.chisquare(pairs, 30_000 * np.outer(single, single).ravel()).pvalue > 1e-3


def test_table_is_not_saved_and_does_not_depend_on_the_dtype():
    counts = np.array([9, 5, 1, 0])
    noise = NoiseDistribution(counts, 0.75)
    before = table_probabilities(noise)
    assert not noise.state_dict()
    assert np.array_equal(table_probabilities(noise.bfloat16()), before)
    assert noise.log_probability(torch.tensor([0])).dtype == torch.float32


def test_empty_vocabularies_are_rejected():
    with pytest.raises(ValueError, match=r"number of words to draw noise from must be .* got 0"):
        NoiseDistribution(np.array([], dtype=np.int64), 0.5)
