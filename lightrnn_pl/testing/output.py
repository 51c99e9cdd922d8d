"""What every output layer must keep to: subclass ``OutputContract``, make the layer, and give a slow, obvious twin.

Layers that are one softmax over the vocabulary subclass ``SoftmaxContract`` instead, which asks more of them;
layers that predict a word code by code subclass ``CodeOutputContract``.
"""

import copy
import io
import math
from abc import ABC, abstractmethod

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.outputs import Output, SoftmaxOutput

TABLES = {
    1: [(11, (11,)), (2, (2,)), (1, (1,)), (9, (12,))],
    2: [(12, (3, 4)), (11, (4, 5)), (5, (4, 3))],
    3: [(8, (2, 2, 2)), (11, (3, 2, 3))],
}
"""Words and sides by k: tables that are full, that have empty cells, and that have whole rows empty."""


def random_table(num_words: int, sides: tuple[int, ...], seed: int = 0) -> WordAllocation:
    """Words anywhere in the table, so that its empty cells are anywhere too."""
    allocation = WordAllocation.in_order(num_words, sides)
    cells = torch.randperm(math.prod(sides), generator=torch.Generator().manual_seed(seed))[:num_words]
    allocation.assign(torch.stack(torch.unravel_index(cells, sides), -1))
    return allocation


def every_word(output: Output, hidden: Tensor) -> Tensor:
    """Log-probability of every word at every position, (N, V), from hidden states (N, k, H)."""
    num_words = output.allocation.num_words
    repeated = hidden[:, None].expand(-1, num_words, -1, -1).flatten(1, 2)
    return output.log_probability(repeated, torch.arange(num_words, device=hidden.device).expand(len(hidden), -1))


def values_and_gradients(value: Tensor, output: Output, hidden: Tensor, seed: int = 0) -> list[Tensor]:
    """The value, and the gradients of a random weighting of it: of hidden, then of each parameter."""
    weights = torch.randn(value.shape, dtype=value.dtype, generator=torch.Generator().manual_seed(seed))
    wanted = [hidden, *output.parameters()]
    gradients = torch.autograd.grad((value * weights).sum(), wanted, allow_unused=True)
    filled = [torch.zeros_like(of) if got is None else got for got, of in zip(gradients, wanted, strict=True)]
    return [value.detach(), *filled]


