"""Linear interpolation of language models: P(w | h) = sum_k weight_k P_k(w | h), weights by expectation maximisation.

The log-likelihood of a text is concave in the weights, so there is one best value and the iteration finds it.  Knows
log-probabilities of the tokens of a text, and nothing of where they come from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logs = NDArray[np.float64]

_STEPS = 100_000


def best_weights(logs: Logs, tolerance: float = 1e-8) -> NDArray[np.float64]:
    """The weights that make the text most probable, at least 0 and summing to one, shape (K,).

    Args:
        logs: Natural-log probability of each of N tokens by each of K models, shape (K, N); may be -inf.
        tolerance: The largest change of a weight in the last step.

    Raises:
        ValueError: If there are no tokens, or all models find one of them impossible.
    """
    num_models, num_tokens = logs.shape
    highest = logs.max(0) if num_tokens else np.full(1, -np.inf)
    if not np.isfinite(highest).all():
        raise ValueError("weights cannot be tuned: the text is empty, or all models find one of its tokens impossible")
    likelihoods = np.exp(logs - highest)
    weights = np.full(num_models, 1 / num_models)
    for _ in range(_STEPS):
        better = weights * (likelihoods / (weights @ likelihoods)).mean(1)
        change = np.abs(better - weights).max()
        weights = better / better.sum()
        if change < tolerance:
            break
    return weights


def mixed(logs: Logs, weights: NDArray[np.float64]) -> Logs:
    """Natural-log probability of each token by the mixture, shape (N,)."""
    highest = logs.max(0)
    offset = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(weights @ np.exp(logs - offset)) + offset
