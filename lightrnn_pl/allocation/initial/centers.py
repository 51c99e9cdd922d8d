"""Centers of groups of word vectors, computed without a loop over groups."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

_SMALLEST = 1e-9
"""Replaces norms and weights of zero, so that the center of an empty group is zero."""


def unit_centers(
    vectors: Float[np.ndarray, "V dimension"],
    weights: Float[np.ndarray, " V"],
    groups: Int[np.ndarray, " V"],
    num_groups: int,
) -> Float[np.ndarray, "{num_groups} dimension"]:
    """The weighted sum of the vectors of each group, scaled to unit length."""
    sums = _weighted_sums(vectors, weights, groups, num_groups)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), _SMALLEST)


def mean_vectors(
    vectors: Float[np.ndarray, "V dimension"],
    weights: Float[np.ndarray, " V"],
    groups: Int[np.ndarray, " V"],
    num_groups: int,
) -> Float[np.ndarray, "{num_groups} dimension"]:
    """The weighted mean of the vectors of each group."""
    totals = np.maximum(np.bincount(groups, weights, minlength=num_groups), _SMALLEST).astype(np.float32)
    return _weighted_sums(vectors, weights, groups, num_groups) / totals[:, None]


def _weighted_sums(
    vectors: Float[np.ndarray, "V dimension"],
    weights: Float[np.ndarray, " V"],
    groups: Int[np.ndarray, " V"],
    num_groups: int,
) -> Float[np.ndarray, "{num_groups} dimension"]:
    shape = num_groups, len(vectors)
    return csr_matrix((weights, (groups, np.arange(len(vectors)))), shape=shape) @ vectors
