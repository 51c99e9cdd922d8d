"""The clustering of large vocabularies, compared with the nearly exact one on problems that both can solve."""

import logging
from unittest import mock

import numpy as np
import pytest

from lightrnn_pl.allocation.initial import approximate_clustering, clustering, priced_assignment
from lightrnn_pl.allocation.initial.clustering import balanced_clusters, column_clusters
from lightrnn_pl.allocation.initial.cooccurrence import CooccurrenceAllocation
from lightrnn_pl.allocation.row_bands import row_bands, sides_of

NUM_WORDS, NUM_ROWS, NUM_COLUMNS = 3000, 50, 60
COUNTS = np.maximum(1, 3000 // np.arange(1, NUM_WORDS + 1))


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Unit vectors in overlapping groups of different sizes; some are equal, and some are zero."""
    generator = np.random.default_rng(0)
    groups = generator.normal(size=(70, 16))[np.minimum(generator.geometric(0.03, NUM_WORDS), 69)]
    vectors = groups + 0.8 * generator.normal(size=(NUM_WORDS, 16))
    vectors[-300:] = vectors[-600:-300]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[::100] = 0
    return vectors.astype(np.float32)


def approximate():
    return mock.patch.object(clustering, "EXACT_DISTANCES", 0)


def mean_distance(vectors, clusters):
    """Weighted mean distance of the words to the centers of their clusters."""
    weights = np.sqrt(COUNTS)[:, None]
    sums = [(vectors * weights)[clusters == cluster].sum(0) for cluster in range(clusters.max() + 1)]
    return 1 - np.linalg.norm(sums, axis=1).sum() / weights.sum()


def column_variance(vectors, rows, columns):
    """Share of the weighted variance within rows that is also variance within columns."""
    weights = np.sqrt(COUNTS)

    def within(values, codes):
        means = [
            np.average(values[codes == code], axis=0, weights=weights[codes == code]) for code in range(max(codes) + 1)
        ]
        return values - np.stack(means)[codes]

    deviations = within(vectors, rows)
    return (weights @ within(deviations, columns) ** 2).sum() / (weights @ deviations**2).sum()


@pytest.mark.parametrize(
    "capacities",
    [
        np.full(NUM_ROWS, NUM_COLUMNS),
        np.full(NUM_ROWS, 2 * NUM_COLUMNS),
        np.concatenate([np.full(20, 100), np.full(10, 0), np.full(20, 50)]),
    ],
    ids=["full", "half empty", "unequal"],
)
def test_rows_are_as_close_as_in_the_exact_clustering(vectors, capacities):
    exact = balanced_clusters(vectors, COUNTS, capacities, iterations=12, seed=0)
    with approximate(), mock.patch.object(priced_assignment, "BLOCK", 128):
        clusters = balanced_clusters(vectors, COUNTS, capacities, iterations=12, seed=0)
    assert (np.bincount(clusters, minlength=len(capacities)) <= capacities).all()
    assert mean_distance(vectors, clusters) <= 1.03 * mean_distance(vectors, exact)


def test_few_words_in_the_auction(vectors):
    capacities = np.full(NUM_ROWS, NUM_COLUMNS)
    with approximate(), mock.patch.object(priced_assignment, "AUCTION_COSTS", 1):
        greedy = balanced_clusters(vectors, COUNTS, capacities, iterations=12, seed=0)
    with approximate():
        clusters = balanced_clusters(vectors, COUNTS, capacities, iterations=12, seed=0)
    assert np.bincount(greedy).tolist() == np.bincount(clusters).tolist() == capacities.tolist()
    assert mean_distance(vectors, clusters) < 0.99 * mean_distance(vectors, greedy)


@pytest.mark.parametrize("iterations", [1, 2])
def test_few_iterations(vectors, iterations):
    with approximate():
        clusters = balanced_clusters(vectors, COUNTS, np.full(NUM_ROWS, NUM_COLUMNS), iterations, seed=0)
    assert (np.bincount(clusters) == NUM_COLUMNS).all()


def test_columns_are_as_close_as_in_the_exact_clustering(vectors):
    rows = np.random.default_rng(0).permutation(NUM_WORDS) % (NUM_ROWS + 1)  # the rows have one or two empty cells
    arguments = vectors, rows, COUNTS, NUM_COLUMNS, 12, 0
    exact = column_variance(vectors, rows, column_clusters(*arguments))
    with approximate():
        columns = column_clusters(*arguments)
    with (
        mock.patch.object(clustering, "MAX_AUCTION_ROW", 0),
        mock.patch.object(approximate_clustering, "MAX_AUCTION_ROW", 0),
    ):
        greedy = column_clusters(*arguments)
    for allocated in columns, greedy:
        for row in range(NUM_ROWS + 1):
            assert sorted(allocated[rows == row]) == list(range((rows == row).sum()))
    assert column_variance(vectors, rows, columns) <= 1.02 * exact
    assert column_variance(vectors, rows, greedy) <= 1.1 * exact < column_variance(vectors, rows, rows % 7)


def test_columns_do_not_depend_on_the_number_of_threads(vectors):
    rows = np.arange(NUM_WORDS) % NUM_ROWS
    results = []
    for num_threads in 1, 3:
        with approximate(), mock.patch("torch.get_num_threads", return_value=num_threads):
            results.append(column_clusters(vectors, rows, COUNTS, NUM_COLUMNS, 4, 0))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("bands", [None, row_bands(24, [6], [2, 9])])
def test_the_allocation_depends_only_on_the_seed(bands):
    tokens = np.random.default_rng(0).zipf(1.3, 5000) % 24
    counts = np.bincount(tokens)

    def make(seed):
        sides = sides_of(bands) if bands else (4, 6)
        return CooccurrenceAllocation(dimension=8, seed=seed)(24, sides, [""] * 24, counts, tokens, bands)

    with approximate():
        first, second, other = make(1), make(1), make(2)
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()
    if bands:
        assert np.bincount(first.codes[:6, 0]).tolist() == [2, 2, 2]
        assert np.bincount(first.codes[6:, 0]).tolist() == [0, 0, 0, 9, 9]


@pytest.mark.parametrize("exact_distances", [0, 10**7])
def test_progress_ends_at_the_announced_total(vectors, exact_distances):
    counted = {"rows": 0, "columns": 0}

    def counter(name):
        def advance(count):
            counted[name] += count

        return advance

    with mock.patch.object(clustering, "EXACT_DISTANCES", exact_distances):
        rows = balanced_clusters(vectors, COUNTS, np.full(NUM_ROWS, NUM_COLUMNS), 3, 0, counter("rows"))
        column_clusters(vectors, rows, COUNTS, NUM_COLUMNS, 3, 0, counter("columns"))
    assert counted == {"rows": 3 * NUM_WORDS, "columns": 3 * NUM_WORDS}


def test_cost_and_progress_are_shown(caplog, capsys):
    tokens = np.arange(2000) % 24
    with caplog.at_level(logging.INFO):
        CooccurrenceAllocation(dimension=8)(24, (4, 6), [""] * 24, np.bincount(tokens), tokens)
    log = " ".join(caplog.text.split())
    assert "24 words by clustering word vectors: about 0 s on one core and 0.0 GiB of memory" in log
    shown = capsys.readouterr().err
    for stage in "counting", "factorizing", "clustering words into rows", "clustering words into columns":
        assert stage in shown


def test_the_estimate_of_a_large_vocabulary():
    cost = CooccurrenceAllocation().cost(793_471, 20_800_000, 891, 891)
    assert 60 < cost.seconds < 300 and 1 < cost.num_bytes / 2**30 < 4
    assert str(cost).startswith(f"about {cost.seconds / 60:.0f} min on one core and ")
    more_text = CooccurrenceAllocation().cost(793_471, 100_000_000, 891, 891)
    assert more_text.seconds > cost.seconds + 60 and more_text.num_bytes > 2 * cost.num_bytes
