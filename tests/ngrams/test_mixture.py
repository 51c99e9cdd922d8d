"""Mixture weights compared with a grid and a scalar minimizer, and the mixture with its definition."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from lightrnn_pl.ngrams.mixture import best_weights, mix


@pytest.fixture
def logs():
    """Log-probabilities of three models.  The third assigns probability zero to half of the tokens."""
    generator = np.random.default_rng(0)
    probabilities = generator.beta(0.5, 3, (3, 500))
    probabilities[2, ::2] = 0
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def test_two_weights_equal_those_of_a_scalar_minimizer(logs):
    def nll(weight: float) -> float:
        return -np.log(weight * np.exp(logs[0]) + (1 - weight) * np.exp(logs[1])).mean()

    weights = best_weights(logs[:2])
    expected = minimize_scalar(nll, bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    assert weights[0] == pytest.approx(expected.x, abs=1e-4) and weights.sum() == pytest.approx(1)
    assert 0.05 < weights[0] < 0.95


def test_three_weights_are_at_least_as_good_as_a_grid(logs):
    weights = best_weights(logs)
    best = mix(logs, weights).mean()
    steps = np.linspace(0, 1, 101)
    others = [mix(logs, np.array([a, b, 1 - a - b])).mean() for a in steps for b in steps if a + b <= 1]
    assert best >= max(others) and best == pytest.approx(max(others), abs=1e-3)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all() and weights[2] > 0.01


def test_useless_model_has_weight_zero(logs):
    worse = np.stack([logs[0], logs[0] - 1])
    assert best_weights(worse) == pytest.approx([1, 0], abs=1e-6)


def test_mix_is_the_logarithm_of_the_weighted_sum(logs):
    weights = np.array([0.2, 0.5, 0.3])
    assert np.allclose(np.exp(mix(logs, weights)), weights @ np.exp(logs))
    tiny = np.array([[-2000.0, -np.inf], [-2001.0, -np.inf]])
    assert mix(tiny, np.array([0.5, 0.5]))[0] == pytest.approx(-2000 + np.log(0.5 + 0.5 / np.e))
    assert mix(tiny, np.array([0.5, 0.5]))[1] == -np.inf


def test_rejects_empty_and_impossible_texts(logs):
    logs[:, 7] = -np.inf
    for invalid in (logs, np.empty((2, 0))):
        with pytest.raises(ValueError, match="weights cannot be tuned"):
            best_weights(invalid)
