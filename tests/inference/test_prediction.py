"""Next words: exact search equals brute force, few rows are opened, and greedy search follows the paper."""

import pytest
import torch

from lightrnn_pl.inference import top_k
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.inference.prediction import Prediction, next_words
from tests.inference.models import VOCABULARY, build, sharpened


@pytest.mark.parametrize("sides", [(60,), (8, 8), (13, 5), (5, 30), (1, 70), (61, 1), (4, 4, 5), (2, 7, 6)])
@pytest.mark.parametrize("block", [1, 3, 16])
def test_equals_brute_force(monkeypatch, sides, block):
    monkeypatch.setattr(top_k, "_FIRST_BLOCK", block)
    for factor in (0.0, 1.0, 5.0, 30.0):
        # With factor 0, all words in rows of equal size are equally likely.
        decoder = Decoder(sharpened(build(sides), factor), 1)
        state = decoder.state_after([[], [3], [4, 5], [9, 9, 2]])
        dense = decoder.log_probabilities(state)
        torch.testing.assert_close(dense.exp().sum(1), torch.ones(4).double())
        for k in (1, 4, 60, 99):
            top = decoder.search(state, k)
            torch.testing.assert_close(top.log_probabilities, dense.topk(min(k, 60)).values)
            torch.testing.assert_close(dense.gather(1, top.words), top.log_probabilities)
            assert all(len(set(words)) == min(k, 60) for words in top.words.tolist())


@pytest.mark.parametrize("sides", [(60,), (8, 8), (4, 4, 5)])
def test_excluded_words_are_replaced_by_the_next_likely_words(sides):
    decoder = Decoder(sharpened(build(sides), 3.0), 1)
    state = decoder.state_after([[], [3], [4, 5], [9, 9, 2]])
    dense = decoder.log_probabilities(state)
    excluded = [int(dense[0].argmax()), int(dense[1].argmin())]
    remaining = dense.clone()
    remaining[:, excluded] = -torch.inf
    for k in (1, 5, 57, 60):
        for values, words in (decoder.search(state, k, excluded=excluded)[:2], decoder.top(state, k, excluded)):
            torch.testing.assert_close(values, remaining.topk(k).values)
            assert ((words == -1) == values.isneginf()).all() and (words >= 0).sum() == 4 * min(k, 58)


def test_small_blocks_do_not_change_results(monkeypatch):
    decoder = Decoder(build((8, 8)), 1)
    state = decoder.state_after([[3], [4, 5]])
    whole, dense, top = decoder.search(state, 20), decoder.log_probabilities(state), decoder.top(state, 20)
    monkeypatch.setattr(top_k, "_MAX_SCORES", 1)
    torch.testing.assert_close(decoder.search(state, 20).log_probabilities, whole.log_probabilities)
    torch.testing.assert_close(decoder.log_probabilities(state), dense)
    assert len(list(top_k._all_log_probabilities(decoder.model, state.hidden, state.core))) == 2
    torch.testing.assert_close(decoder.top(state, 20), top)


def test_opens_only_rows_that_may_contain_top_words(monkeypatch):
    monkeypatch.setattr(top_k, "_FIRST_BLOCK", 1)
    decoder = Decoder(sharpened(build((8, 8)), 5.0), 1)
    state = decoder.state_after([[word] for word in range(40)])
    top = decoder.search(state, 3)
    rows = top_k._first_codes(decoder.model, state.hidden)
    needed = (rows > top.log_probabilities[:, -1:]).sum(1)
    # At most one block more than needed, and each block is at most twice as large as the one before.
    assert (top.opened >= needed).all() and (top.opened <= 2 * needed + 1).all()
    assert top.opened.min() >= 1 and top.opened.float().mean() < 6


def test_opens_one_row_if_it_is_almost_certain(monkeypatch):
    monkeypatch.setattr(top_k, "_FIRST_BLOCK", 1)
    decoder = Decoder(sharpened(build((8, 8)), 200.0), 1)
    top = decoder.search(decoder.state_after([[7], [8]]), 1)
    assert top.opened.tolist() == [1, 1]


