"""The row-and-word output, with every kind of word vectors, compared with loops over rows and words."""

from functools import partial

import pytest
import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.outputs import (
    AdaptiveVectorOutput,
    FullOutput,
    HashedOutput,
    MultiComponentOutput,
    ProjectedOutput,
    RowWordOutput,
    SlimOutput,
    words_in_row,
)
from lightrnn_pl.nn.sharing import ShuffledMap
from lightrnn_pl.testing.code_output import CodeOutputContract
from lightrnn_pl.testing.output import dense_softmax, values_and_gradients
from lightrnn_pl.testing.utilities import random_allocation
from lightrnn_pl.vocabulary import Vocabulary
from tests.nn.outputs.test_adaptive_vectors import cutoffs_of, num_vector_elements


def vocabulary_of(num_words):
    return Vocabulary([f"w{number}" for number in range(num_words)], range(2 * num_words, num_words, -1))


class RowWordContract(CodeOutputContract):
    num_components = (2,)

    def vectors(self, num_words):
        """The constructor of the word vectors, without the sizes that all have in common."""
        raise NotImplementedError

    def make(self, allocation, hidden_dim):
        return RowWordOutput(allocation, hidden_dim, vocabulary_of(allocation.num_words), self.vectors)

    def word_logit(self, output, hidden, word):
        return output.vectors.query(hidden) @ output.vectors.output_vectors(torch.tensor([word]))[0]

    def dense_log_probabilities(self, output, hidden):
        codes = output.allocation.codes.tolist()
        rows = sorted({row for row, _ in codes})
        log_row = dense_softmax(hidden[:, 0] @ output.weight[rows].T + output.bias[rows])
        result = [torch.tensor(0)] * len(codes)
        for index, row in enumerate(rows):
            members = [word for word, (own, _) in enumerate(codes) if own == row]
            logits = [self.word_logit(output, hidden[:, 1], word) + output.vectors.bias[word] for word in members]
            log_words = dense_softmax(torch.stack(logits, -1))
            for rank, word in enumerate(members):
                result[word] = log_row[:, index] + log_words[:, rank]
        return torch.stack(result, -1)

    def dense_logits(self, output, axis, hidden, codes):
        raise AssertionError("not used: the logits of a word depend on its row")

    def expected_parameters(self, num_words, sides, hidden_dim):
        return sides[0] * (hidden_dim + 1) + num_words + self.expected_vector_parameters(num_words, hidden_dim)

    def word_query(self, output, hidden):
        return torch.cat([hidden[:, 0], output.vectors.query(hidden[:, 1])], 1)

    def comparable_words(self, output):
        """Words of the same row."""
        rows = output.allocation.codes[:, 0]
        return [(rows == row).nonzero()[:, 0] for row in rows.unique()]

    def test_gathered_rows_equal_the_loop_over_rows(self, monkeypatch):
        for table in self.tables():
            output = self.make_random(*table)
            hidden = self.random_hidden(output, 15)[:, 0]
            words = torch.randint(table[0], (15,), generator=torch.Generator().manual_seed(3))
            rows, layout = output.allocation.codes[words, 0].long(), output._current_layout()
            arguments = output.vectors, hidden, rows, words, layout
            expected = values_and_gradients(words_in_row.log_probability_in_row(*arguments), output.vectors, hidden)
            for limit in (2**26, 20):  # in one block, and in blocks of a few positions
                monkeypatch.setattr(words_in_row, "_MAX_ELEMENTS", limit)
                actual = values_and_gradients(words_in_row._gathered(*arguments), output.vectors, hidden)
                torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)

    def test_no_positions_have_zero_gradients(self):
        output = self.make_largest()
        hidden = self.random_hidden(output, 0)[:, 0]
        nothing = torch.zeros(0, dtype=torch.int64)
        arguments = output.vectors, hidden, nothing, nothing, output._current_layout()
        result = words_in_row.log_probability_in_row(*arguments)
        assert result.shape == (0,)
        for gradient in torch.autograd.grad(result.sum(), output.vectors.vector_weights):
            assert not gradient.any()

    def test_one_hidden_state_per_word_predicts_both_codes(self):
        output = self.make_largest()
        hidden = self.random_hidden(output)[:, :1]
        targets = torch.arange(4)[None]
        both = hidden.expand(-1, 2, -1).flatten(0, 1)[None]
        one = output.log_probability(hidden.flatten(0, 1)[None], targets)
        torch.testing.assert_close(one, output.log_probability(both, targets), rtol=0, atol=0)

    def test_codes_sum_to_one_and_match_the_losses(self):
        output = self.make_largest()
        allocation = output.allocation
        hidden = self.random_hidden(output, 6).detach()
        words = torch.arange(6)
        codes = allocation.encode(words)
        total = torch.zeros(6, dtype=torch.float64)
        for axis in range(2):
            prefixes = allocation.prefixes(codes, axis)
            logs = output.code_log_probabilities(axis, hidden[:, axis], prefixes)
            assert logs.shape == (6, allocation.sides[axis])
            torch.testing.assert_close(logs.exp().sum(-1), torch.ones(6, dtype=torch.float64))
            total += logs.gather(1, codes[:, axis, None])[:, 0]
        scores = output.log_probability(hidden.flatten(0, 1)[None], words[None])[0]
        torch.testing.assert_close(total, scores, rtol=1e-9, atol=1e-10)


