"""Rescoring: features are the model's own scores, counts are sacrebleu's, and a list on disk is the list."""

import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.inference.scoring import score_lines
from lightrnn_pl.nn.cores import LSTMCore
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.rescoring.feature_layout import Layout
from lightrnn_pl.rescoring.nbest_lists import Hypothesis, parse_line
from lightrnn_pl.rescoring.reranking import (
    Chooser,
    LanguageModelFeature,
    References,
    TuningList,
    add_features,
    count_words,
)
from lightrnn_pl.rescoring.tuning import corpus_bleu
from lightrnn_pl.vocabulary import VocabularyRules

sacrebleu = pytest.importorskip("sacrebleu")

WORDS = [f"w{number}" for number in range(12)]


def sentences(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS[:6], generator.integers(0, 12))) for _ in range(count)]


def groups(seed: int = 0, numbers=range(12), most: int = 6) -> list[list[Hypothesis]]:
    generator = np.random.default_rng(seed)
    made = []
    for number in numbers:
        lines = []
        for text in sentences(int(generator.integers(1, most + 1)), int(generator.integers(1000))):
            a, b, c = generator.normal(size=3).round(4)
            lines.append(parse_line(f"{number} ||| {text} ||| A= {a} {b} B= {c} ||| {2 * a - 0.5 * b + 0.25 * c}"))
        made.append(lines)
    return made


def layout_of(lists) -> Layout:
    return Layout({name: len(values) for name, values in lists[0][0].features.items()})


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenize", ["none", "13a", "char"])
@pytest.mark.parametrize("sets", [1, 3])
def test_summed_counts_are_sacrebleus_corpus(sets, tokenize, lowercase):
    generator = np.random.default_rng(sets)
    alphabet = ["the", "The", "cat", "sat,", "on", "U.S.", "mat.", "(a)"]

    def text() -> str:
        return " ".join(generator.choice(alphabet, generator.integers(0, 14)))

    hypotheses = [text() for _ in range(60)]
    references = [[text() for _ in range(60)] for _ in range(sets)]
    # As a list is read: several hypotheses of a sentence one after the other.
    held = References(references, tokenize, lowercase)
    total = np.zeros(10, dtype=np.int64)
    for number, hypothesis in enumerate(hypotheses):
        held.counts(number, "the The cat")
        total += held.counts(number, hypothesis)
    expected = sacrebleu.corpus_bleu(hypotheses, references, tokenize=tokenize, lowercase=lowercase)
    assert float(corpus_bleu(total)) == pytest.approx(expected.score, abs=1e-9)
    assert total.tolist() == [expected.sys_len, expected.ref_len, *expected.counts, *expected.totals]
    assert expected.score > 1


def test_references_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"as many lines each.*\[2, 1\]"):
        References([["a", "b"], ["a"]])
    with pytest.raises(ValueError, match="tokenize=latin is none of sacrebleu's"):
        References([["a"]], "latin")
    with pytest.raises(ValueError, match="sentence 1 of the list has no reference; there are 1"):
        References([["a"]]).counts(1, "a")


@pytest.fixture
def model() -> LanguageModelFeature:
    torch.manual_seed(0)
    vocabulary = VocabularyRules().build({**dict.fromkeys(WORDS[:5], 9), "<eos>": 5})
    table = WordAllocation.random(len(vocabulary), (3, 3), seed=0)
    output = MultiComponentOutput(table, 5)
    network = LanguageModel(MultiComponentEmbedding(table, 6), LSTMCore(6, 5), output, init_scale=0.8)
    return LanguageModelFeature(network, vocabulary, batch_size=3)