class OutputContract(ABC):
    """Everything here is in float64 unless it says otherwise."""

    num_components = (1,)
    """The k that the layer knows."""
    hidden_dim = 6

    @abstractmethod
    def make(self, allocation: WordAllocation, hidden_dim: int) -> Output:
        """The layer under test; the same arguments must give the same layer up to its parameters' values."""

    @abstractmethod
    def dense_log_probabilities(self, output: Output, hidden: Tensor) -> Tensor:
        """Log-probability of every word at every position, (N, V), from hidden states (N, k, H).

        Slow and obvious, differentiable, from the output's parameters but none of its methods.
        """

    @abstractmethod
    def num_parameters(self, num_words: int, sides: tuple[int, ...], hidden_dim: int) -> int:
        """How many trained numbers the layer says it has."""

    def tables(self) -> list[tuple[int, tuple[int, ...]]]:
        """Words and sides of the tables to try."""
        return [table for k in self.num_components for table in TABLES[k]]

    def make_ready(self, num_words: int, sides: tuple[int, ...], seed: int = 0, scale: float = 0.8) -> Output:
        """A layer with parameters worth computing with."""
        output = self.make(random_table(num_words, sides, seed), self.hidden_dim).double().eval()
        torch.manual_seed(seed)
        output.initialise(scale)
        return output

    def largest(self) -> Output:
        """A layer over the first table that is listed for the largest k with empty cells."""
        return self.make_ready(*max(self.tables(), key=lambda table: (len(table[1]), table[0])))

    def hidden(self, output: Output, num_positions: int = 4, seed: int = 1) -> Tensor:
        """Hidden states of some positions, (N, k, H)."""
        shape = (num_positions, output.allocation.num_components, output.hidden_dim)
        drawn = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return drawn.requires_grad_()

    def test_every_word_equals_the_dense_twin_with_gradients(self):
        for table in self.tables():
            output = self.make_ready(*table)
            hidden = self.hidden(output)
            fast = values_and_gradients(every_word(output, hidden), output, hidden)
            slow = values_and_gradients(self.dense_log_probabilities(output, hidden), output, hidden)
            for ours, theirs in zip(fast, slow, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)

    def test_a_window_of_targets_equals_the_dense_twin_with_gradients(self):
        for table in self.tables():
            output = self.make_ready(*table)
            generator = torch.Generator().manual_seed(2)
            targets = torch.randint(table[0], (3, 5), generator=generator)  # some words more than once
            hidden = self.hidden(output, 15)
            window = output.log_probability(hidden.view(3, -1, self.hidden_dim), targets)
            assert window.shape == targets.shape
            dense = self.dense_log_probabilities(output, hidden).gather(1, targets.view(-1, 1)).view(targets.shape)
            fast, slow = (values_and_gradients(value, output, hidden) for value in (window, dense))
            for ours, theirs in zip(fast, slow, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)

    def test_probabilities_sum_to_one(self):
        for table in self.tables():
            output = self.make_ready(*table)
            totals = every_word(output, self.hidden(output, 20)).exp().sum(-1)
            torch.testing.assert_close(totals, torch.ones_like(totals), rtol=0, atol=1e-12)

    def test_probabilities_sum_to_one_where_scores_are_huge(self):
        output = self.largest()
        scores = every_word(output, self.hidden(output, 20) * 1e4)
        assert not scores.isnan().any() and (scores <= 0).all()
        totals = scores.exp().sum(-1)
        torch.testing.assert_close(totals, torch.ones_like(totals), rtol=0, atol=1e-9)

    def test_top_equals_brute_force(self):
        for num_words, sides in self.tables():
            output = self.make_ready(num_words, sides)
            if len(sides) > 1 or not hasattr(output, "top"):
                continue
            hidden = self.hidden(output)
            dense = self.dense_log_probabilities(output, hidden).detach()
            for k in {1, 3, num_words, num_words + 5}:
                values, words = output.top(hidden[:, 0].detach(), k)
                best, order = dense.sort(dim=-1, descending=True)
                torch.testing.assert_close(values, best[:, :k], rtol=1e-9, atol=1e-10)
                assert torch.equal(words, order[:, :k])

    def test_a_loaded_layer_gives_the_same_bits(self):
        for num_words, sides in self.tables():
            output = self.make_ready(num_words, sides)
            file = io.BytesIO()
            torch.save(output.state_dict(), file)
            file.seek(0)
            other = self.make(WordAllocation.in_order(num_words, sides), self.hidden_dim).double()
            other.load_state_dict(torch.load(file, weights_only=True))
            hidden = self.hidden(output)
            assert torch.equal(every_word(other, hidden), every_word(output, hidden))

    @pytest.mark.parametrize("training", [False, True])
    def test_inference_mode_loads_scores_and_leaves_a_layer_that_trains(self, training):
        for num_words, sides in self.tables():
            output = self.make_ready(num_words, sides)
            hidden, state = self.hidden(output), output.state_dict()
            scores = every_word(output, hidden)
            other = self.make(WordAllocation.in_order(num_words, sides), self.hidden_dim).double().train(training)
            with torch.inference_mode():
                born_there = self.make(WordAllocation.in_order(num_words, sides), self.hidden_dim).double()
                for layer in (born_there.train(training), other):
                    layer.load_state_dict(state)
                    assert torch.equal(every_word(layer, hidden), scores)
            with torch.no_grad():
                assert torch.equal(every_word(born_there, hidden), scores)
            ours, theirs = (values_and_gradients(every_word(o, hidden), o, hidden) for o in (other, output))
            for our, their in zip(ours, theirs, strict=True):
                torch.testing.assert_close(our, their, rtol=1e-12, atol=1e-12)

    def test_a_copy_is_equal_and_independent(self):
        output = self.largest()
        hidden = self.hidden(output)
        before = every_word(output, hidden)
        twin = copy.deepcopy(output)
        assert torch.equal(every_word(twin, hidden), before)
        theirs = {parameter.data_ptr() for parameter in output.parameters()}
        assert theirs.isdisjoint(parameter.data_ptr() for parameter in twin.parameters())
        torch.manual_seed(9)
        twin.initialise(0.8)
        assert torch.equal(every_word(output, hidden), before)
        assert not torch.equal(every_word(twin, hidden), before)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)], ids=str)
    def test_other_precisions_are_near_and_finite(self, dtype, tolerance):
        output = self.largest()
        hidden = self.hidden(output)
        exact = every_word(output, hidden).detach()
        coarse = copy.deepcopy(output).to(dtype)
        rounded = hidden.detach().to(dtype).requires_grad_()
        scores = every_word(coarse, rounded)
        torch.testing.assert_close(scores.double(), exact, rtol=tolerance, atol=tolerance)
        scores.sum().backward()
        assert rounded.grad is not None and rounded.grad.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in coarse.parameters())
        again = coarse.to(torch.float64)
        torch.testing.assert_close(every_word(again, hidden), exact, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("num_positions", [1, 6])
    def test_mixed_precision_is_near_and_trains(self, num_positions):
        output = self.largest()
        hidden = self.hidden(output, num_positions)
        exact = every_word(output, hidden).detach()
        mixed = copy.deepcopy(output).float()
        narrow = hidden.detach().bfloat16().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = every_word(mixed, narrow)
        torch.testing.assert_close(scores.double(), exact, rtol=0.1, atol=0.1)
        scores.sum().backward()
        assert narrow.grad is not None and narrow.grad.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in mixed.parameters())

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_equals_itself_on_the_gpu_with_gradients(self):
        output = self.largest()
        hidden = self.hidden(output)
        moved = copy.deepcopy(output).to("cuda")
        abroad = hidden.detach().to("cuda").requires_grad_()
        scores, there = every_word(output, hidden), every_word(moved, abroad)
        torch.testing.assert_close(there.cpu(), scores, rtol=1e-9, atol=1e-10)
        (scores**2).sum().backward()
        (there**2).sum().backward()
        torch.testing.assert_close(abroad.grad.cpu(), hidden.grad, rtol=1e-9, atol=1e-10)
        for ours, theirs in zip(output.parameters(), moved.parameters(), strict=True):
            if ours.grad is not None:
                torch.testing.assert_close(theirs.grad.cpu(), ours.grad, rtol=1e-9, atol=1e-10)

    def test_has_as_many_parameters_as_it_says(self):
        for num_words, sides in self.tables():
            output = self.make(random_table(num_words, sides), self.hidden_dim)
            stated = self.num_parameters(num_words, sides, self.hidden_dim)
            assert sum(parameter.numel() for parameter in output.parameters()) == stated

    def test_its_tables_are_no_parameters(self):
        assert self.largest().table_bytes >= 0

    def test_a_words_vector_says_how_its_score_turns_with_the_hidden_state(self):
        for num_words, sides in self.tables():
            output = self.make_ready(num_words, sides)
            hidden = torch.randn(4, len(sides), self.hidden_dim, dtype=torch.float64)
            vectors = output.word_vectors().view(num_words, -1)
            scores = every_word(output, hidden)
            for alike in self.scored_alike(output):
                query = self.turned(output, hidden)
                expected = query @ (vectors[alike] - vectors[alike[:1]]).T
                found = scores[:, alike] - scores[:, alike[:1]]
                # What a bias adds is the same at every position.
                assert torch.allclose(found - found[:1], expected - expected[:1], atol=1e-9)

    def scored_alike(self, output: Output) -> list[Tensor]:
        """Groups of words whose log-probabilities differ by nothing but their vectors and biases: by default all."""
        return [torch.arange(output.allocation.num_words)]

    def turned(self, output: Output, hidden: Tensor) -> Tensor:
        """What the words' vectors are multiplied with, (N, P): by default the hidden states, side by side."""
        return hidden.flatten(1)

    def test_refuses_words_of_more_codes_than_it_knows(self):
        for k in set(TABLES) - set(self.num_components):
            with pytest.raises(ValueError, match=rf"{k} codes; use model.components=1"):
                self.make(random_table(*TABLES[k][0]), self.hidden_dim)

    @pytest.mark.parametrize("hidden_dim", [0, -3, True])
    def test_refuses_an_impossible_hidden_size(self, hidden_dim):
        with pytest.raises(ValueError, match=r"model\.hidden_dim"):
            self.make(random_table(*self.tables()[0]), hidden_dim)


