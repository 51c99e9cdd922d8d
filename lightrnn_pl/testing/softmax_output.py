"""The contract suites of outputs with one softmax over the vocabulary.

:class:`SoftmaxContract` checks, in addition to :class:`~lightrnn_pl.testing.output.OutputContract`, that all methods
that return logits agree, and that computing them in chunks changes nothing.  :class:`WeightContract` is for subclasses
of ``WeightOutput``, whose vectors are computed from a single tensor of weights.

Example::

    from lightrnn_pl.testing.output import dense_softmax
    from lightrnn_pl.testing.softmax_output import SoftmaxContract

    class TestMyOutput(SoftmaxContract):
        def make_chunked(self, allocation, hidden_dim, chunk_size):
            return MyOutput(allocation, hidden_dim, chunk_size)

        def dense_log_probabilities(self, output, hidden):
            return dense_softmax(hidden[:, 0] @ output.weight.T + output.bias)

        def expected_parameters(self, num_words, sides, hidden_dim):
            return num_words * (hidden_dim + 1)
"""

import copy
from abc import abstractmethod

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.outputs import Output, SoftmaxOutput
from lightrnn_pl.testing.output import OutputContract, all_log_probabilities, values_and_gradients
from lightrnn_pl.testing.utilities import random_allocation


class SoftmaxContract(OutputContract):
    """Subclasses implement ``make_chunked``, ``dense_log_probabilities`` and ``expected_parameters``."""

    chunk_sizes = (1, 7, 11)

    def random_flat_hidden(self, output: Output, num_positions: int = 4) -> Tensor:
        """Random hidden states, (N, H)."""
        return self.random_hidden(output, num_positions).detach()[:, 0].requires_grad_()

    def test_logits_are_log_probabilities_up_to_a_constant(self):
        for table in self.tables():
            output = self.make_random(*table)
            hidden = self.random_flat_hidden(output)
            dense = self.dense_log_probabilities(output, hidden[:, None])
            torch.testing.assert_close(output.logits(hidden).log_softmax(-1), dense, rtol=1e-9, atol=1e-10)

    def test_all_methods_agree_with_gradients(self):
        for num_words, sides in self.tables():
            output = self.make_random(num_words, sides)
            hidden = self.random_flat_hidden(output, 6)
            generator = torch.Generator().manual_seed(3)
            words = torch.randint(num_words, (5,), generator=generator)  # unsorted, with duplicates
            targets = torch.randint(num_words, (6,), generator=generator)
            half = num_words // 2
            all_words = torch.arange(num_words)
            methods = {
                "logits_of": (output.logits_of(hidden, words), output.logits(hidden)[:, words]),
                "target_logits": (output.target_logits(hidden, targets), output.logits(hidden)[range(6), targets]),
                "query_logits of the first half": (
                    output.query_logits(output.query(hidden), 0, half),
                    output.logits(hidden)[:, :half],
                ),
                "query_logits of the second half": (
                    output.query_logits(output.query(hidden), half, num_words),
                    output.logits(hidden)[:, half:],
                ),
                "output_vectors": (
                    output.query(hidden) @ output.output_vectors(all_words).T + output.bias,
                    output.logits(hidden),
                ),
                "log_partition": (output.log_partition(hidden), output.logits(hidden).logsumexp(-1)),
            }
            for name, values in methods.items():
                actual, expected = (values_and_gradients(value, output, hidden) for value in values)
                torch.testing.assert_close(
                    actual, expected, rtol=1e-9, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
                )

    def test_chunks_equal_the_whole_with_gradients(self):
        for table in self.tables():
            output = self.make_random(*table)
            hidden = self.random_hidden(output)
            whole = values_and_gradients(all_log_probabilities(output, hidden), output, hidden)
            for chunk_size in self.chunk_sizes:
                output.chunk_size = chunk_size
                chunked = values_and_gradients(all_log_probabilities(output, hidden), output, hidden)
                torch.testing.assert_close(chunked, whole, rtol=1e-9, atol=1e-10)
            output.chunk_size = None

    def test_top_in_chunks_matches_brute_force_with_ties(self):
        output = self.make_random(*self.tables()[0])
        hidden = self.random_flat_hidden(output)
        for tied in (False, True):
            if tied:
                # Small integers, so that many logits are exactly equal.
                with torch.no_grad():
                    hidden.copy_(hidden.sign())
                    for parameter in output.parameters():
                        parameter.copy_(parameter.sign())
            dense = self.dense_log_probabilities(output, hidden[:, None]).detach()
            if tied:
                assert any(len(row.unique()) < len(row) for row in dense.round(decimals=9))
            for chunk_size in (None, *self.chunk_sizes):
                output.chunk_size = chunk_size
                for k in (1, 4, output.num_words, output.num_words + 1):
                    values, words = output.top(hidden, k)
                    expected = dense.sort(dim=-1, descending=True).values[:, :k]
                    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-10)
                    torch.testing.assert_close(values, dense.gather(1, words), rtol=1e-9, atol=1e-10)
                    assert all(len(row.unique()) == len(row) for row in words)
                    assert tied or torch.equal(words, dense.argsort(-1, descending=True)[:, :k])

    def test_top_rejects_k_below_one(self):
        output = self.make_largest()
        with pytest.raises(ValueError, match="k must be an integer greater than or equal to 1, got 0"):
            output.top(self.random_flat_hidden(output).detach(), 0)

    def test_zero_positions(self):
        output = self.make_largest()
        hidden, targets = torch.zeros(2, 0, self.hidden_dim).double(), torch.zeros(2, 0, dtype=torch.int64)
        for chunk_size in (None, 7):
            output.chunk_size = chunk_size
            assert output.log_probability(hidden, targets).shape == (2, 0)
            values, words = output.top(hidden[0], 3)
            assert values.shape == words.shape == (0, 3)

    def test_invalid_chunk_sizes_are_rejected(self):
        for chunk_size in (0, -1, True):
            with pytest.raises(ValueError, match=rf"model.output.chunk_size .* got {chunk_size}"):
                self.make_chunked(random_allocation(*self.tables()[0]), self.hidden_dim, chunk_size)

    @abstractmethod
    def make_chunked(self, allocation: WordAllocation, hidden_dim: int, chunk_size: int | None) -> SoftmaxOutput:
        """The output under test, with a chunk size."""

    def make(self, allocation: WordAllocation, hidden_dim: int) -> SoftmaxOutput:
        return self.make_chunked(allocation, hidden_dim, None)