@pytest.mark.parametrize("buffer", [1, 7, 1000])
def test_features_are_the_models_scores_of_the_hypotheses(model, buffer):
    lists = groups()
    texts = [hypothesis.text for group in lists for hypothesis in group]
    slow = [sum(score_lines(model.model, model.vocabulary, [text])[0]) for text in texts]
    written = list(add_features(iter(lists), {"LM0": model, "Words0": count_words}, buffer))
    found = [hypothesis for group in written for hypothesis in group]
    assert [hypothesis.text for hypothesis in found] == texts
    assert [len(group) for group in written] == [len(group) for group in groups()]
    assert [hypothesis.features["LM0"][0] for hypothesis in found] == pytest.approx(slow, abs=1e-5)
    assert [hypothesis.features["Words0"] for hypothesis in found] == [(float(len(text.split())),) for text in texts]
    if buffer == 1000:  # each text is asked for once
        assert model.num_words == sum(len(text.split()) for text in set(texts))
        assert model.num_unknown == sum(text.split().count("w5") for text in set(texts)) > 0


def test_no_more_is_held_than_the_buffer(model):
    lists = groups(numbers=range(40))
    taken = []

    def source():
        for group in lists:
            taken.append(len(group))
            yield group

    reader = add_features(source(), {"LM0": model}, buffer=10)
    given = 0
    for group in reader:
        given += 1
        assert sum(taken[given:]) < 10 + 6
        assert "LM0" in group[0].features
    assert given == 40


def test_a_feature_that_is_there_is_refused():
    with pytest.raises(ValueError, match="already has a feature A; choose another name with feature="):
        list(add_features(groups(), {"A": count_words}))


def test_a_tuning_list_is_the_list(tmp_path):
    numbers = [1, 2, 4, 5, 6, 8]
    lists, references = groups(numbers=numbers), References([sentences(10, 1), sentences(10, 2)])
    layout = layout_of(lists)
    listing = TuningList(layout, references)
    for group in lists:
        listing.add(group)
    given = listing.candidates()
    found = [hypothesis for group in lists for hypothesis in group]
    assert given.features.tolist() == layout.matrix([one.features for one in found]).astype(np.float32).tolist()
    assert given.counts.tolist() == [references.counts(one.sentence, one.text) for one in found]
    assert given.starts.tolist() == [found.index(group[0]) for group in lists]
    assert listing.num_missing == 4
    # Weights chosen on the list translate the whole corpus, with nothing where there is no hypothesis.
    weights = np.array([1.0, -2.0, 0.5])
    chosen = dict.fromkeys(range(10), "")
    for group in lists:
        chosen[group[0].sentence] = max(
            group, key=lambda one: float((layout.matrix([one.features]) @ weights).item())
        ).text
    expected = sacrebleu.corpus_bleu(list(chosen.values()), references.texts, tokenize="none", force=True).score
    assert given.bleu(given.project(weights)) == pytest.approx(expected, abs=1e-9)


def test_the_lists_own_weights_are_found_from_its_scores():
    lists = groups()
    listing = TuningList(layout_of(lists), References([sentences(12, 1)]))
    for group in lists:
        listing.add(group)
    weights, missed = listing.fit_scores()
    assert weights == pytest.approx([2, -0.5, 0.25], abs=1e-6) and missed < 1e-6
    for group in lists:
        for hypothesis in group:
            hypothesis.score = hypothesis.score**2
        listing.add([*group])
    assert listing.fit_scores()[1] > 0.1


def test_a_list_of_nothing_cannot_be_tuned_on():
    with pytest.raises(ValueError, match="no hypothesis that can be read"):
        TuningList(Layout({"A": 1}), References([["a"]])).candidates()


def test_the_first_of_equals_is_chosen():
    group = [parse_line(f"0 ||| {text} ||| A= {value} ||| {score}") for text, value, score in ("a13", "b22", "c23")]
    layout = Layout({"A": 1})
    assert Chooser(layout).choose(group).text == "a"
    assert Chooser(layout, np.array([1.0])).choose(group).text == "b"
    assert Chooser(layout, np.array([-1.0])).choose(group).text == "a"
