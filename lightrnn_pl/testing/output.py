"""The contract suite of outputs.

The suite compares an output with a slow, dense reference: values, gradients, normalization, serialization, precisions
and devices.  Outputs with one softmax over the vocabulary inherit
:class:`~lightrnn_pl.testing.softmax_output.SoftmaxContract` instead, and outputs that predict a word code by code
inherit :class:`~lightrnn_pl.testing.code_output.CodeOutputContract`.

Example::

    from lightrnn_pl.testing.output import OutputContract, dense_softmax

    class TestMyOutput(OutputContract):
        def make(self, allocation, hidden_dim):
            return MyOutput(allocation, hidden_dim)

        def dense_log_probabilities(self, output, hidden):
            return dense_softmax(hidden[:, 0] @ output.weight.T + output.bias)

        def expected_parameters(self, num_words, sides, hidden_dim):
            return num_words * (hidden_dim + 1)
"""

import copy
from abc import ABC, abstractmethod

import pytest
import torch
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.outputs import Output
from lightrnn_pl.testing.utilities import random_allocation, save_and_load

TABLES = {
    1: [(11, (11,)), (2, (2,)), (1, (1,)), (9, (12,))],
    2: [(12, (3, 4)), (11, (4, 5)), (5, (4, 3))],
    3: [(8, (2, 2, 2)), (11, (3, 2, 3))],
}
"""Number of words and sides, by k: full tables, tables with empty cells, and tables with empty rows."""


def all_log_probabilities(output: Output, hidden: Tensor) -> Tensor:
    """Log-probability of every word at every position, (N, V), from hidden states (N, k, H)."""
    num_words = output.allocation.num_words
    repeated = hidden[:, None].expand(-1, num_words, -1, -1).flatten(1, 2)
    return output.log_probability(repeated, torch.arange(num_words, device=hidden.device).expand(len(hidden), -1))


def values_and_gradients(value: Tensor, output: Output, hidden: Tensor, seed: int = 0) -> list[Tensor]:
    """The value, and the gradients of a random weighted sum of it with respect to ``hidden`` and each parameter."""
    weights = torch.randn(value.shape, dtype=value.dtype, generator=torch.Generator().manual_seed(seed))
    inputs = [hidden, *output.parameters()]
    gradients = torch.autograd.grad((value * weights).sum(), inputs, allow_unused=True)
    filled = [torch.zeros_like(x) if grad is None else grad for grad, x in zip(gradients, inputs, strict=True)]
    return [value.detach(), *filled]


def dense_softmax(scores: Tensor) -> Tensor:
    """The log-softmax over the last axis, by its definition."""
    return scores - scores.exp().sum(-1, keepdim=True).log()


