"""Entropy pruning: the divergence equals its definition, and probabilities still sum to one."""

import numpy as np
import pytest

from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney
from lightrnn_pl.ngrams.ngram_model import NgramModel, ngram_words
from lightrnn_pl.ngrams.pruning import prune
from tests.ngrams.ngram_texts import END, WORDS, ids_of, random_lines

TOKENS = ids_of(random_lines(0))


@pytest.fixture(scope="module")
def model() -> NgramModel:
    return estimate_kneser_ney(TOKENS, len(WORDS), END, order=3)[0]


def ngrams_of(model: NgramModel, order: int) -> set[tuple[int, ...]]:
    indices = np.arange(len(model.levels[order - 1].keys))
    return set(
        zip(*(column.tolist() for column in ngram_words(model.levels, order, indices, model.num_words)), strict=True)
    )


def test_keeps_all_ngrams_at_zero_and_fewer_at_larger_thresholds(model):
    same = prune(model, 0)
    assert same.num_ngrams == model.num_ngrams
    for tokens in ([], [1], [1, 6]):
        history = np.array(tokens, dtype=np.int64)
        assert same.next_log_probabilities(history) == pytest.approx(model.next_log_probabilities(history))
    sizes = [sum(prune(model, threshold).num_ngrams) for threshold in (0, 1e-4, 1e-3, 1e-2, 1)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5
    assert prune(model, 1e9).num_ngrams[1:] == [0, 0]
    with pytest.raises(ValueError, match="prune must be a number greater than or equal to 0"):
        prune(model, -1)


@pytest.mark.parametrize("threshold", [1e-4, 1e-3, 1e-2])
def test_probabilities_sum_to_one_and_prefixes_remain(model, threshold):
    pruned = prune(model, threshold)
    for order in (2, 3):
        assert ngrams_of(pruned, order) <= ngrams_of(model, order)
    assert {ngram[:2] for ngram in ngrams_of(pruned, 3)} <= ngrams_of(pruned, 2)
    for tokens in ([], [1], [1, 6], [3, 3], [0, 2], [11]):
        logs = pruned.next_log_probabilities(np.array(tokens, dtype=np.int64))
        assert np.exp(logs).sum() == pytest.approx(1, abs=1e-9)
    assert -pruned.log_probabilities(TOKENS).mean() > -model.log_probabilities(TOKENS).mean()


def test_the_divergence_equals_its_definition(model):
    """Remove one trigram at a time: the threshold just above its divergence removes it, the one just below does not."""
    rng = np.random.default_rng(0)
    columns = np.stack(ngram_words(model.levels, 3, np.arange(len(model.levels[2].keys)), model.num_words), 1)
    inside = columns[(columns[:, 0] != model.begin)]
    for first, second, word in inside[rng.choice(len(inside), 8, replace=False)].tolist():
        history = np.array([first, second])
        before = np.exp(model.next_log_probabilities(history))
        listed = np.array([third for one, two, third in columns.tolist() if (one, two) == (first, second)])
        # The bigrams of the model, whose contexts have one word and do not begin a line.
        bigrams = NgramModel(model.levels[:2], model.begin, model.end)
        backed_off = np.exp(bigrams.next_log_probabilities(history[1:]))
        rest = np.setdiff1d(listed, [word])
        after = backed_off * (1 - before[rest].sum()) / (1 - backed_off[rest].sum())
        after[rest] = before[rest]
        first_probability = np.exp(model.levels[0].log_probability[first])
        context = first_probability * np.exp(bigrams.next_log_probabilities(history[:1])[second])
        used = before > 0
        divergence = context * (before[used] * np.log(before[used] / after[used])).sum()
        for factor, is_kept in ((0.999, True), (1.001, False)):
            assert ((first, second, word) in ngrams_of(prune(model, np.expm1(divergence) * factor), 3)) == is_kept