class CodeOutputContract(OutputContract):
    """For outputs that predict a word code by code: the reference is one dense softmax per code."""

    num_components = (1, 2, 3)

    @abstractmethod
    def dense_logits(self, output: Output, axis: int, hidden: Tensor, codes: list[int]) -> Tensor:
        """Logits of some codes of an axis, (N, codes), from the hidden states of its step, (N, H)."""

    def dense_log_probabilities(self, output, hidden):
        """Word by word and axis by axis; the codes that compete are read off the list of words."""
        spelling = [tuple(codes) for codes in output.allocation.codes.tolist()]
        words = []
        for own in spelling:
            total = 0
            for axis, code in enumerate(own):
                possible = sorted({other[axis] for other in spelling if other[:axis] == own[:axis]})
                logits = self.dense_logits(output, axis, hidden[:, axis], possible)
                total = total + dense_softmax(logits)[:, possible.index(code)]
            words.append(total)
        return torch.stack(words, -1)


class SoftmaxContract(OutputContract):
    """For layers that are one softmax over the vocabulary: all ways to a score agree, whole or a chunk at a time."""

    chunk_sizes = (1, 7, 11)

    def flat(self, output: Output, num_positions: int = 4) -> Tensor:
        """Hidden states of some positions, (N, H)."""
        return self.hidden(output, num_positions).detach()[:, 0].requires_grad_()

    def test_scores_are_log_probabilities_up_to_a_constant(self):
        for table in self.tables():
            output = self.make_ready(*table)
            hidden = self.flat(output)
            dense = self.dense_log_probabilities(output, hidden[:, None])
            torch.testing.assert_close(output.scores(hidden).log_softmax(-1), dense, rtol=1e-9, atol=1e-10)

    def test_all_ways_to_a_score_agree_with_gradients(self):
        for num_words, sides in self.tables():
            output = self.make_ready(num_words, sides)
            hidden = self.flat(output, 6)
            generator = torch.Generator().manual_seed(3)
            few = torch.randint(num_words, (5,), generator=generator)  # unsorted, with repeats
            own = torch.randint(num_words, (6,), generator=generator)
            half = num_words // 2
            everything = torch.arange(num_words)
            ways = {
                "scores_of": (output.scores_of(hidden, few), output.scores(hidden)[:, few]),
                "own_scores": (output.own_scores(hidden, own), output.scores(hidden)[range(6), own]),
                "first": (output.query_scores(output.query(hidden), 0, half), output.scores(hidden)[:, :half]),
                "rest": (output.query_scores(output.query(hidden), half, num_words), output.scores(hidden)[:, half:]),
                "vectors": (
                    output.query(hidden) @ output.output_vectors(everything).T + output.bias,
                    output.scores(hidden),
                ),
                "partition": (output.log_partition(hidden), output.scores(hidden).logsumexp(-1)),
            }
            for way, pair in ways.items():
                ours, theirs = (values_and_gradients(value, output, hidden) for value in pair)
                for our, their in zip(ours, theirs, strict=True):
                    torch.testing.assert_close(
                        our, their, rtol=1e-9, atol=1e-10, msg=lambda text, w=way: f"{w}: {text}"
                    )

    def test_chunks_equal_the_whole_with_gradients(self):
        for table in self.tables():
            output = self.make_ready(*table)
            hidden = self.hidden(output)
            whole = values_and_gradients(every_word(output, hidden), output, hidden)
            for chunk_size in self.chunk_sizes:
                output.chunk_size = chunk_size
                chunked = values_and_gradients(every_word(output, hidden), output, hidden)
                for ours, theirs in zip(chunked, whole, strict=True):
                    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
            output.chunk_size = None

    def test_top_a_chunk_at_a_time_equals_brute_force_with_ties(self):
        output = self.make_ready(*self.tables()[0])
        hidden = self.flat(output)
        for tied in (False, True):
            if tied:
                # Small whole numbers everywhere: many scores are exactly equal.
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

    def test_the_top_of_nothing_is_refused(self):
        output = self.largest()
        with pytest.raises(ValueError, match="k must be a whole number of at least 1, got 0"):
            output.top(self.flat(output).detach(), 0)

    def test_no_positions_are_no_scores(self):
        output = self.largest()
        hidden, targets = torch.zeros(2, 0, self.hidden_dim).double(), torch.zeros(2, 0, dtype=torch.int64)
        for chunk_size in (None, 7):
            output.chunk_size = chunk_size
            assert output.log_probability(hidden, targets).shape == (2, 0)
            values, words = output.top(hidden[0], 3)
            assert values.shape == words.shape == (0, 3)

    def test_refuses_an_impossible_chunk_size(self):
        for chunk_size in (0, -1, True):
            with pytest.raises(ValueError, match=rf"model.output.chunk_size .* got {chunk_size}"):
                self.make_chunked(random_table(*self.tables()[0]), self.hidden_dim, chunk_size)

    @abstractmethod
    def make_chunked(self, allocation: WordAllocation, hidden_dim: int, chunk_size: int | None) -> SoftmaxOutput:
        """The layer under test with a chunk size."""

    def make(self, allocation: WordAllocation, hidden_dim: int) -> SoftmaxOutput:
        """See :class:`OutputContract`."""
        return self.make_chunked(allocation, hidden_dim, None)


