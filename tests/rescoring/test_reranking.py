"""Reranking: features equal the scores of the model, and a list is reranked by its features."""

import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.inference.scoring import NeuralLineScorer, score_lines
from lightrnn_pl.nn.cores import LSTMCore
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.rescoring.feature_layout import FeatureLayout
from lightrnn_pl.rescoring.nbest_lists import Hypothesis, parse_line
from lightrnn_pl.rescoring.references import BleuReferences
from lightrnn_pl.rescoring.reranking import (
    LanguageModelFeature,
    Reranker,
    TuningSet,
    UnknownWordCount,
    add_features,
    count_words,
)
from lightrnn_pl.vocabulary import VocabularyRules

sacrebleu = pytest.importorskip("sacrebleu")

WORDS = [f"w{number}" for number in range(12)]


def sentences(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS[:6], generator.integers(0, 12))) for _ in range(count)]


def groups(seed: int = 0, numbers=range(12), max_size: int = 6) -> list[list[Hypothesis]]:
    generator = np.random.default_rng(seed)
    made = []
    for number in numbers:
        lines = []
        for text in sentences(int(generator.integers(1, max_size + 1)), int(generator.integers(1000))):
            a, b, c = generator.normal(size=3).round(4)
            lines.append(parse_line(f"{number} ||| {text} ||| A= {a} {b} B= {c} ||| {2 * a - 0.5 * b + 0.25 * c}"))
        made.append(lines)
    return made


def layout_of(lists) -> FeatureLayout:
    return FeatureLayout({name: len(values) for name, values in lists[0][0].features.items()})


@pytest.fixture
def model() -> LanguageModelFeature:
    torch.manual_seed(0)
    vocabulary = VocabularyRules().build({**dict.fromkeys(WORDS[:5], 9), "<eos>": 5})
    table = WordAllocation.random(len(vocabulary), (3, 3), seed=0)
    output = MultiComponentOutput(table, 5)
    network = LanguageModel(MultiComponentEmbedding(table, 6), LSTMCore(6, 5), output, init_scale=0.8)
    return LanguageModelFeature(NeuralLineScorer(network, vocabulary, batch_size=3))


@pytest.mark.parametrize("buffer", [1, 7, 1000])
def test_features_equal_the_scores_of_the_model(model, buffer):
    lists = groups()
    texts = [hypothesis.text for group in lists for hypothesis in group]
    slow = [sum(score_lines(model.scorer.model, model.vocabulary, [text])[0]) for text in texts]
    written = list(add_features(iter(lists), {"LM0": model, "Words0": count_words}, buffer))
    hypotheses = [hypothesis for group in written for hypothesis in group]
    assert [hypothesis.text for hypothesis in hypotheses] == texts
    assert [len(group) for group in written] == [len(group) for group in groups()]
    assert [hypothesis.features["LM0"][0] for hypothesis in hypotheses] == pytest.approx(slow, abs=1e-5)
    assert [hypothesis.features["Words0"] for hypothesis in hypotheses] == [
        (float(len(text.split())),) for text in texts
    ]
    if buffer == 1000:  # each text is scored once
        assert model.num_words == sum(len(text.split()) for text in set(texts))
        assert model.num_unknown == sum(text.split().count("w5") for text in set(texts)) > 0


def test_buffers_a_bounded_number_of_hypotheses(model):
    lists = groups(numbers=range(40))
    taken = []

    def source():
        for group in lists:
            taken.append(len(group))
            yield group

    reader = add_features(source(), {"LM0": model}, buffer=10)
    num_yielded = 0
    for group in reader:
        num_yielded += 1
        assert sum(taken[num_yielded:]) < 10 + 6
        assert "LM0" in group[0].features
    assert num_yielded == 40


def test_rejects_an_existing_feature():
    with pytest.raises(ValueError, match="already has a feature A; choose another name with feature="):
        list(add_features(groups(), {"A": count_words}))


def test_tuning_set_contains_the_list(tmp_path):
    numbers = [1, 2, 4, 5, 6, 8]
    lists, references = groups(numbers=numbers), BleuReferences([sentences(10, 1), sentences(10, 2)])
    layout = layout_of(lists)
    tuning_set = TuningSet(layout, references)
    for group in lists:
        tuning_set.add(group)
    candidates = tuning_set.candidates()
    hypotheses = [hypothesis for group in lists for hypothesis in group]
    assert (
        candidates.features.tolist() == layout.matrix([one.features for one in hypotheses]).astype(np.float32).tolist()
    )
    assert candidates.counts.tolist() == [references.counts(one.sentence, one.text) for one in hypotheses]
    assert candidates.starts.tolist() == [hypotheses.index(group[0]) for group in lists]
    assert tuning_set.num_missing == 4
    # BLEU covers the whole corpus: sentences without hypotheses count as empty translations.
    weights = np.array([1.0, -2.0, 0.5])
    chosen = dict.fromkeys(range(10), "")
    for group in lists:
        chosen[group[0].sentence] = max(
            group, key=lambda one: float((layout.matrix([one.features]) @ weights).item())
        ).text
    expected = sacrebleu.corpus_bleu(list(chosen.values()), references.texts, tokenize="none", force=True).score
    assert candidates.quality(candidates.project(weights)) == pytest.approx(expected, abs=1e-9)


def test_fits_the_weights_of_the_list_to_its_scores():
    lists = groups()
    tuning_set = TuningSet(layout_of(lists), BleuReferences([sentences(12, 1)]))
    for group in lists:
        tuning_set.add(group)
    weights, residual = tuning_set.fit_scores()
    assert weights == pytest.approx([2, -0.5, 0.25], abs=1e-6) and residual < 1e-6
    for group in lists:
        for hypothesis in group:
            hypothesis.score = hypothesis.score**2
        tuning_set.add([*group])
    assert tuning_set.fit_scores()[1] > 0.1


def test_rejects_an_empty_list_for_tuning():
    with pytest.raises(ValueError, match="contains no valid hypothesis"):
        TuningSet(FeatureLayout({"A": 1}), BleuReferences([["a"]])).candidates()


def test_selects_the_first_of_equal_hypotheses():
    group = [parse_line(f"0 ||| {text} ||| A= {value} ||| {score}") for text, value, score in ("a13", "b22", "c23")]
    layout = FeatureLayout({"A": 1})
    assert Reranker(layout).choose(group).text == "a"
    assert Reranker(layout, np.array([1.0])).choose(group).text == "b"
    assert Reranker(layout, np.array([-1.0])).choose(group).text == "a"


def test_unknown_words_are_counted_and_penalized(model):
    texts = ["w0 w1", "", "w0 never seen", "<unk> w2 w2"]
    counts = [0.0, 0.0, 2.0, 1.0]
    assert UnknownWordCount(model.vocabulary)(texts) == counts
    before = model(texts)
    assert model.num_unknown == sum(counts)
    model.unknown_penalty = 2.5
    assert model(texts) == pytest.approx([score - 2.5 * count for score, count in zip(before, counts, strict=True)])
    assert model.log_probabilities(texts) == before


def test_rejects_a_feature_that_is_not_finite():
    with pytest.raises(ValueError, match="LM0 is -inf for 'w1'; estimate the model with an unknown word"):
        list(add_features([[parse_line("0 ||| w1 ||| A= 1 ||| 1")]], {"LM0": lambda _: [-np.inf]}))