@pytest.mark.parametrize("sides", [(8, 8), (4, 4, 5)])
def test_greedy_searches_only_the_most_likely_row(sides):
    decoder = Decoder(build(sides), 1)
    state = decoder.state_after([[], [3], [4, 5], [9, 9, 2], [7], [8]])
    dense, allocation = decoder.log_probabilities(state), decoder.model.allocation
    top = decoder.search(state, 9, greedy=True)
    rows = top_k._first_codes(decoder.model, state.hidden).argmax(1)
    assert top.opened.tolist() == [len(sides) - 1] * 6
    for stream in range(6):
        valid = top.words[stream] >= 0
        words = top.words[stream][valid]
        assert (allocation.codes[words, 0] == rows[stream]).all() and valid.any()
        torch.testing.assert_close(dense[stream, words], top.log_probabilities[stream][valid])
        if len(sides) == 2:
            in_row = (allocation.codes[:, 0] == rows[stream]).nonzero()[:, 0]
            best = dense[stream, in_row].topk(min(9, len(in_row))).values
            torch.testing.assert_close(top.log_probabilities[stream][valid], best)
    assert (top.words[:, 0] != dense.argmax(1)).any(), "greedy search should miss a more likely word"


def test_search_uses_reallocated_codes():
    decoder = Decoder(build((8, 8)), 1)
    state = decoder.state_after([[3]])
    decoder.search(state, 1)
    codes = decoder.model.allocation.codes
    decoder.model.allocation.assign(codes.roll(1, 0).clone())
    top = decoder.search(state, 60)
    torch.testing.assert_close(decoder.log_probabilities(state).gather(1, top.words), top.log_probabilities)


def test_predicts_several_texts_in_order():
    decoder = Decoder(build((8, 8)), VOCABULARY.context_id)
    texts = ["w1 w2 w3", "", "w4", "unseen w4", "w5 w6 w7"]
    together = next_words(decoder, VOCABULARY, texts, k=4, batch_size=2)
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = next_words(decoder, VOCABULARY, [text], k=4)
        assert alone.words == prediction.words and alone.exact
        assert alone.probabilities == pytest.approx(prediction.probabilities)
        assert list(alone.probabilities) == sorted(alone.probabilities, reverse=True)
    assert together[3].words == next_words(decoder, VOCABULARY, ["<unk> w4"], k=4)[0].words
    assert sum(probability for _, probability in next_words(decoder, VOCABULARY, [""], k=99, unknown=True)[0]) == (
        pytest.approx(1)
    )


@pytest.mark.parametrize("sides", [(60,), (8, 8), (4, 4, 5)])
def test_omits_the_unknown_word_unless_requested(sides):
    decoder = Decoder(build(sides), VOCABULARY.context_id)
    everything = list(next_words(decoder, VOCABULARY, ["w1"], k=60, unknown=True)[0])
    rank = [word for word, _ in everything].index(VOCABULARY.unknown)
    expected = everything[:rank] + everything[rank + 1 :]
    for k in (1, rank, rank + 1, 60):
        found = list(next_words(decoder, VOCABULARY, ["w1"], k=max(k, 1))[0])
        assert [word for word, _ in found] == [word for word, _ in expected[: max(k, 1)]]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected[: max(k, 1)]])
    with_letters = next_words(decoder, VOCABULARY, ["w1"], k=60, prefix="<")[0].words
    assert VOCABULARY.unknown not in with_letters
    assert VOCABULARY.unknown in next_words(decoder, VOCABULARY, ["w1"], k=60, prefix="<", unknown=True)[0].words


def test_a_prediction_is_a_sequence_of_pairs():
    prediction = Prediction(("a", "b"), (0.5, 0.25), rows_opened=3)
    assert list(prediction) == [("a", 0.5), ("b", 0.25)] and prediction[1] == ("b", 0.25) and len(prediction) == 2
    assert prediction[:1] == [("a", 0.5)]
    assert repr(prediction) == "Prediction([('a', 0.5), ('b', 0.25)], rows_opened=3, exact=True)"


def test_rejects_invalid_arguments():
    decoder = Decoder(build((8, 8)), 1)
    for arguments, message in (
        ({"texts": [3]}, "a text must be a string of words separated by whitespace, got 3"),
        ({"texts": ["a"], "k": 0}, "k must be an integer greater than or equal to 1, got 0"),
        ({"texts": ["a"], "search": "best"}, "search='best' is not a valid search method; use one of exact, greedy"),
    ):
        with pytest.raises(ValueError, match=message):
            next_words(decoder, VOCABULARY, **arguments)
    decoder.model.train()
    with pytest.raises(ValueError, match=r"call model\.eval"):
        next_words(decoder, VOCABULARY, ["w1"])