class WeightContract(SoftmaxContract):
    """For softmax layers whose vectors are all read from one tensor of weights."""

    def test_chunks_in_other_precisions_are_near_the_whole_with_gradients(self):
        output = self.largest()
        hidden = self.hidden(output)
        exact = values_and_gradients(every_word(output, hidden), output, hidden)
        output.chunk_size = 4
        for weights, states, mixed in (
            (torch.float32, torch.float32, False),
            (torch.bfloat16, torch.bfloat16, False),
            (torch.float32, torch.bfloat16, True),
        ):
            coarse = copy.deepcopy(output).to(weights)
            rounded = hidden.detach().to(states).requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                scores = every_word(coarse, rounded)
            assert scores.dtype == weights
            found = values_and_gradients(scores.double(), coarse, rounded)
            tolerance = 1e-4 if states == torch.float32 else 0.1
            for ours, theirs in zip(found, exact, strict=True):
                # The largest number of a gradient says what its rounding is measured by.
                scale = max(1.0, float(theirs.abs().max()))
                torch.testing.assert_close(ours.double() / scale, theirs / scale, rtol=tolerance, atol=tolerance)
            assert all(ours.dtype == of.dtype for ours, of in zip(found[2:], coarse.parameters(), strict=True))

    def test_gradients_as_large_as_the_weights_are_no_more_with_more_chunks(self):
        table = random_table(60, (60,))
        made = {}
        for chunk_size in (20, 2):
            output = self.make_chunked(table, self.hidden_dim, chunk_size)
            output.initialise(0.5)
            weights = max(output.parameters(), key=torch.numel)
            hidden = torch.randn(1, 3, self.hidden_dim, requires_grad=True)
            loss = output.log_probability(hidden, torch.tensor([[0, 7, 59]])).sum()
            with Largest() as largest:
                loss.backward()
            made[chunk_size] = largest.count(weights.numel())
            output.zero_grad()
            with Largest() as largest:
                output.log_partition(hidden[0]).sum().backward()
            made[-chunk_size] = largest.count(weights.numel())
        assert made[2] == made[20] and made[-2] == made[-20], made
        # The gradient itself; the scores of one chunk or the weights in another order may be as large.
        assert 1 <= made[-2] <= made[2] <= 3, made


def dense_softmax(scores: Tensor) -> Tensor:
    """log softmax over the last axis, by its definition."""
    return scores - scores.exp().sum(-1, keepdim=True).log()


class Largest(TorchDispatchMode):
    """Notes the most elements of any floating-point tensor that is made, forward or backward."""

    numel = 0

    def __init__(self):
        super().__init__()
        self.storages: dict[int, Tensor] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        leaves = [leaf for leaf in tree_leaves(made) if torch.is_tensor(leaf) and leaf.is_floating_point()]
        sizes = [leaf.numel() for leaf in leaves]
        self.numel = max(self.numel, *sizes) if sizes else self.numel
        given = {leaf.data_ptr() for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        # Held, so that no two have one address.
        self.storages.update({leaf.data_ptr(): leaf for leaf in leaves if leaf.data_ptr() not in given})
        return made

    def count(self, numel: int) -> int:
        """How many tensors of at least ``numel`` elements were made, those that share storage with their source not
        counted."""
        return sum(tensor.numel() >= numel for tensor in self.storages.values())