class WeightContract(SoftmaxContract):
    """For outputs whose vectors are computed from a single tensor of weights."""

    def test_chunks_in_other_precisions_are_close_to_the_whole_with_gradients(self):
        output = self.make_largest()
        hidden = self.random_hidden(output)
        exact = values_and_gradients(all_log_probabilities(output, hidden), output, hidden)
        output.chunk_size = 4
        for weights, states, mixed in (
            (torch.float32, torch.float32, False),
            (torch.bfloat16, torch.bfloat16, False),
            (torch.float32, torch.bfloat16, True),
        ):
            converted = copy.deepcopy(output).to(weights)
            rounded = hidden.detach().to(states).requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                log_probabilities = all_log_probabilities(converted, rounded)
            assert log_probabilities.dtype == weights
            results = values_and_gradients(log_probabilities.double(), converted, rounded)
            tolerance = 1e-4 if states == torch.float32 else 0.1
            for actual, expected in zip(results, exact, strict=True):
                # Rounding errors are relative to the largest element of a gradient.
                scale = max(1.0, float(expected.abs().max()))
                torch.testing.assert_close(actual.double() / scale, expected / scale, rtol=tolerance, atol=tolerance)
            gradients = zip(results[2:], converted.parameters(), strict=True)
            assert all(gradient.dtype == parameter.dtype for gradient, parameter in gradients)

    def test_number_of_large_gradients_does_not_depend_on_the_chunk_size(self):
        allocation = random_allocation(60, (60,))
        counts = {}
        for chunk_size in (20, 2):
            output = self.make_chunked(allocation, self.hidden_dim, chunk_size)
            output.initialise(0.5)
            weights = max(output.parameters(), key=torch.numel)
            hidden = torch.randn(1, 3, self.hidden_dim, requires_grad=True)
            loss = output.log_probability(hidden, torch.tensor([[0, 7, 59]])).sum()
            with TensorRecorder() as recorder:
                loss.backward()
            counts[chunk_size] = recorder.count(weights.numel())
            output.zero_grad()
            with TensorRecorder() as recorder:
                output.log_partition(hidden[0]).sum().backward()
            counts[-chunk_size] = recorder.count(weights.numel())
        assert counts[2] == counts[20] and counts[-2] == counts[-20], counts
        # The gradient itself; the logits of a chunk or the transposed weights may have the same size.
        assert 1 <= counts[-2] <= counts[2] <= 3, counts


class TensorRecorder(TorchDispatchMode):
    """Records the sizes of floating-point tensors that are created in forward and backward passes.

    ``max_numel`` is the number of elements of the largest one.
    """

    max_numel = 0

    def __init__(self):
        super().__init__()
        self.storages: dict[int, Tensor] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        leaves = [leaf for leaf in tree_leaves(result) if torch.is_tensor(leaf) and leaf.is_floating_point()]
        sizes = [leaf.numel() for leaf in leaves]
        self.max_numel = max(self.max_numel, *sizes) if sizes else self.max_numel
        inputs = {leaf.data_ptr() for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        # Keep the tensors alive, so that no address is used twice.
        self.storages.update({leaf.data_ptr(): leaf for leaf in leaves if leaf.data_ptr() not in inputs})
        return result

    def count(self, numel: int) -> int:
        """Number of created tensors with at least ``numel`` elements, without views of their inputs."""
        return sum(tensor.numel() >= numel for tensor in self.storages.values())
