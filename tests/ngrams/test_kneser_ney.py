"""The estimator compared with a reference implementation, and with lmplz if it is installed."""

import itertools
import math
import shutil
import tracemalloc

import numpy as np
import pytest

from lightrnn_pl.ngrams.kneser_ney import FALLBACK_DISCOUNTS, estimate_kneser_ney, estimation_bytes
from lightrnn_pl.ngrams.members import estimate_member
from lightrnn_pl.vocabulary import Vocabulary
from tests.ngrams.ngram_texts import END, WORDS, ids_of, probabilities_after, random_lines
from tests.ngrams.slow_kneser_ney import BEGIN, SlowKneserNey


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_reference(order, seed):
    train, test = random_lines(seed, 80), random_lines(seed + 10, 30)
    slow = SlowKneserNey(train, list(WORDS), order)
    model, discounts = estimate_kneser_ney(ids_of(train), len(WORDS), END, order=order)
    for n, discount in enumerate(discounts, start=1):
        assert discount.amounts == pytest.approx(slow.discounts[n][1:], abs=1e-12)
    # A line with all words, including the unknown word, which does not occur in the training text.
    test.append([*WORDS])
    expected = [slow.probability(word, (BEGIN, *line[:index])) for line in test for index, word in enumerate(line)]
    assert np.abs(np.exp(model.log_probabilities(ids_of(test))) - expected).max() < 1e-10


@pytest.mark.parametrize("order", [1, 2, 4])
def test_without_an_end_marker_the_text_is_one_line(order):
    words = WORDS[:-1]
    train, test = ([[word for line in random_lines(seed) for word in line[:-1]]] for seed in (0, 10))
    test[0] += words  # including the unknown word, which does not occur in the training text
    slow = SlowKneserNey(train, list(words), order)
    model, discounts = estimate_kneser_ney(ids_of(train), len(words), None, order=order)
    assert [each.amounts for each in discounts] == [pytest.approx(slow.discounts[n][1:]) for n in slow.discounts]
    expected = [slow.probability(word, (BEGIN, *test[0][:index])) for index, word in enumerate(test[0])]
    assert np.abs(np.exp(model.log_probabilities(ids_of(test))) - expected).max() < 1e-10
    for length in range(6):
        probabilities = probabilities_after(model, ids_of(test)[:length].tolist(), None, len(words))
        assert probabilities.sum() == pytest.approx(1, abs=1e-12) and (probabilities > 0).all()


def test_memory_estimate_covers_a_text():
    """On distinct words, which need the most memory, the estimate may be 30% too low."""
    tokens = np.random.default_rng(0).integers(0, 1000, 50_000)
    for order in (3, 5):
        tracemalloc.start()
        estimate_kneser_ney(tokens, 1000, None, order=order)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0.7 * peak < estimation_bytes(len(tokens), order) < 2 * peak


def test_discounts_fall_back_if_they_are_undefined():
    lines = random_lines(3, 400)
    _, discounts = estimate_kneser_ney(ids_of(lines), len(WORDS), END, order=3)
    assert not discounts[2].fallback and discounts[2].amounts != FALLBACK_DISCOUNTS
    _, discounts = estimate_kneser_ney(ids_of([["w1", "w2", "</s>"]]), len(WORDS), END, order=3)
    assert all(each.fallback and each.amounts == FALLBACK_DISCOUNTS for each in discounts)


@pytest.mark.parametrize("order", [1, 3, 5])
def test_probabilities_sum_to_one_after_any_context(order):
    model, _ = estimate_kneser_ney(ids_of(random_lines(0)), len(WORDS), END, order=order)
    generator = np.random.default_rng(0)
    for length in range(6):
        context = generator.integers(0, END, length).tolist()
        probabilities = probabilities_after(model, context, END, len(WORDS))
        assert probabilities.sum() == pytest.approx(1, abs=1e-12) and (probabilities > 0).all()


def test_lines_are_independent():
    lines = random_lines(0)
    model, _ = estimate_kneser_ney(ids_of(lines), len(WORDS), END, order=3)
    alone = np.concatenate([model.log_probabilities(ids_of([line])) for line in lines])
    assert np.array_equal(model.log_probabilities(ids_of(lines)), alone)
    shuffled, _ = estimate_kneser_ney(ids_of(lines[::-1]), len(WORDS), END, order=3)
    assert np.allclose(shuffled.log_probabilities(ids_of(lines)), alone, atol=1e-12)


def test_begin_marker_of_the_vocabulary_is_context_but_never_predicted():
    lines = random_lines(0)
    plain, _ = estimate_kneser_ney(ids_of(lines), len(WORDS), END, order=3)
    words = ("<s>", *WORDS)
    marked, _ = estimate_kneser_ney(ids_of(lines, words), len(words), END + 1, begin=0, order=3)
    assert np.allclose(marked.log_probabilities(ids_of(lines, words)), plain.log_probabilities(ids_of(lines)))
    assert math.exp(marked.levels[0].log_probability[0]) == 0


def test_large_ids_do_not_collide():
    """Ids that are far apart in a large vocabulary give the same n-grams as small ids."""
    lines = ids_of(random_lines(0))
    spread = lines.astype(np.int64) * 30_000
    near, _ = estimate_kneser_ney(lines, len(WORDS), END, order=5)
    far, _ = estimate_kneser_ney(spread, END * 30_000 + 1, END * 30_000, order=5)
    assert near.num_ngrams[1:] == far.num_ngrams[1:]
    uniform = 1 / (END * 30_000 + 1)
    assert (far.log_probabilities(spread) > math.log(uniform)).all()


def test_rejects_invalid_arguments():
    with pytest.raises(ValueError, match="interpolate_order must be an integer greater than or equal to 1, got 0"):
        estimate_kneser_ney(ids_of(random_lines(0)), len(WORDS), END, order=0)
    for tokens, message in ((np.array([], dtype=np.int32), "must not be empty"), (np.array([1, 2]), "end marker")):
        with pytest.raises(ValueError, match=message):
            estimate_kneser_ney(tokens, len(WORDS), END)


@pytest.mark.skipif(shutil.which("lmplz") is None, reason="needs lmplz on the PATH")
@pytest.mark.parametrize("order", [2, 5])
def test_agrees_with_lmplz(order):
    lines = random_lines(0, 3000)
    lines = [*lines, *([f"w{a}", f"w{b}", "</s>"] for a, b in itertools.product(range(12), repeat=2))]
    vocabulary = Vocabulary(WORDS, np.ones(len(WORDS)), unknown="<unk>", end="</s>")
    test = ids_of(random_lines(7))
    own, lmplz = (estimate_member(ids_of(lines), vocabulary, order, by) for by in ("own", "lmplz"))
    assert own.details["ngrams"] == lmplz.details["ngrams"]
    actual, expected = (member.log_probabilities(test).mean() for member in (own, lmplz))
    assert actual == pytest.approx(expected, abs=1e-3)
