"""Scoring lines: what is refused, and that long lines are scored as if in one piece."""

import pytest
import torch

from lightrnn_pl.allocation.table import WordAllocation
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
