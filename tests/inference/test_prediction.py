"""Next words: proven best, also where many are equally likely; opened rows are counted; greedy is as the paper does."""

import pytest
import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.inference import top_k as search
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.inference.prediction import Prediction, next_words
from lightrnn_pl.nn.cores import GRUCore
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary(
    ["<unk>", "<eos>", *(f"w{number}" for number in range(58))], range(60, 0, -1), "<unk>", None, "<eos>"
)


def build(sides: tuple[int, ...], scale: float = 0.8) -> LanguageModel:
    """Sixty words in a table with room, in float64."""
    torch.manual_seed(0)
    cells = torch.randperm(int(torch.tensor(sides).prod()), generator=torch.Generator().manual_seed(3))[:60]
    table = WordAllocation(torch.stack(torch.unravel_index(cells, sides), -1), sides)
    output = MultiComponentOutput(table, 9)
    return LanguageModel(MultiComponentEmbedding(table, 7), GRUCore(7, 9), output, init_scale=scale).double().eval()


def sharpened(model: LanguageModel, factor: float) -> LanguageModel:
    """The same with output scores that differ more: few rows are worth opening."""
    with torch.no_grad():
        model.output.weight.mul_(factor)
    return model


@pytest.mark.parametrize("sides", [(60,), (8, 8), (13, 5), (5, 30), (1, 70), (61, 1), (4, 4, 5), (2, 7, 6)])
@pytest.mark.parametrize("block", [1, 3, 16])
def test_equals_brute_force(monkeypatch, sides, block):
    monkeypatch.setattr(search, "_FIRST_BLOCK", block)
    for factor in (0.0, 1.0, 5.0, 30.0):
        # With factor 0 all words of rows of one size are equally likely.
        decoder = Decoder(sharpened(build(sides), factor), 1)
        state = decoder.after([[], [3], [4, 5], [9, 9, 2]])
        dense = decoder.log_probabilities(state)
        torch.testing.assert_close(dense.exp().sum(1), torch.ones(4).double())
        for k in (1, 4, 60, 99):
            found = decoder.search(state, k)
            torch.testing.assert_close(found.log_probabilities, dense.topk(min(k, 60)).values)
            torch.testing.assert_close(dense.gather(1, found.words), found.log_probabilities)
            assert all(len(set(words)) == min(k, 60) for words in found.words.tolist())


def test_memory_is_bounded_by_blocks(monkeypatch):
    decoder = Decoder(build((8, 8)), 1)
    state = decoder.after([[3], [4, 5]])
    whole, every, top = decoder.search(state, 20), decoder.log_probabilities(state), decoder.top(state, 20)
    monkeypatch.setattr(search, "_AT_ONCE", 1)
    torch.testing.assert_close(decoder.search(state, 20).log_probabilities, whole.log_probabilities)
    torch.testing.assert_close(decoder.log_probabilities(state), every)
    assert len(list(search._every_word(decoder.model, state.hidden, state.core))) == 2
    torch.testing.assert_close(decoder.top(state, 20), top)


def test_opens_only_the_rows_that_can_matter(monkeypatch):
    monkeypatch.setattr(search, "_FIRST_BLOCK", 1)
    decoder = Decoder(sharpened(build((8, 8)), 5.0), 1)
    state = decoder.after([[place] for place in range(40)])
    found = decoder.search(state, 3)
    rows = search._first_codes(decoder.model, state.hidden)
    needed = (rows > found.log_probabilities[:, -1:]).sum(1)
    # One more block than needed at most, and that at most twice as large as the one before.
    assert (found.opened >= needed).all() and (found.opened <= 2 * needed + 1).all()
    assert found.opened.min() >= 1 and found.opened.float().mean() < 6


def test_a_certain_row_is_the_only_one_opened(monkeypatch):
    monkeypatch.setattr(search, "_FIRST_BLOCK", 1)
    decoder = Decoder(sharpened(build((8, 8)), 200.0), 1)
    found = decoder.search(decoder.after([[7], [8]]), 1)
    assert found.opened.tolist() == [1, 1]


@pytest.mark.parametrize("sides", [(8, 8), (4, 4, 5)])
def test_greedy_looks_into_the_most_likely_row_alone(sides):
    decoder = Decoder(build(sides), 1)
    state = decoder.after([[], [3], [4, 5], [9, 9, 2], [7], [8]])
    dense, allocation = decoder.log_probabilities(state), decoder.model.allocation
    found = decoder.search(state, 9, greedy=True)
    rows = search._first_codes(decoder.model, state.hidden).argmax(1)
    assert found.opened.tolist() == [len(sides) - 1] * 6
    for stream in range(6):
        held = found.words[stream] >= 0
        words = found.words[stream][held]
        assert (allocation.codes[words, 0] == rows[stream]).all() and held.any()
        torch.testing.assert_close(dense[stream, words], found.log_probabilities[stream][held])
        if len(sides) == 2:
            in_row = (allocation.codes[:, 0] == rows[stream]).nonzero()[:, 0]
            best = dense[stream, in_row].topk(min(9, len(in_row))).values
            torch.testing.assert_close(found.log_probabilities[stream][held], best)
    assert (found.words[:, 0] != dense.argmax(1)).any(), "a greedy answer that is not the best word"


def test_words_that_moved_are_found_where_they_are():
    decoder = Decoder(build((8, 8)), 1)
    state = decoder.after([[3]])
    decoder.search(state, 1)
    codes = decoder.model.allocation.codes
    decoder.model.allocation.assign(codes.roll(1, 0).clone())
    found = decoder.search(state, 60)
    torch.testing.assert_close(decoder.log_probabilities(state).gather(1, found.words), found.log_probabilities)


def test_pairs_of_several_texts_in_their_order():
    decoder = Decoder(build((8, 8)), VOCABULARY.context_id)
    texts = ["w1 w2 w3", "", "w4", "nobody-knows w4", "w5 w6 w7"]
    together = next_words(decoder, VOCABULARY, texts, k=4, batch_size=2)
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = next_words(decoder, VOCABULARY, [text], k=4)
        assert alone.words == prediction.words and alone.exact
        assert alone.probabilities == pytest.approx(prediction.probabilities)
        assert list(alone.probabilities) == sorted(alone.probabilities, reverse=True)
    assert together[3].words == next_words(decoder, VOCABULARY, ["<unk> w4"], k=4)[0].words
    assert sum(probability for _, probability in next_words(decoder, VOCABULARY, [""], k=99)[0]) == pytest.approx(1)


def test_a_prediction_is_a_sequence_of_pairs():
    prediction = Prediction(("a", "b"), (0.5, 0.25), rows_opened=3)
    assert list(prediction) == [("a", 0.5), ("b", 0.25)] and prediction[1] == ("b", 0.25) and len(prediction) == 2
    assert prediction[:1] == [("a", 0.5)]


def test_refuses_what_is_no_question():
    decoder = Decoder(build((8, 8)), 1)
    for arguments, message in (
        ({"texts": [3]}, "a text must be a string of words separated by whitespace, got 3"),
        ({"texts": ["a"], "k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"texts": ["a"], "search": "best"}, "search='best' is not a valid search method; use one of exact, greedy"),
    ):
        with pytest.raises(ValueError, match=message):
            next_words(decoder, VOCABULARY, **arguments)
    decoder.model.train()
    with pytest.raises(ValueError, match=r"call model\.eval"):
        next_words(decoder, VOCABULARY, ["w1"])
