"""The exchange algorithm, compared with the likelihood of the class bigram model counted word by word."""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.allocation.initial import exchange
from lightrnn_pl.allocation.initial.class_bigrams import ClassBigrams, count_bigrams
from lightrnn_pl.allocation.initial.cooccurrence import CooccurrenceAllocation
from lightrnn_pl.allocation.row_bands import row_bands, sides_of


def bigrams(text, num_words, rates=None, size=None):
    blocks = np.array_split(text, size or 1)
    return count_bigrams(blocks, num_words, rates, np.random.default_rng(0), lambda count: None)


def log_likelihood(text, rows):
    """Of the rows of the text without the first one, given the row before; counted token by token."""
    pairs: dict[tuple[int, int], int] = {}
    for first, second in zip(rows[text[:-1]], rows[text[1:]], strict=True):
        pairs[first, second] = pairs.get((first, second), 0) + 1
    left = {row: sum(n for (first, _), n in pairs.items() if first == row) for row in rows}
    right = {row: sum(n for (_, second), n in pairs.items() if second == row) for row in rows}
    return sum(n * math.log(n / (left[first] * right[second])) for (first, second), n in pairs.items())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(2, 60), st.integers(1, 4))
def test_bigrams_and_mutual_information_equal_their_definitions(seed, num_words, length, num_blocks):
    generator = np.random.default_rng(seed)
    text, rows = generator.integers(0, num_words, length), generator.integers(0, 3, num_words)
    counts = bigrams(text, num_words, size=num_blocks)
    expected = np.zeros((num_words, num_words), int)
    np.add.at(expected, (text[:-1], text[1:]), 1)
    np.testing.assert_array_equal(counts.toarray(), expected)
    total = length - 1
    information = log_likelihood(text, rows) / total + math.log(total)
    assert ClassBigrams(counts, rows, 3).mutual_information() == pytest.approx(information, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 10), st.integers(2, 80), st.booleans())
def test_a_pass_moves_each_word_to_its_best_row(seed, num_words, length, is_large):
    generator = np.random.default_rng(seed)
    text, rows = generator.integers(0, num_words, length), generator.integers(0, 4, num_words)
    free = generator.integers(0, 3, 4)
    counts = bigrams(text, num_words) * (70_000 if is_large else 1)  # beyond the table of x log x
    expected, expected_free = rows.copy(), free.copy()
    for word in range(1, num_words):
        own = expected[word]
        values = {}
        for row in range(1, 4):
            if expected_free[row] > 0 or row == own:
                moved = expected.copy()
                moved[word] = row
                values[row] = log_likelihood(text, moved)
        best = max([own, *values], key=lambda row: values.get(row, -math.inf) + 1e-7 * (row == own) - 1e-8 * row)
        expected_free[own] += 1
        expected_free[best] -= 1
        expected[word] = best
    classes = ClassBigrams(counts, rows.copy(), 4)
    classes.exchange(slice(1, num_words), slice(1, 4), free, 1)
    np.testing.assert_array_equal(classes.rows, expected)
    np.testing.assert_array_equal(free, expected_free)


@pytest.fixture(scope="module")
def text() -> np.ndarray:
    """Words of 6 kinds, 20 each, whose frequencies follow Zipf's law; kinds follow one another in a fixed order."""
    generator = np.random.default_rng(1)
    shares = 1 / np.arange(1, 21)
    return 6 * generator.choice(20, 30_000, p=shares / shares.sum()) + np.arange(30_000) % 6


def test_the_others_are_assigned_to_their_kind_within_the_capacities(text):
    kinds = np.arange(120) % 6
    rows = np.where(np.arange(120) < 60, kinds, np.random.default_rng(0).permutation(kinds))
    classes = ClassBigrams(bigrams(text, 120), rows, 7)
    classes.assign(slice(60, 120), slice(0, 6), np.full(6, 10), np.random.default_rng(0))
    assert (classes.rows == kinds).mean() > 0.98
    assert np.bincount(classes.rows).tolist() == [20] * 6


@pytest.fixture
def few_exchanged():
    """Moves 3 words per row by the exchange algorithm, and assigns the others."""
    with mock.patch.object(exchange, "EXCHANGED_PER_ROW", 3):
        yield


def make(text, sides, bands=None, **options):
    return CooccurrenceAllocation(**options)(120, sides, [""] * 120, np.bincount(text), text, bands)


@pytest.mark.usefixtures("few_exchanged")
def test_the_exchange_improves_the_rows(text, caplog):
    # With few dimensions and iterations, co-occurrence alone does not find the kinds.
    options = {"dimension": 2, "iterations": 1, "seed": 1}
    before = make(text, (6, 20), exchange_passes=0, **options)
    with caplog.at_level("INFO"):
        after = make(text, (6, 20), exchange_passes=4, **options)
    information = [
        ClassBigrams(bigrams(text, 120), table.codes[:, 0].numpy(), 6).mutual_information() for table in (before, after)
    ]
    assert information[1] > 1.2 * information[0]
    assert f"adjacent rows: {information[1]:.3f} nats, {information[0]:.3f} before" in caplog.text
    again = make(text, (6, 20), exchange_passes=4, **options)
    assert again.fingerprint() == after.fingerprint()


@pytest.mark.usefixtures("few_exchanged")
@pytest.mark.parametrize("sides", [(11, 11), (5, 5, 5), (120, 1), (1, 120)])
def test_every_word_gets_a_cell_and_empty_cells_come_last(text, sides):
    table = make(text, sides, dimension=4, exchange_passes=2)
    occupied = (table.words().flatten() >= 0).numpy()
    assert occupied[:120].all() and not occupied[120:].any()


@pytest.mark.usefixtures("few_exchanged")
def test_words_stay_in_their_band(text):
    bands = row_bands(120, [20], [5, 30])
    table = make(text, sides_of(bands), bands, dimension=4, exchange_passes=2)
    assert np.bincount(table.codes[:20, 0]).tolist() == [5] * 4
    assert np.bincount(table.codes[20:, 0])[4:].tolist() == [30, 30, 30, 10]


def test_sampled_bigrams_estimate_all_of_them(text):
    frequent = np.bincount(text) > 200
    rates = np.where(frequent, 0.25, 1.0)
    exact, sampled = bigrams(text, 120).toarray(), bigrams(text, 120, rates).toarray()
    both_frequent = frequent[:, None] & frequent[None, :]
    np.testing.assert_array_equal(sampled[~both_frequent], exact[~both_frequent])
    assert (sampled != exact).any()
    assert sampled.sum() == pytest.approx(exact.sum(), rel=0.05)


def test_the_number_of_passes_is_checked():
    with pytest.raises(ValueError, match=r"allocation.exchange_passes.*-1"):
        CooccurrenceAllocation(exchange_passes=-1)


def test_the_estimate_includes_the_exchange():
    without, cost = (CooccurrenceAllocation(exchange_passes=n).cost(309_048, 6_600_000, 556, 556) for n in (0, 4))
    assert without.seconds + 10 < cost.seconds < 120
