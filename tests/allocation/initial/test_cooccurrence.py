"""The initial allocation from co-occurrence: words with similar contexts share a row, with or without empty cells."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.initial.clustering import balanced_clusters
from lightrnn_pl.allocation.initial.cooccurrence import CooccurrenceAllocation
from lightrnn_pl.allocation.initial.cooccurrence_vectors import _count_neighbors, cooccurrence_vectors, sampling_rates
from lightrnn_pl.allocation.solvers.transport import assign_codes

KINDS, MEMBERS = 4, 6


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """A text in which the kinds of words alternate in a fixed order, with a random word of each kind."""
    generator = np.random.default_rng(0)
    kind = np.arange(6000) % KINDS
    return (kind + KINDS * generator.integers(0, MEMBERS, 6000)).astype(np.int32)


def test_words_of_one_kind_share_a_row(tokens):
    table = CooccurrenceAllocation(dimension=8)(24, (4, 6), [str(w) for w in range(24)], np.bincount(tokens), tokens)
    rows = table.codes[:, 0].numpy()
    assert all(len(set(rows[kind::KINDS])) == 1 for kind in range(KINDS))
    assert len(set(rows)) == KINDS


@pytest.mark.parametrize(
    ("num_words", "sides"), [(24, (4, 6)), (22, (5, 5)), (24, (3, 3, 3)), (24, (24, 1)), (1, (1, 1))]
)
def test_every_word_gets_a_cell_and_empty_cells_come_last(tokens, num_words, sides):
    text = tokens[tokens < num_words]
    text = np.zeros(10, np.int32) if num_words == 1 else text
    counts = np.bincount(text, minlength=num_words)
    table = CooccurrenceAllocation(dimension=5, seed=3)(num_words, sides, [""] * num_words, counts, text)
    occupied = (table.words().flatten() >= 0).numpy()
    assert occupied[:num_words].all() and not occupied[num_words:].any()


def test_same_seed_same_allocation_without_changing_the_global_generator(tokens):
    import torch

    def make(seed):
        words = [""] * 24
        return CooccurrenceAllocation(dimension=8, seed=seed)(
            24, (5, 5), words, np.bincount(tokens), tokens
        ).fingerprint()

    torch.manual_seed(7)
    before = torch.rand(1)
    torch.manual_seed(7)
    assert make(1) == make(1) != make(2)
    assert torch.rand(1) == before


def test_long_rows_get_random_columns(tokens, caplog):
    counts = np.bincount(tokens)

    def make(columns):
        return CooccurrenceAllocation(dimension=8, columns=columns)(24, (4, 6), [""] * 24, counts, tokens)

    with mock.patch("lightrnn_pl.allocation.initial.base._MAX_CLUSTERED_ROW", 5):
        assert make("clusters").fingerprint() == make("random").fingerprint()
    assert "too long for column clusters" in caplog.text
    assert make("clusters").fingerprint() != make("random").fingerprint()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 50), st.lists(st.integers(0, 50), max_size=6), st.integers(0, 10_000))
def test_neighbor_counts_match_loops_for_any_split_into_blocks(length, cuts, seed):
    text = np.random.default_rng(seed).integers(0, 5, length)
    blocks = np.split(text, sorted(cuts))
    with mock.patch("lightrnn_pl.allocation.initial.cooccurrence_vectors.CHUNK", 7):
        whole, streamed = (_count_neighbors(tokens, 5, 3) for tokens in (text, iter(blocks)))
    for number, offset in enumerate((1, 2, -1)):
        expected = np.zeros((5, 3))
        for position in range(length):
            other = position - offset
            if 0 <= other < length and text[other] < 3:
                expected[text[position], text[other]] += 1
        np.testing.assert_array_equal(whole[number].toarray(), expected)
        np.testing.assert_array_equal(streamed[number].toarray(), expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 100))
def test_the_same_number_of_occurrences_of_all_frequent_words_is_counted(occurrences, max_tokens):
    counts = np.array(occurrences)
    rates = sampling_rates(counts, max_tokens)
    if counts.sum() <= max_tokens:
        assert rates is None
    else:
        counted = rates * counts
        assert counted.sum() == pytest.approx(max_tokens)
        np.testing.assert_allclose(counted[(rates < 1) & (counts > 0)], counted.max())


def test_counts_of_a_sample_estimate_those_of_the_text():
    text = np.random.default_rng(1).choice(4, 40_000, p=[0.7, 0.2, 0.07, 0.03])
    counts = np.bincount(text)
    rates = sampling_rates(counts, 8_000)
    whole = _count_neighbors(text, 4, 4)
    with mock.patch("lightrnn_pl.allocation.initial.cooccurrence_vectors.SAMPLED_CHUNK", 1000):
        blocks = iter(np.split(text, [7, 99]))
        sample, streamed = (_count_neighbors(tokens, 4, 4, rates, 0) for tokens in (text, blocks))
    for exact, estimate, in_blocks in zip(whole, sample, streamed, strict=True):
        np.testing.assert_allclose(estimate.toarray(), in_blocks.toarray(), rtol=1e-5)
        exact, estimate = exact.toarray(), estimate.toarray()
        np.testing.assert_array_equal(estimate[rates == 1], exact[rates == 1])
        assert (np.abs(estimate - exact) <= 5 * np.sqrt(exact / rates[:, None])).all()  # five standard deviations
        assert (estimate[rates < 1] != exact[rates < 1]).all()


def test_requires_the_training_text():
    with pytest.raises(ValueError, match="training text"):
        CooccurrenceAllocation()(4, (2, 2), ["a"] * 4, np.ones(4, int), None)


def test_words_without_context_words_are_clustered():
    text = np.array([0, 1, 0, 1, 2, 3, 2, 3], dtype=np.int32)
    vectors = cooccurrence_vectors(text, 4, dimension=4, num_contexts=1, seed=0)
    assert np.isfinite(vectors).all()
    clusters = balanced_clusters(vectors, np.full(4, 2), np.array([2, 2]), iterations=3, seed=0)
    assert np.bincount(clusters).tolist() == [2, 2]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 3), st.integers(0, 10_000))
def test_assign_codes_is_close_to_the_optimum(num_words, side, spare, seed):
    generator = np.random.default_rng(seed)
    cost = generator.exponential(size=(num_words, side)).astype(np.float32)
    capacities = np.bincount(generator.integers(0, side, num_words + spare), minlength=side)
    codes = assign_codes(cost, capacities, tolerance=1e-4)
    assert (np.bincount(codes, minlength=side) <= capacities).all()
    slots = np.repeat(np.arange(side), capacities)
    rows, columns = linear_sum_assignment(cost[:, slots])
    optimum = cost[rows, slots[columns]].sum()
    excess = (cost.mean(1) - cost.min(1)).mean()
    # Each bidder, including the empty slots, may be one epsilon from its best.
    bound = 1e-4 * excess * (num_words + spare) + 1e-5
    assert optimum - 1e-5 <= cost[np.arange(num_words), codes].sum() <= optimum + bound
