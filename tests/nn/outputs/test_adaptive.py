"""Adaptive softmax compared with loops over words and clusters, for any order of the words."""

import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings import FullEmbedding
from lightrnn_pl.nn.outputs import AdaptiveOutput
from lightrnn_pl.testing.output import TABLES, OutputContract, dense_softmax
from lightrnn_pl.vocabulary import Vocabulary


def vocabulary_of(counts):
    return Vocabulary([f"w{number}" for number in range(len(counts))], counts)


class AdaptiveContract(OutputContract):
    hidden_dim = 8
    cutoffs = None
    div_value = 2.0

    def counts(self, num_words):
        return list(range(num_words, 0, -1))

    def tables(self):
        return [table for table in TABLES[1] if table[0] > 1]

    def starts(self, num_words):
        """Ranks at which the clusters begin."""
        cutoffs = [max(1, num_words // 16), max(1, num_words // 4)] if self.cutoffs is None else self.cutoffs
        return sorted({cutoff for cutoff in cutoffs if cutoff < num_words})

    def make(self, allocation, hidden_dim):
        cutoffs = self.cutoffs and (self.starts(allocation.num_words) or [1])
        vocabulary = vocabulary_of(self.counts(allocation.num_words))
        return AdaptiveOutput(allocation, hidden_dim, vocabulary, cutoffs, self.div_value)

    def comparable_words(self, output):
        num_words = output.num_words
        order = sorted(range(num_words), key=lambda word: (-self.counts(num_words)[word], word))
        starts = self.starts(num_words) or [1]
        spans = zip([0, *starts], [*starts, num_words], strict=True)
        return [torch.tensor(order[start:stop]) for start, stop in spans]

    def dense_log_probabilities(self, output, hidden):
        hidden, parameters = hidden[:, 0], dict(output.named_parameters())
        num_words = output.num_words
        order = sorted(range(num_words), key=lambda word: (-self.counts(num_words)[word], word))
        starts = self.starts(num_words) or [1]
        head = dense_softmax(hidden @ parameters["softmax.head.weight"].T)
        columns = {word: head[:, rank] for rank, word in enumerate(order[: starts[0]])}
        for cluster, (start, stop) in enumerate(zip(starts, [*starts[1:], num_words], strict=True)):
            projected = hidden @ parameters[f"softmax.tail.{cluster}.0.weight"].T
            in_cluster = dense_softmax(projected @ parameters[f"softmax.tail.{cluster}.1.weight"].T)
            for index, word in enumerate(order[start:stop]):
                columns[word] = head[:, starts[0] + cluster] + in_cluster[:, index]
        return torch.stack([columns[word] for word in range(num_words)], -1)

    def expected_parameters(self, num_words, sides, hidden_dim):
        starts = self.starts(num_words) or [1]
        total = (starts[0] + len(starts)) * hidden_dim
        for cluster, (start, stop) in enumerate(zip(starts, [*starts[1:], num_words], strict=True), start=1):
            size = int(hidden_dim // self.div_value**cluster)
            total += size * (hidden_dim + stop - start)
        return total

    def test_table_bytes(self):
        output = self.make_largest()
        counts = self.counts(output.num_words)
        assert output.table_bytes == (0 if counts == sorted(counts, reverse=True) else 8 * output.num_words)


class TestSortedCounts(AdaptiveContract):
    cutoffs = (3, 6)


class TestUnsortedCounts(AdaptiveContract):
    cutoffs = (2, 4, 8)

    def counts(self, num_words):
        return np.random.default_rng(1).integers(0, 6, num_words).tolist()  # with ties


class TestDefaultCutoffs(AdaptiveContract):
    pass


def output_of(num_words, hidden_dim=64, **options):
    allocation = WordAllocation.in_order(num_words, (num_words,))
    return AdaptiveOutput(allocation, hidden_dim, vocabulary_of(range(num_words, 0, -1)), **options)


def test_default_cutoffs():
    assert output_of(1600).cutoffs == [100, 400]
    assert output_of(2).cutoffs == [1]
    assert output_of(1600, hidden_dim=8).cutoffs == [400]  # 8 / 4^2 is below 1


def test_autocast_and_one_position():
    torch.manual_seed(0)
    output = output_of(50)
    output.initialise(0.5)
    hidden, targets = torch.randn(1, 6, 64), torch.tensor([[0, 3, 7, 13, 49, 3]])
    exact = output.log_probability(hidden, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = output.log_probability(hidden.bfloat16(), targets)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(output.log_probability(hidden[:, :1], targets[:, :1]), exact[:, :1])
    assert output.log_probability(hidden[:, :0], targets[:, :0]).shape == (1, 0)


def test_top_in_chunks(monkeypatch):
    torch.manual_seed(0)
    output = output_of(50)
    output.initialise(0.5)
    hidden = torch.randn(7, 64)
    whole = output.top(hidden, 5)
    monkeypatch.setattr("lightrnn_pl.nn.outputs.adaptive._MAX_LOGITS", 100)
    for ours, theirs in zip(output.top(hidden, 5), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("cutoffs", [[], [0], [50], [60], [5, 5], [9, 5], [True], [-3, 5]])
def test_invalid_cutoffs_are_rejected(cutoffs):
    with pytest.raises(ValueError, match=r"model\.output\.cutoffs"):
        output_of(50, cutoffs=cutoffs)


def test_too_many_clusters_are_rejected():
    with pytest.raises(ValueError, match=r"vocabulary has only 1 word; use model/output=full"):
        output_of(1)
    with pytest.raises(ValueError, match=r"size 64 / 4.0\^4, below 1"):
        output_of(50, cutoffs=[5, 10, 15, 20])
    for div_value in (0.5, 65.0, float("nan")):
        with pytest.raises(ValueError, match=rf"model.output.div_value .* got {div_value}"):
            output_of(50, div_value=div_value)


def test_cannot_be_tied():
    output = output_of(50)
    with pytest.raises(
        ValueError, match=r"an embedding, because those of rare words are shorter; set model\.tied=false"
    ):
        output.tie(FullEmbedding(output.allocation, 64))


def test_ranks_are_loaded_and_may_be_missing_in_earlier_bundles():
    allocation = WordAllocation.in_order(20, (20,))
    first, second = (AdaptiveOutput(allocation, 8, vocabulary_of(counts)) for counts in (range(20), range(20, 0, -1)))
    first.initialise(1.0)
    state = first.state_dict()
    second.load_state_dict(state)
    hidden = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(second.log_probabilities(hidden), first.log_probabilities(hidden))
    assert torch.equal(second.top(hidden, 3)[1], first.top(hidden, 3)[1])
    third = AdaptiveOutput(allocation, 8, vocabulary_of(range(20)))
    third.load_state_dict({name: part for name, part in state.items() if name != "ranks"})
    assert torch.equal(third.log_probabilities(hidden), first.log_probabilities(hidden))
    with pytest.raises(ValueError, match="ranks must contain each number from 0 to 19 once"):
        second.load_state_dict({**state, "ranks": state["ranks"] * 0})
