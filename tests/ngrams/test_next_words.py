"""Next words of n-grams, caches and mixtures equal the probabilities of complete lines."""

import numpy as np
import pytest
import torch

from lightrnn_pl.building import as_config
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import StreamBatches
from lightrnn_pl.evaluation.keyboard import KeyboardMeter, measure_keyboard
from lightrnn_pl.ngrams.interpolation import CacheMember
from lightrnn_pl.ngrams.members import estimate_member
from lightrnn_pl.ngrams.next_words import Mixture, most_likely
from lightrnn_pl.vocabulary import Vocabulary
from tests.inference.models import build
from tests.ngrams.ngram_texts import WORDS, ids_of, probabilities_after, random_lines

VOCABULARY = Vocabulary([*WORDS, *(f"x{number}" for number in range(46))], np.arange(60, 0, -1), "<unk>", None, "</s>")
TOKENS = ids_of(random_lines(0), VOCABULARY.words)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle(build((8, 8)).float(), VOCABULARY, as_config({}), {})


@pytest.mark.parametrize("order", [1, 2, 4])
def test_ngrams_give_the_probabilities_of_complete_lines(order):
    member = estimate_member(TOKENS, VOCABULARY, order, "own")
    for context in ([], [1], [1, 6], [3, 3, 3], [0, 1, 6, 7, 2, 1]):
        expected = probabilities_after(member, context, VOCABULARY.end_id, len(VOCABULARY))
        logs = member.next_log_probabilities(np.array(context, dtype=np.int64))
        assert np.exp(logs) == pytest.approx(expected, abs=1e-12) and np.exp(logs).sum() == pytest.approx(1)
        # Words of earlier lines do not matter.
        earlier = np.array([5, 4, VOCABULARY.end_id, *context])
        assert member.next_log_probabilities(earlier) == pytest.approx(logs)


def test_caches_give_the_probabilities_of_the_next_token():
    member = CacheMember(VOCABULARY, 7, 0.8)
    logs = member.log_probabilities(TOKENS[:60])
    for position in range(60):
        assert member.next_log_probabilities(TOKENS[:position])[TOKENS[position]] == pytest.approx(logs[position])


def test_a_mixture_gives_the_weighted_sum(bundle):
    members = [estimate_member(TOKENS, VOCABULARY, 3, "own"), CacheMember(VOCABULARY, 500, 1.0)]
    mixture = Mixture(bundle, members, [0.5, 0.3, 0.2])
    ids = np.array([1, 6, 1])
    parts = [bundle.decoder.log_probabilities(bundle.decoder.state_after([ids.tolist()]))[0].numpy()]
    parts += [member.next_log_probabilities(ids) for member in members]
    expected = 0.5 * np.exp(parts[0]) + 0.3 * np.exp(parts[1]) + 0.2 * np.exp(parts[2])
    found = mixture.next_words("w0 w5 w0", 60, unknown=True)
    assert found.probabilities == pytest.approx(sorted(expected, reverse=True), abs=1e-6)
    assert [VOCABULARY.id(word) for word in found.words[:3]] == np.argsort(-expected)[:3].tolist()
    assert all(word.startswith("w1") for word in mixture.next_words("w0", 3, prefix="W1").words)
    with pytest.raises(ValueError, match="must be 3 nonnegative numbers that sum to one"):
        Mixture(bundle, members, [0.5, 0.5])


def test_keyboard_numbers_of_a_mixture(bundle):
    loader = StreamBatches(TOKENS, 3, 5, context=VOCABULARY.end_id, drop_remainder=False)
    members = [estimate_member(TOKENS, VOCABULARY, 3, "own")]
    neural, ngrams, alone = Mixture(bundle, members, [1.0, 0.0]).measure_keyboard(loader)
    own = measure_keyboard(bundle.decoder, VOCABULARY, loader)
    assert neural.total() == alone.total() == own.total()
    slow = KeyboardMeter(VOCABULARY)
    slow.add(np.stack([members[0].next_log_probabilities(TOKENS[:end]) for end in range(len(TOKENS))]), TOKENS)
    assert ngrams.total().words == slow.total().words
    assert ngrams.total() == slow.total()
    assert ngrams.total().top3 > neural.total().top3


def test_completions_of_single_models_are_exact(bundle):
    torch.manual_seed(0)
    logs = bundle.decoder.log_probabilities(bundle.decoder.state_after([[1, 6]]))[0].numpy()
    for prefix in ("w", "W1", "x4", "<", "nothing"):
        expected = most_likely(logs, VOCABULARY, 4, prefix)
        found = bundle.next_words("w0 w5", 4, prefix=prefix)
        assert found.words == expected.words and found.probabilities == pytest.approx(expected.probabilities, rel=1e-5)
    with pytest.raises(ValueError, match="search=greedy cannot be combined with prefix=w"):
        bundle.next_words("w0", 4, "greedy", prefix="w")
