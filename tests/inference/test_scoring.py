"""Scoring lines: what is refused, and that long lines are scored as if in one piece."""

import pytest
import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.inference import scoring
from lightrnn_pl.nn.cores import LSTMCore
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.vocabulary import VocabularyRules


@pytest.mark.parametrize(("lines", "item"), [([1], "item 0 is 1"), (["a", None], "item 1 is None"), ([b"a"], "b'a'")])
def test_refuses_what_is_no_line(lines, item):
    with pytest.raises(ValueError, match=f"score takes a list of lines, but .*{item}.*give strings"):
        scoring.check_lines(lines)


@pytest.mark.parametrize("sides", [(12,), (3, 4)])
def test_windows_do_not_change_the_scores(monkeypatch, sides):
    torch.manual_seed(0)
    vocabulary = VocabularyRules().build(dict.fromkeys("abcdef", 9))
    table = WordAllocation.random(len(vocabulary), sides, seed=0)
    output = MultiComponentOutput(table, 5)
    model = LanguageModel(MultiComponentEmbedding(table, 6), LSTMCore(6, 5), output, init_scale=0.8).double()
    lines = ["a b c " * 60, "", "d e", "f " * 64, "f " * 63]
    seen = []
    score = model.score
    monkeypatch.setattr(model, "score", lambda words, *rest: seen.append(words.shape[1]) or score(words, *rest))
    windowed = scoring.score_lines(model, vocabulary, lines)
    assert max(seen) == 64 and len(seen) == 3
    monkeypatch.setattr(scoring, "_WINDOW", 1000)
    whole = scoring.score_lines(model, vocabulary, lines)
    assert [len(line) for line in whole] == [181, 1, 3, 65, 64]
    for one, other in zip(windowed, whole, strict=True):
        assert one == pytest.approx(other, abs=1e-12)


@pytest.fixture
def small():
    torch.manual_seed(0)
    vocabulary = VocabularyRules().build({**dict.fromkeys("abcdef", 9), "<eos>": 5})
    table = WordAllocation.random(len(vocabulary), (3, 3), seed=0)
    output = MultiComponentOutput(table, 5)
    model = LanguageModel(MultiComponentEmbedding(table, 6), LSTMCore(6, 5, 2), output, init_scale=0.8).double()
    return model, vocabulary


LINES = ["a b c " * 40, "", "d e", "f x " * 64, "f", "b  y b", "\u00a0c "] * 3


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("buffer_lines", [1, 5, 4096])
def test_a_stream_is_scored_as_each_line_alone(small, batch_size, buffer_lines):
    model, vocabulary = small
    scored = list(scoring.score_stream(model, vocabulary, iter(LINES), batch_size, buffer_lines))
    assert [line.line for line in scored] == LINES
    for line in scored:
        ids = torch.tensor([[vocabulary.context_id, *vocabulary.encode(line.line.split()), vocabulary.end_id]])
        with torch.no_grad():
            expected, _ = model.score(ids[:, :-1], ids[:, 1:])
        assert line.log_probabilities == pytest.approx(expected[0].tolist(), abs=1e-12)
        assert line.log_probability == pytest.approx(float(expected.sum()), abs=1e-9)
        assert line.words == [*line.line.split(), "<eos>"]
        assert line.known == [word not in "xy" for word in line.line.split()] + [True]


def test_a_stream_is_read_no_further_than_the_buffer(small, monkeypatch):
    model, vocabulary = small
    taken = []
    endless = (taken.append(number) or "a b" for number in iter(int, 1))
    stream = scoring.score_stream(model, vocabulary, endless, buffer_lines=10)
    for given in range(1, 35):
        next(stream)
        assert len(taken) - given < 10
    monkeypatch.setattr(scoring, "_BUFFERED_WORDS", 20)
    taken.clear()
    next(scoring.score_stream(model, vocabulary, endless))
    assert len(taken) == 5  # four ids each


def test_a_long_line_among_short_ones_costs_no_more_than_itself(small, monkeypatch):
    model, vocabulary = small
    positions = []
    score = model.score
    monkeypatch.setattr(model, "score", lambda words, *rest: positions.append(words.numel()) or score(words, *rest))
    scoring.score_lines(model, vocabulary, ["a"] * 31 + ["b " * 1023])
    assert sum(positions) == 31 * 64 + 1024


def test_a_word_without_an_unknown_one_is_named_with_its_line(small):
    model, _ = small
    vocabulary = VocabularyRules(unknown=None).build({**dict.fromkeys("abcdefg", 9), "<eos>": 5})
    with pytest.raises(ValueError, match="line 2: the word 'z' is not in the vocabulary"):
        list(scoring.score_stream(model, vocabulary, ["a", "z"]))
