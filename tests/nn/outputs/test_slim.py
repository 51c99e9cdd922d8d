"""Slim outputs against loops over words and parts, and against the promise that no V x H matrix is made."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.nn.embeddings import FullEmbedding, SlimEmbedding
from lightrnn_pl.nn.outputs import SlimOutput
from lightrnn_pl.nn.outputs import slim as module
from lightrnn_pl.nn.sharing import HashedMap, ShuffledMap
from tests.contracts.output import Largest, SoftmaxContract, dense_softmax, random_table, values_and_gradients


def dense_scores(output, hidden):
    """Word by word, part by part (Slim Embedding, the sum before Algorithm 1)."""
    parts = hidden.chunk(output.map.num_parts, dim=-1)
    numbers = output.map(torch.arange(output.num_words)).tolist()
    scores = [
        sum(part @ output.subvectors[number] for part, number in zip(parts, own, strict=True)) + output.bias[word]
        for word, own in enumerate(numbers)
    ]
    return torch.stack(scores, -1)


class SlimContract(SoftmaxContract):
    num_parts = 3
    map = staticmethod(ShuffledMap)
    compression = 0.4

    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return SlimOutput(allocation, hidden_dim, self.num_parts, self.map, self.compression, chunk_size=chunk_size)

    def dense_log_probabilities(self, output, hidden):
        return dense_softmax(dense_scores(output, hidden[:, 0]))

    def num_parameters(self, num_words, sides, hidden_dim):
        number = max(self.num_parts, round(self.compression * num_words * self.num_parts))
        return number * hidden_dim // self.num_parts + num_words


class TestShuffled(SlimContract):
    pass


class TestHashed(SlimContract):
    map = staticmethod(HashedMap)


class TestOneNumberAPart(SlimContract):
    """K = H: the relative of HashNet."""

    num_parts = 6


class TestOnePart(SlimContract):
    """K = 1: whole vectors are shared."""

    num_parts = 1
    compression = 0.9


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_sizes_equal_the_loops_with_gradients(data):
    num_words, num_parts = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    num_subvectors = data.draw(st.integers(num_parts, num_words * num_parts))
    num_positions, size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    map = data.draw(st.sampled_from([ShuffledMap, HashedMap]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    table = random_table(num_words, (num_words,))
    output = SlimOutput(table, size * num_parts, num_parts, map, num_subvectors=num_subvectors).double()
    output.initialise(1.0)
    hidden = torch.randn(num_positions, size * num_parts, dtype=torch.float64, requires_grad=True)
    pairs = [(output.scores(hidden), dense_scores(output, hidden))]
    output.chunk_size = data.draw(st.integers(1, 12))
    pairs.append((output.log_partition(hidden), dense_scores(output, hidden).logsumexp(-1)))
    for fast, slow in pairs:
        ours, theirs = (values_and_gradients(value, output, hidden) for value in (fast, slow))
        for our, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(our, their, rtol=1e-9, atol=1e-10)


def test_nothing_shared_is_a_full_output():
    output = SlimOutput(random_table(11, (11,)), 6, 3, ShuffledMap, compression=1.0)
    numbers = output.map(torch.arange(11))
    assert len(numbers.unique()) == numbers.numel() == len(output.subvectors)


def test_no_matrix_of_words_by_hidden_units_is_made():
    num_words, hidden_dim, positions = 500, 40, 6
    output = SlimOutput(random_table(num_words, (num_words,)), hidden_dim, 4, ShuffledMap, compression=0.25)
    output.initialise(0.1)
    hidden = torch.randn(1, positions, hidden_dim, requires_grad=True)
    with Largest() as largest:
        output.log_probability(hidden, torch.arange(positions)[None]).sum().backward()
        output.top(hidden[0].detach(), 5)
    # The scores, or the sub-vectors themselves.
    assert largest.numel == max(positions * num_words, output.subvectors.numel()) < num_words * hidden_dim


def test_a_few_words_read_their_own_subvectors_only():
    output = SlimOutput(random_table(50, (50,)), 8, 4, ShuffledMap, compression=0.5)
    output.initialise(0.5)
    words = torch.tensor([3, 41])
    hidden = torch.randn(2, 8)
    unread = torch.ones(len(output.subvectors), dtype=torch.bool)
    unread[output.map(words).flatten()] = False
    assert unread.any()
    output.subvectors.data[unread] = float("nan")
    assert output.scores_of(hidden, words).isfinite().all()
    assert output.own_scores(hidden, words).isfinite().all()
    assert output.scores(hidden).isnan().any()


def test_small_blocks_of_positions_equal_one_with_gradients(monkeypatch):
    output = SlimOutput(random_table(11, (11,)), 6, 3, ShuffledMap, compression=0.4).double()
    torch.manual_seed(0)
    output.initialise(0.8)
    hidden = torch.randn(1, 50, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (1, 50))
    whole = values_and_gradients(output.log_probability(hidden, targets), output, hidden)
    monkeypatch.setattr(module, "_CPU_BLOCK", 20 * 13)
    assert output._block(50, hidden.device) == 20
    for held in (10**6, 0):
        monkeypatch.setattr(module, "WHOLE", held)
        blocks = values_and_gradients(output.log_probability(hidden, targets), output, hidden)
        for ours, theirs in zip(blocks, whole, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_a_loaded_map_is_followed():
    first, second = (
        SlimOutput(random_table(11, (11,)), 6, 3, lambda seed=seed, **sizes: ShuffledMap(seed=seed, **sizes), 0.4)
        for seed in (0, 1)
    )
    first.initialise(0.5)
    hidden = torch.randn(4, 6)
    assert not torch.equal(first.map.numbers, second.map.numbers)
    second.scores(hidden)  # remembers its own map
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.scores(hidden), first.scores(hidden))


class DisjointShuffledMap(ShuffledMap):
    """One that an embedding too draws disjoint sets from."""

    def __init__(self, num_words, num_parts, num_subvectors, disjoint):
        super().__init__(num_words, num_parts, num_subvectors, disjoint=True)


def test_ties_with_a_slim_embedding_whose_sets_are_disjoint():
    allocation = random_table(11, (11,))
    output = SlimOutput(allocation, 6, 3, HashedMap, compression=0.5)
    embedding = SlimEmbedding(allocation, 6, 3, DisjointShuffledMap, compression=0.5)
    embedding.initialise(0.5)
    hidden = torch.randn(4, 6)
    output.scores(hidden)
    output.tie(embedding)
    assert output.subvectors is embedding.vectors.weight and output.map is embedding.map
    assert output.table_bytes == 0 and embedding.table_bytes > 0
    dense = hidden @ embedding.word_vectors(torch.arange(11)).T
    torch.testing.assert_close(output.scores(hidden), dense)
    for other in (
        SlimEmbedding(allocation, 6, 3, ShuffledMap, compression=0.5),
        SlimEmbedding(allocation, 6, 2, DisjointShuffledMap, compression=0.5),
        SlimEmbedding(allocation, 6, 3, DisjointShuffledMap, compression=0.6),
        FullEmbedding(allocation, 6),
    ):
        with pytest.raises(ValueError, match="cannot share"):
            SlimOutput(allocation, 6, 3, ShuffledMap, compression=0.5).tie(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_parts": 4, "compression": 0.5}, r"divisible by model\.output\.num_parts=4, got 6"),
        ({"num_parts": 0, "compression": 0.5}, r"model\.output\.num_parts .* got 0"),
        ({"num_parts": 3, "compression": 0.0}, r"model\.output\.compression .* got 0\.0"),
        ({"num_parts": 3, "compression": 0.5, "num_subvectors": 9}, r"model\.output\.num_subvectors"),
        ({"num_parts": 3, "num_subvectors": 2}, "num_subvectors=2"),
        ({"num_parts": 3, "num_subvectors": 34}, r"model\.output\.num_subvectors .* got 34"),
    ],
)
def test_impossible_sizes_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        SlimOutput(random_table(11, (11,)), 6, map=ShuffledMap, **options)


def test_counts_the_map_apart():
    table = random_table(11, (11,))
    assert SlimOutput(table, 6, 3, HashedMap, compression=0.5).table_bytes == 0
    assert SlimOutput(table, 6, 3, ShuffledMap, compression=0.5).table_bytes == 11 * 3
