"""Scoring of lists and streams of lines; long lines are scored in windows."""

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
def test_rejects_lines_that_are_not_strings(lines, item):
    with pytest.raises(ValueError, match=f"score expects a list of strings, but .*{item}"):
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
def test_stream_equals_scoring_each_line_separately(small, batch_size, buffer_lines):
    model, vocabulary = small
    scored = list(scoring.NeuralLineScorer(model, vocabulary, batch_size).score(iter(LINES), buffer_lines))
    assert [line.line for line in scored] == LINES
    for line in scored:
        ids = torch.tensor([[vocabulary.context_id, *vocabulary.encode(line.line.split()), vocabulary.end_id]])
        with torch.no_grad():
            expected, _ = model.score(ids[:, :-1], ids[:, 1:])
        assert line.log_probabilities == pytest.approx(expected[0].tolist(), abs=1e-12)
        assert line.log_probability == pytest.approx(float(expected.sum()), abs=1e-9)
        assert line.words == [*line.line.split(), "<eos>"]
        assert line.known == [word not in "xy" for word in line.line.split()] + [True]


def test_stream_reads_at_most_one_buffer_ahead(small, monkeypatch):
    model, vocabulary = small
    lines_read = []
    endless = (lines_read.append(number) or "a b" for number in iter(int, 1))
    stream = scoring.NeuralLineScorer(model, vocabulary).score(endless, buffer_lines=10)
    for yielded in range(1, 35):
        next(stream)
        assert len(lines_read) - yielded < 10
    monkeypatch.setattr(scoring, "_BUFFERED_WORDS", 20)
    lines_read.clear()
    next(scoring.NeuralLineScorer(model, vocabulary).score(endless))
    assert len(lines_read) == 5  # four ids each


def test_long_line_does_not_pad_short_lines(small, monkeypatch):
    model, vocabulary = small
    positions = []
    score = model.score
    monkeypatch.setattr(model, "score", lambda words, *rest: positions.append(words.numel()) or score(words, *rest))
    scoring.score_lines(model, vocabulary, ["a"] * 31 + ["b " * 1023])
    assert sum(positions) == 31 * 64 + 1024


def test_reports_the_line_of_an_unknown_word(small):
    model, _ = small
    vocabulary = VocabularyRules(unknown=None).build({**dict.fromkeys("abcdefg", 9), "<eos>": 5})
    with pytest.raises(ValueError, match="line 2: the word 'z' is not in the vocabulary"):
        list(scoring.NeuralLineScorer(model, vocabulary).score(["a", "z"]))
