"""Centers of groups, compared with a loop over groups."""

import numpy as np
import pytest

from lightrnn_pl.allocation.initial.centers import mean_vectors, unit_centers


@pytest.mark.parametrize("num_groups", [1, 4, 9])
def test_equal_a_loop_over_groups(num_groups):
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(30, 5)).astype(np.float32)
    weights = generator.random(30).astype(np.float32)
    groups = generator.integers(0, num_groups, 30)
    groups[groups == 2] = 0  # group 2 is empty
    centers, means = (function(vectors, weights, groups, num_groups) for function in (unit_centers, mean_vectors))
    assert centers.dtype == means.dtype == np.float32
    for group in range(num_groups):
        own = groups == group
        total = (weights[own, None] * vectors[own]).sum(0)
        expected = (total / np.linalg.norm(total), total / weights[own].sum()) if own.any() else (0, 0)
        np.testing.assert_allclose(centers[group], expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(means[group], expected[1], rtol=1e-4, atol=1e-6)