class OutputContract(ABC):
    """Subclasses implement the abstract methods.  Tests use float64 unless stated otherwise."""

    num_components = (1,)
    """The numbers of codes per word that the output supports."""
    hidden_dim = 6

    @abstractmethod
    def make(self, allocation: WordAllocation, hidden_dim: int) -> Output:
        """The output under test.  Outputs with the same arguments may differ only in their parameters."""

    @abstractmethod
    def dense_log_probabilities(self, output: Output, hidden: Tensor) -> Tensor:
        """Log-probability of every word at every position, (N, V), from hidden states (N, k, H).

        This is the slow, differentiable reference.  It uses the parameters of the output, but not its methods.
        """

    @abstractmethod
    def expected_parameters(self, num_words: int, sides: tuple[int, ...], hidden_dim: int) -> int:
        """The expected number of parameters."""

    def tables(self) -> list[tuple[int, tuple[int, ...]]]:
        """Number of words and sides of the tables to test."""
        return [table for k in self.num_components for table in TABLES[k]]

    def make_random(self, num_words: int, sides: tuple[int, ...], seed: int = 0, scale: float = 0.8) -> Output:
        """An output with a random allocation and random parameters."""
        output = self.make(random_allocation(num_words, sides, seed), self.hidden_dim).double().eval()
        torch.manual_seed(seed)
        output.initialise(scale)
        return output

    def make_largest(self) -> Output:
        """A random output with the largest table for the largest k."""
        return self.make_random(*max(self.tables(), key=lambda table: (len(table[1]), table[0])))

    def random_hidden(self, output: Output, num_positions: int = 4, seed: int = 1) -> Tensor:
        """Random hidden states, (N, k, H)."""
        shape = (num_positions, output.allocation.num_components, output.hidden_dim)
        hidden = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return hidden.requires_grad_()

    def test_all_words_equal_the_dense_reference_with_gradients(self):
        for table in self.tables():
            output = self.make_random(*table)
            hidden = self.random_hidden(output)
            actual = values_and_gradients(all_log_probabilities(output, hidden), output, hidden)
            expected = values_and_gradients(self.dense_log_probabilities(output, hidden), output, hidden)
            torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)

    def test_targets_equal_the_dense_reference_with_gradients(self):
        for table in self.tables():
            output = self.make_random(*table)
            generator = torch.Generator().manual_seed(2)
            targets = torch.randint(table[0], (3, 5), generator=generator)  # with duplicates
            hidden = self.random_hidden(output, 15)
            window = output.log_probability(hidden.view(3, -1, self.hidden_dim), targets)
            assert window.shape == targets.shape
            dense = self.dense_log_probabilities(output, hidden).gather(1, targets.view(-1, 1)).view(targets.shape)
            actual, expected = (values_and_gradients(value, output, hidden) for value in (window, dense))
            torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)

    def test_probabilities_sum_to_one(self):
        for table in self.tables():
            output = self.make_random(*table)
            totals = all_log_probabilities(output, self.random_hidden(output, 20)).exp().sum(-1)
            torch.testing.assert_close(totals, torch.ones_like(totals), rtol=0, atol=1e-12)

    def test_probabilities_sum_to_one_for_huge_logits(self):
        output = self.make_largest()
        log_probabilities = all_log_probabilities(output, self.random_hidden(output, 20) * 1e4)
        assert not log_probabilities.isnan().any() and (log_probabilities <= 0).all()
        totals = log_probabilities.exp().sum(-1)
        torch.testing.assert_close(totals, torch.ones_like(totals), rtol=0, atol=1e-9)

    def test_top_matches_brute_force(self):
        for num_words, sides in self.tables():
            output = self.make_random(num_words, sides)
            if len(sides) > 1 or not hasattr(output, "top"):
                continue
            hidden = self.random_hidden(output)
            dense = self.dense_log_probabilities(output, hidden).detach()
            for k in {1, 3, num_words, num_words + 5}:
                values, words = output.top(hidden[:, 0].detach(), k)
                best, order = dense.sort(dim=-1, descending=True)
                torch.testing.assert_close(values, best[:, :k], rtol=1e-9, atol=1e-10)
                assert torch.equal(words, order[:, :k])

    def test_a_loaded_output_is_bit_identical(self):
        for num_words, sides in self.tables():
            output = self.make_random(num_words, sides)
            other = self.make(WordAllocation.in_order(num_words, sides), self.hidden_dim).double()
            other.load_state_dict(save_and_load(output.state_dict()))
            hidden = self.random_hidden(output)
            assert torch.equal(all_log_probabilities(other, hidden), all_log_probabilities(output, hidden))

    @pytest.mark.parametrize("training", [False, True])
    def test_loading_in_inference_mode_leaves_the_output_trainable(self, training):
        for num_words, sides in self.tables():
            output = self.make_random(num_words, sides)
            hidden, state = self.random_hidden(output), output.state_dict()
            expected = all_log_probabilities(output, hidden)
            other = self.make(WordAllocation.in_order(num_words, sides), self.hidden_dim).double().train(training)
            with torch.inference_mode():
                created = self.make(WordAllocation.in_order(num_words, sides), self.hidden_dim).double()
                for layer in (created.train(training), other):
                    layer.load_state_dict(state)
                    assert torch.equal(all_log_probabilities(layer, hidden), expected)
            with torch.no_grad():
                assert torch.equal(all_log_probabilities(created, hidden), expected)
            results = [values_and_gradients(all_log_probabilities(o, hidden), o, hidden) for o in (other, output)]
            torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)

    def test_a_copy_is_equal_and_independent(self):
        output = self.make_largest()
        hidden = self.random_hidden(output)
        before = all_log_probabilities(output, hidden)
        copied = copy.deepcopy(output)
        assert torch.equal(all_log_probabilities(copied, hidden), before)
        addresses = {parameter.data_ptr() for parameter in output.parameters()}
        assert addresses.isdisjoint(parameter.data_ptr() for parameter in copied.parameters())
        torch.manual_seed(9)
        copied.initialise(0.8)
        assert torch.equal(all_log_probabilities(output, hidden), before)
        assert not torch.equal(all_log_probabilities(copied, hidden), before)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)], ids=str)
    def test_other_precisions_are_close_and_finite(self, dtype, tolerance):
        output = self.make_largest()
        hidden = self.random_hidden(output)
        exact = all_log_probabilities(output, hidden).detach()
        converted = copy.deepcopy(output).to(dtype)
        rounded = hidden.detach().to(dtype).requires_grad_()
        actual = all_log_probabilities(converted, rounded)
        torch.testing.assert_close(actual.double(), exact, rtol=tolerance, atol=tolerance)
        actual.sum().backward()
        assert rounded.grad is not None and rounded.grad.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in converted.parameters())
        restored = converted.to(torch.float64)
        torch.testing.assert_close(all_log_probabilities(restored, hidden), exact, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("num_positions", [1, 6])
    def test_mixed_precision_is_close_and_trainable(self, num_positions):
        output = self.make_largest()
        hidden = self.random_hidden(output, num_positions)
        exact = all_log_probabilities(output, hidden).detach()
        mixed = copy.deepcopy(output).float()
        rounded = hidden.detach().bfloat16().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = all_log_probabilities(mixed, rounded)
        torch.testing.assert_close(actual.double(), exact, rtol=0.1, atol=0.1)
        actual.sum().backward()
        assert rounded.grad is not None and rounded.grad.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in mixed.parameters())

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_gpu_and_cpu_agree_with_gradients(self):
        output = self.make_largest()
        hidden = self.random_hidden(output)
        output_on_gpu = copy.deepcopy(output).to("cuda")
        hidden_on_gpu = hidden.detach().to("cuda").requires_grad_()
        on_cpu, on_gpu = all_log_probabilities(output, hidden), all_log_probabilities(output_on_gpu, hidden_on_gpu)
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-9, atol=1e-10)
        (on_cpu**2).sum().backward()
        (on_gpu**2).sum().backward()
        torch.testing.assert_close(hidden_on_gpu.grad.cpu(), hidden.grad, rtol=1e-9, atol=1e-10)
        for expected, actual in zip(output.parameters(), output_on_gpu.parameters(), strict=True):
            if expected.grad is not None:
                torch.testing.assert_close(actual.grad.cpu(), expected.grad, rtol=1e-9, atol=1e-10)

    def test_number_of_parameters(self):
        for num_words, sides in self.tables():
            output = self.make(random_allocation(num_words, sides), self.hidden_dim)
            expected = self.expected_parameters(num_words, sides, self.hidden_dim)
            assert sum(parameter.numel() for parameter in output.parameters()) == expected

    def test_table_bytes(self):
        assert self.make_largest().table_bytes >= 0

    def test_word_vectors_determine_differences_of_log_probabilities(self):
        for num_words, sides in self.tables():
            output = self.make_random(num_words, sides)
            hidden = torch.randn(4, len(sides), self.hidden_dim, dtype=torch.float64)
            vectors = output.word_vectors().view(num_words, -1)
            log_probabilities = all_log_probabilities(output, hidden)
            for words in self.comparable_words(output):
                query = self.word_query(output, hidden)
                expected = query @ (vectors[words] - vectors[words[:1]]).T
                actual = log_probabilities[:, words] - log_probabilities[:, words[:1]]
                # Subtract the first position to remove the biases, which are the same at all positions.
                assert torch.allclose(actual - actual[:1], expected - expected[:1], atol=1e-9)

    def comparable_words(self, output: Output) -> list[Tensor]:
        """Groups of words whose log-probabilities differ only due to their vectors and biases; by default all words."""
        return [torch.arange(output.allocation.num_words)]

    def word_query(self, output: Output, hidden: Tensor) -> Tensor:
        """The vectors that are multiplied by the word vectors, (N, P); by default the concatenated hidden states."""
        return hidden.flatten(1)

    def test_unsupported_numbers_of_codes_are_rejected(self):
        for k in set(TABLES) - set(self.num_components):
            with pytest.raises(ValueError, match=rf"{k} codes; use model.components={self.num_components[0]}"):
                self.make(random_allocation(*TABLES[k][0]), self.hidden_dim)

    @pytest.mark.parametrize("hidden_dim", [0, -3, True])
    def test_invalid_hidden_sizes_are_rejected(self, hidden_dim):
        with pytest.raises(ValueError, match=r"model\.hidden_dim"):
            self.make(random_allocation(*self.tables()[0]), hidden_dim)
