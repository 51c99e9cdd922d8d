"""Linear interpolation of language models, P(w | h) = sum_k weight_k P_k(w | h), with expectation maximization.

The log-likelihood of a text is concave in the weights, so the iteration converges to a global optimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logs = NDArray[np.float64]

_MAX_STEPS = 100_000


def best_weights(logs: Logs, tolerance: float = 1e-8) -> NDArray[np.float64]:
    """The non-negative weights that maximize the likelihood of a text.  They sum to one; shape (K,).

    Args:
        logs: Natural-log probability of each of N tokens under each of K models, shape (K, N); may be -inf.
        tolerance: Stop when no weight changes by more than this value.

    Raises:
        ValueError: If there are no tokens, or a token has probability zero under all models.
    """
    num_models, num_tokens = logs.shape
    highest = logs.max(0) if num_tokens else np.full(1, -np.inf)
    if not np.isfinite(highest).all():
        raise ValueError(
            "weights cannot be tuned: the text is empty, or all models assign probability zero to one of its tokens"
        )
    likelihoods = np.exp(logs - highest)
    weights = np.full(num_models, 1 / num_models)
    for _ in range(_MAX_STEPS):
        updated = weights * (likelihoods / (weights @ likelihoods)).mean(1)
        change = np.abs(updated - weights).max()
        weights = updated / updated.sum()
        if change < tolerance:
            break
    return weights


def mix(logs: Logs, weights: NDArray[np.float64]) -> Logs:
    """Natural-log probability of each token under the mixture, shape (N,)."""
    highest = logs.max(0)
    offset = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(weights @ np.exp(logs - offset)) + offset