class TestFullVectors(RowWordContract):
    vectors = FullOutput

    def expected_vector_parameters(self, num_words, hidden_dim):
        return num_words * hidden_dim


class TestSlimVectors(RowWordContract):
    vectors = partial(SlimOutput, num_parts=3, map=ShuffledMap, compression=0.4)

    def expected_vector_parameters(self, num_words, hidden_dim):
        return max(3, round(0.4 * num_words * 3)) * hidden_dim // 3


class TestHashedVectors(RowWordContract):
    vectors = partial(HashedOutput, compression=0.3)

    def expected_vector_parameters(self, num_words, hidden_dim):
        return max(1, round(0.3 * num_words * hidden_dim))


class TestProjectedVectors(RowWordContract):
    vectors = partial(ProjectedOutput, projection_dim=2)

    def expected_vector_parameters(self, num_words, hidden_dim):
        return num_words * 2 + 2 * hidden_dim


class TestAdaptiveVectors(RowWordContract):
    has_uniform_initialization = False

    def tables(self):
        return [table for table in super().tables() if table[0] > 1]

    def make(self, allocation, hidden_dim):
        self.vectors = partial(AdaptiveVectorOutput, cutoffs=cutoffs_of(allocation.num_words), div_value=2.0)
        return super().make(allocation, hidden_dim)

    def expected_vector_parameters(self, num_words, hidden_dim):
        return num_vector_elements(num_words, hidden_dim)


def test_words_keep_their_vectors_when_they_move():
    allocation = random_allocation(12, (3, 4), 0)
    output = RowWordOutput(allocation, 4, vocabulary_of(12), FullOutput)
    output.initialise(0.5)
    hidden, words = torch.randn(1, 12, 4), torch.arange(12)[None]
    before = output.log_probability(hidden, words)
    vectors = output.vectors.word_vectors()
    allocation.assign(WordAllocation.random(12, (3, 4), 5).codes)
    after = output.log_probability(hidden, words)
    assert torch.equal(vectors, output.vectors.word_vectors()) and not torch.allclose(before, after)
    all_words = torch.stack([output.log_probability(hidden[:, :1].expand(-1, 12, -1), words)]).exp().sum().item()
    assert all_words == pytest.approx(1, abs=1e-5)


def test_initial_probabilities_are_those_of_the_counts():
    output = RowWordOutput(random_allocation(12, (3, 4), 0), 4, vocabulary_of(12), FullOutput)
    output.initialise(0.5)
    counts = torch.tensor(vocabulary_of(12).counts)
    probabilities = output.log_probability(torch.zeros(1, 12, 4), torch.arange(12)[None])[0].exp()
    torch.testing.assert_close(probabilities, (counts / counts.sum()).float())


def test_vectors_of_outputs_without_a_single_softmax_are_refused():
    with pytest.raises(ValueError, match="one softmax over the vocabulary, got MultiComponentOutput"):
        RowWordOutput(random_allocation(12, (3, 4), 0), 4, vocabulary_of(12), MultiComponentOutput)


@pytest.mark.parametrize("sides", [(12,), (3, 2, 2)])
def test_other_numbers_of_codes_are_refused(sides):
    with pytest.raises(ValueError, match=r"model\.components=2"):
        RowWordOutput(random_allocation(12, sides, 0), 4, vocabulary_of(12), FullOutput)
