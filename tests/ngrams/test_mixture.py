"""Weights against a grid and a scalar minimiser; the mixture against its definition."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from lightrnn_pl.ngrams.mixture import best_weights, mixed


@pytest.fixture
def logs():
    """Three models: the second is best where the first is bad; the third finds half of the tokens impossible."""
    generator = np.random.default_rng(0)
    probabilities = generator.beta(0.5, 3, (3, 500))
    probabilities[2, ::2] = 0
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def test_two_weights_are_those_of_a_scalar_minimiser(logs):
    def nll(weight: float) -> float:
        return -np.log(weight * np.exp(logs[0]) + (1 - weight) * np.exp(logs[1])).mean()

    found = best_weights(logs[:2])
    wanted = minimize_scalar(nll, bounds=(0, 1), method="bounded", options={"xatol": 1e-9})
    assert found[0] == pytest.approx(wanted.x, abs=1e-4) and found.sum() == pytest.approx(1)
    assert 0.05 < found[0] < 0.95


def test_no_three_weights_are_better(logs):
    found = best_weights(logs)
    best = mixed(logs, found).mean()
    steps = np.linspace(0, 1, 101)
    others = [mixed(logs, np.array([a, b, 1 - a - b])).mean() for a in steps for b in steps if a + b <= 1]
    assert best >= max(others) and best == pytest.approx(max(others), abs=1e-3)
    assert found.sum() == pytest.approx(1) and (found >= 0).all() and found[2] > 0.01


def test_a_model_without_use_gets_nothing(logs):
    worse = np.stack([logs[0], logs[0] - 1])
    assert best_weights(worse) == pytest.approx([1, 0], abs=1e-6)


def test_mixed_is_the_logarithm_of_the_weighted_sum(logs):
    weights = np.array([0.2, 0.5, 0.3])
    assert np.allclose(np.exp(mixed(logs, weights)), weights @ np.exp(logs))
    tiny = np.array([[-2000.0, -np.inf], [-2001.0, -np.inf]])
    assert mixed(tiny, np.array([0.5, 0.5]))[0] == pytest.approx(-2000 + np.log(0.5 + 0.5 / np.e))
    assert mixed(tiny, np.array([0.5, 0.5]))[1] == -np.inf


def test_refuses_what_no_weights_fit(logs):
    logs[:, 7] = -np.inf
    for bad in (logs, np.empty((2, 0))):
        with pytest.raises(ValueError, match="weights cannot be tuned"):
            best_weights(bad)
