"""The hierarchical softmax compared with loops over words and classes, and the strategies that define the classes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.allocation.allocation_file import write_table
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings import FullEmbedding
from lightrnn_pl.nn.outputs import HierarchicalOutput
from lightrnn_pl.nn.outputs.classes import (
    ClassesFromFile,
    ClusteredClasses,
    FrequencyClasses,
    MissingSourceError,
    RandomClasses,
)
from lightrnn_pl.testing.output import OutputContract, dense_softmax
from lightrnn_pl.vocabulary import Vocabulary


def zipf(num_words):
    return Vocabulary([f"w{number}" for number in range(num_words)], [1000 // (1 + n) for n in range(num_words)])


class HierarchicalContract(OutputContract):
    classes = RandomClasses()
    num_classes = None

    def make(self, allocation, hidden_dim):
        count = self.num_classes and min(self.num_classes, allocation.num_words)
        return HierarchicalOutput(allocation, hidden_dim, zipf(allocation.num_words), self.classes, count)

    def dense_log_probabilities(self, output, hidden):
        hidden = hidden[:, 0]
        classes = output.word_classes.tolist()
        log_class = dense_softmax(hidden @ output.class_weight.T + output.class_bias)
        # Vectors are ordered by class, and within a class by word id.
        order = sorted(range(len(classes)), key=lambda word: (classes[word], word))
        logits = [hidden @ output.weight[order.index(w)] + output.bias[order.index(w)] for w in range(len(classes))]
        columns = []
        for word, own in enumerate(classes):
            members = torch.stack([logits[other] for other in range(len(classes)) if classes[other] == own])
            columns.append(log_class[:, own] + logits[word] - members.exp().sum(0).log())
        return torch.stack(columns, -1)

    def comparable_words(self, output):
        return [(output.word_classes == number).nonzero()[:, 0] for number in range(output.num_classes)]

    def expected_parameters(self, num_words, sides, hidden_dim):
        count = min(self.num_classes, num_words) if self.num_classes else math.ceil(math.sqrt(num_words))
        return (num_words + count) * (hidden_dim + 1)

    def test_table_bytes(self):
        output = self.make_largest()
        assert output.word_classes.dtype == torch.int16
        assert output.table_bytes == output.num_words * (2 + 4 + 4)


class TestRandom(HierarchicalContract):
    pass


class TestFrequency(HierarchicalContract):
    classes = FrequencyClasses()


class TestOneClass(HierarchicalContract):
    num_classes = 1


class TestOneClassPerWord(HierarchicalContract):
    num_classes = 11


def output_of(num_words, classes=None, num_classes=None, hidden_dim=5):
    allocation = WordAllocation.in_order(num_words, (num_words,))
    return HierarchicalOutput(allocation, hidden_dim, zipf(num_words), classes or RandomClasses(), num_classes)


@given(st.integers(1, 60), st.integers(0, 40), st.integers(1, 60), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_classes_and_positions_match_the_reference(num_words, positions, num_classes, power, seed):
    torch.manual_seed(seed)
    output = output_of(num_words, FrequencyClasses(power), min(num_classes, num_words)).double()
    output.initialise(1.0)
    hidden, targets = torch.randn(positions, 1, 5, dtype=torch.float64), torch.randint(num_words, (positions, 1))
    actual = output.log_probability(hidden, targets)
    dense = HierarchicalContract.dense_log_probabilities(None, output, hidden)
    torch.testing.assert_close(actual, dense.gather(1, targets))
    values, words = output.top(hidden[:, 0], 7)
    torch.testing.assert_close(values, dense.sort(-1, descending=True).values[:, :7])
    torch.testing.assert_close(values, dense.gather(1, words))


def test_gradients_match_finite_differences():
    torch.manual_seed(0)
    output = output_of(9, num_classes=4).double()
    output.initialise(1.0)
    hidden = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(9, (2, 3))
    names, parameters = zip(*output.named_parameters(), strict=True)

    def log_probability(hidden, *parameters):
        return torch.func.functional_call(output, dict(zip(names, parameters, strict=True)), (hidden, targets))

    output.forward = output.log_probability
    assert torch.autograd.gradcheck(log_probability, (hidden, *parameters))


def test_autocast_uses_the_precision_of_the_weights():
    torch.manual_seed(0)
    output = output_of(20)
    output.initialise(1.0)
    hidden, targets = torch.randn(2, 3, 5), torch.randint(20, (2, 3))
    exact = output.log_probability(hidden, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = output.log_probability(hidden.bfloat16().requires_grad_(), targets)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
    rounded.sum().backward()
    assert output.weight.grad.dtype == torch.float32 and output.weight.grad.abs().sum() > 0


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.floats(0, 2), st.data())
@settings(max_examples=100, deadline=None)
def test_frequency_classes_are_contiguous_and_not_empty(counts, power, data):
    num_classes = data.draw(st.integers(1, len(counts)))
    vocabulary = Vocabulary([f"w{number}" for number in range(len(counts))], counts)
    classes = FrequencyClasses(power)(vocabulary, num_classes)
    assert sorted(set(classes.tolist())) == list(range(num_classes))
    by_count = classes[np.argsort(-np.array(counts), kind="stable")]
    assert (by_count.diff() >= 0).all()


def test_frequency_classes_have_equal_weights():
    flat = Vocabulary([f"w{number}" for number in range(12)], [7] * 12)
    assert FrequencyClasses()(flat, 4).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    # The first word weighs more than a class, and the other classes share the rest.
    peaked = Vocabulary([f"w{number}" for number in range(7)], [100, 2, 2, 2, 1, 1, 1])
    assert FrequencyClasses()(peaked, 4).tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert FrequencyClasses(power=0.0)(zipf(8), 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    natural = zipf(1000)
    weights = np.bincount(FrequencyClasses()(natural, 20).numpy(), weights=natural.counts)
    assert weights[11:].max() < 1.05 * weights[11:].min()  # classes of many words


def test_random_classes_have_equal_sizes_and_depend_on_the_seed():
    classes = RandomClasses()(zipf(103), None)
    sizes = classes.bincount()
    assert len(sizes) == 11 and sizes.max() - sizes.min() <= 1
    assert torch.equal(classes, RandomClasses()(zipf(103), None))
    assert not torch.equal(classes, RandomClasses(1)(zipf(103), None))


def test_classes_from_a_file_are_needed_only_for_training(tmp_path):
    vocabulary, path = zipf(10), tmp_path / "table.tsv"
    table = WordAllocation(torch.tensor([[2 * (word % 3), word // 3] for word in range(10)]), (5, 4))
    write_table(path, table, vocabulary.words)
    torch.manual_seed(0)
    output = output_of(10, ClassesFromFile(path))
    output.initialise(1.0)
    assert output.word_classes.tolist() == [word % 3 for word in range(10)]  # rows 1 and 3 are empty
    hidden, targets = torch.randn(2, 4, 5), torch.randint(10, (2, 4))
    with pytest.raises(ValueError, match=r"3 rows with words, but model.output.num_classes=4"):
        output_of(10, ClassesFromFile(path), 4)

    path.unlink()
    other = output_of(10, ClassesFromFile(path))
    with pytest.raises(MissingSourceError, match=r"model.output.classes.path"):
        other.initialise(1.0)
    with pytest.raises(MissingSourceError, match=r"model.output.classes.path"):
        other.log_probability(hidden, targets)
    with pytest.raises(MissingSourceError, match=r"model.output.classes.path"):
        other.top(hidden[0], 1)
    other.load_state_dict(output.state_dict())
    assert torch.equal(other.log_probability(hidden, targets), output.log_probability(hidden, targets))


def text_of_kinds(num_words, kinds, length=4000):
    """A text in which the kinds of words alternate in a fixed order, with a random word of each kind."""
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(np.arange(num_words) % kinds == kind) for kind in range(kinds)]
    return np.array([generator.choice(members[position % kinds]) for position in range(length)], dtype=np.int32)


def test_clusters_are_words_with_similar_contexts():
    classes = ClusteredClasses()(zipf(40), 4, text_of_kinds(40, 4))
    kinds = torch.arange(40) % 4
    assert len(set(zip(classes.tolist(), kinds.tolist(), strict=True))) == 4
    assert classes.dtype == torch.int64
    assert torch.equal(classes, ClusteredClasses()(zipf(40), 4, text_of_kinds(40, 4)))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_clusters_are_balanced_and_not_empty(num_words, num_classes, seed):
    num_classes = min(num_classes, num_words)
    tokens = np.random.default_rng(seed).integers(0, num_words, 200)
    classes = ClusteredClasses(iterations=2, seed=seed)(zipf(num_words), num_classes, tokens)
    sizes = classes.bincount(minlength=num_classes)
    assert len(sizes) == num_classes and sizes.min() >= 1 and sizes.max() - sizes.min() <= 1


def test_clusters_need_the_text_only_for_training():
    tokens, allocation = text_of_kinds(20, 4), WordAllocation.in_order(20, (20,))
    torch.manual_seed(0)
    output = HierarchicalOutput(allocation, 5, zipf(20), ClusteredClasses(), tokens=tokens)
    output.initialise(1.0)
    assert output.num_classes == 5
    hidden, targets = torch.randn(2, 4, 5), torch.randint(20, (2, 4))
    loaded = HierarchicalOutput(allocation, 5, zipf(20), ClusteredClasses())
    for use in (lambda: loaded.initialise(1.0), lambda: loaded.log_probability(hidden, targets)):
        with pytest.raises(MissingSourceError, match=r"clusters needs .* use model/output/classes=frequency"):
            use()
    loaded.load_state_dict(output.state_dict())
    assert torch.equal(loaded.log_probability(hidden, targets), output.log_probability(hidden, targets))


def test_cannot_be_tied():
    output = output_of(9)
    with pytest.raises(ValueError, match=r"an embedding, because they are ordered by class; set model\.tied=false"):
        output.tie(FullEmbedding(output.allocation, 5))


def test_loading_restores_the_classes():
    first, second = output_of(30, RandomClasses(0)), output_of(30, RandomClasses(1))
    torch.manual_seed(0)
    first.initialise(1.0)
    second.load_state_dict(first.state_dict())
    hidden, targets = torch.randn(2, 4, 5), torch.randint(30, (2, 4))
    assert torch.equal(first.log_probability(hidden, targets), second.log_probability(hidden, targets))
    assert torch.equal(first.top(hidden[0], 5)[1], second.top(hidden[0], 5)[1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: output_of(9, num_classes=0), r"model.output.num_classes must be .* got 0"),
        (lambda: output_of(9, num_classes=10), r"model.output.num_classes=10 is larger than the vocabulary size 9"),
        (lambda: FrequencyClasses(-1.0), r"model.output.classes.power must be .* got -1.0"),
        (lambda: FrequencyClasses(math.nan), r"model.output.classes.power must be .* got nan"),
        (lambda: RandomClasses(-1), r"model.output.classes.seed must be .* got -1"),
        (lambda: ClusteredClasses(seed=-1), r"model.output.classes.seed must be .* got -1"),
        (lambda: ClusteredClasses(dimension=0), r"model.output.classes.dimension must be .* got 0"),
        (lambda: ClusteredClasses(iterations=0), r"model.output.classes.iterations must be .* got 0"),
        (lambda: ClusteredClasses(num_contexts=0), r"model.output.classes.num_contexts must be .* got 0"),
    ],
)
def test_invalid_arguments_are_rejected(build, message):
    with pytest.raises(ValueError, match=message):
        build()
