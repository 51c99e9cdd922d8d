"""Rows of different sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrnn_pl.allocation.initial.frequency import FrequencyAllocation
from lightrnn_pl.allocation.initial.random import RandomAllocation
from lightrnn_pl.allocation.row_bands import balanced_row_sizes, row_bands, sides_of


@st.composite
def band_settings(draw):
    num_words = draw(st.integers(2, 60))
    cutoffs = sorted(draw(st.sets(st.integers(1, num_words - 1), max_size=3)))
    return num_words, cutoffs, [draw(st.integers(1, 70)) for _ in range(len(cutoffs) + 1)]


@given(band_settings(), st.sampled_from([FrequencyAllocation(), RandomAllocation(seed=3)]))
def test_words_fill_the_rows_of_their_band(settings, initial_allocation):
    num_words, cutoffs, sizes = settings
    bands = row_bands(num_words, cutoffs, sizes)
    words = [f"w{number}" for number in range(num_words)]
    allocation = initial_allocation(num_words, sides_of(bands), words, np.ones(num_words), None, bands)
    rows = allocation.codes[:, 0].long()
    for band, size in zip(bands, sizes, strict=True):
        own = rows[band.words] - band.rows.start
        assert own.bincount().tolist() == [count for count in band.capacities().tolist() if count]
        assert own.min() == 0 and own.max() == band.rows.stop - band.rows.start - 1
        assert allocation.codes[band.words, 1].max() < size


def test_random_rows_differ_between_seeds_but_not_between_calls():
    bands = row_bands(40, [10], [3, 7])
    arguments = 40, sides_of(bands), [str(number) for number in range(40)], np.ones(40), None, bands
    first, again, other = (RandomAllocation(seed)(*arguments).codes for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_balanced_sizes_minimize_the_products_per_position():
    counts, cutoffs, vector_sizes = (
        np.sort(np.random.default_rng(0).zipf(1.2, 3000).clip(max=10**6))[::-1],
        [200, 900],
        [64, 16, 4],
    )

    def products(sizes):
        total = 0
        for start, stop, size, dim in zip([0, *cutoffs], [*cutoffs, 3000], sizes, vector_sizes, strict=True):
            share = counts[start:stop].sum() / counts.sum()
            total += (stop - start) / size * vector_sizes[0] + share * size * dim
        return total

    sizes = balanced_row_sizes(counts, cutoffs, vector_sizes)
    for band in range(3):
        for factor in (0.5, 0.9, 1.1, 2.0):
            changed = [size * factor if number == band else size for number, size in enumerate(sizes)]
            assert products(sizes) < products(changed) or changed[band] > [200, 700, 2100][band]


@pytest.mark.parametrize("sizes", [[3], [3, 4, 5]])
def test_one_size_is_needed_for_each_band(sizes):
    with pytest.raises(ValueError, match=r"model\.row_sizes=.* must have 2 sizes, one for each band"):
        row_bands(40, [10], sizes)
