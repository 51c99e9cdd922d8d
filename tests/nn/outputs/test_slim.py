"""Slim outputs against loops over words and parts, and against the promise that no V x H matrix is made."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.nn.embeddings import FullEmbedding, SlimEmbedding
from lightrnn_pl.nn.outputs import SlimOutput
from lightrnn_pl.nn.outputs import slim as module
from lightrnn_pl.nn.sharing import HashedMap, ShuffledMap
from lightrnn_pl.testing.output import Largest, SoftmaxContract, dense_softmax, random_table, values_and_gradients


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


def reachable(output):
    """Every tensor that the layer holds, found by looking everywhere; one of each storage."""
    found = {}

    def look(thing):
        if torch.is_tensor(thing):
            found[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        elif isinstance(thing, torch.nn.Module):
            look({name: value for name, value in vars(thing).items() if name != "_modules"})
            look({name: module for name, module in thing._modules.items() if name != "allocation"})
        elif isinstance(thing, dict):
            look(list(thing.values()))
        elif isinstance(thing, (list, tuple)):
            for part in thing:
                look(part)

    look(output)
    return sum(found.values())


def table_of(num_subvectors, num_words):
    return num_words * 3 * (1 if num_subvectors <= 256 else 2 if num_subvectors <= 2**15 else 4)


@pytest.mark.parametrize("num_subvectors", [200, 3000, 33_000])
@pytest.mark.parametrize("map", [ShuffledMap, HashedMap])
def test_inference_holds_the_parameters_and_what_is_counted(map, num_subvectors):
    num_words = 11_000
    output = SlimOutput(random_table(num_words, (num_words,)), 6, 3, map, num_subvectors=num_subvectors)
    output.initialise(0.5)
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in output.parameters())
    stated = parameters + output.table_bytes
    assert output.table_bytes == (0 if map is HashedMap else table_of(num_subvectors, num_words))
    hidden, targets = torch.randn(1, 4, 6), torch.randint(num_words, (1, 4))
    spans = 0 if map is ShuffledMap else 3 * 3 * 8  # where each part begins and how large it is, for any vocabulary
    with torch.no_grad():
        before = output.log_probability(hidden, targets)
    assert reachable(output) == stated + spans
    output.log_probability(hidden, targets).sum().backward()
    output.zero_grad()
    # The words of each sub-vector, and numbers in the type that is gathered by, unless the map has them.
    both_ways = (num_words * 3 + num_subvectors + 1) * 4 + num_words * 3 * 4
    kept = num_words * 3 * 4 if map is ShuffledMap and num_subvectors > 2**15 else 0
    assert reachable(output) == stated + spans + both_ways - kept
    output.eval()
    with torch.inference_mode():
        assert torch.equal(output.log_probability(hidden, targets), before)
        output.top(hidden[0], 3)
    assert reachable(output) == stated + spans
    output.log_probability(hidden, targets).sum().backward()
    output.zero_grad()
    assert reachable(output) == stated + spans


def test_a_table_of_the_right_type_is_read_where_it_is():
    output = SlimOutput(random_table(11_000, (11_000,)), 6, 3, ShuffledMap, compression=1.0)
    (numbers,) = output._numbers()
    assert numbers.data_ptr() == output.map.numbers.data_ptr()
    assert output._layout_now().numbers.data_ptr() == output.map.numbers.data_ptr()


@pytest.mark.parametrize("map", [ShuffledMap, HashedMap])
def test_numbers_some_words_at_a_time_change_no_score(map, monkeypatch):
    output = SlimOutput(random_table(50, (50,)), 6, 3, map, compression=0.4)
    output.initialise(0.5)
    hidden = torch.randn(4, 6)
    with torch.no_grad():
        whole = output.scores(hidden)
        monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 20)
        assert [len(some) for some in output._numbers()] == [6] * 8 + [2]
        assert torch.equal(output.scores(hidden), whole)
    assert torch.equal(output.scores(hidden).detach(), whole)


def test_weights_at_an_eighth_take_at_most_13_percent_of_a_full_outputs():
    num_words, hidden_dim, num_parts = 40_000, 2048, 8
    output = SlimOutput(random_table(num_words, (num_words,)), hidden_dim, num_parts, ShuffledMap, compression=0.125)
    output.eval()
    with torch.no_grad():
        output.log_probability(torch.zeros(1, 1, hidden_dim), torch.zeros(1, 1, dtype=torch.int64))
    assert 0.129 < reachable(output) / (4 * num_words * (hidden_dim + 1)) < 0.13


@pytest.mark.parametrize(
    ("embedding", "settings"),
    [
        (lambda table: SlimEmbedding(table, 6, 3, ShuffledMap, compression=0.5), ["model.embedding.disjoint=true"]),
        (
            lambda table: SlimEmbedding(table, 6, 2, ShuffledMap, compression=0.5, disjoint=True),
            ["model.embedding_dim=6", "model.embedding.num_parts=3", "model.embedding.compression=0.5"],
        ),
        (lambda table: FullEmbedding(table, 6), ["model/embedding=slim", "model.embedding.disjoint=true"]),
    ],
)
def test_a_refusal_to_tie_names_what_to_set(embedding, settings):
    table = random_table(11, (11,))
    with pytest.raises(ValueError, match=r"set model\.tied=false, or set ") as refused:
        SlimOutput(table, 6, 3, ShuffledMap, compression=0.5).tie(embedding(table))
    told = str(refused.value).partition("or set ")[2].split()
    assert set(settings) <= set(told)
    # Only what differs, where the kind is right.
    assert len(told) == {1: 1, 3: 4, 2: 6}[len(settings)]


def test_a_refusal_to_tie_gives_the_number_where_there_is_no_ratio():
    table = random_table(11, (11,))
    with pytest.raises(ValueError, match=r"compression=null model\.embedding\.num_subvectors=20$"):
        SlimOutput(table, 6, 3, ShuffledMap, num_subvectors=20).tie(FullEmbedding(table, 6))


def test_counts_the_map_apart():
    table = random_table(11, (11,))
    assert SlimOutput(table, 6, 3, HashedMap, compression=0.5).table_bytes == 0
    assert SlimOutput(table, 6, 3, ShuffledMap, compression=0.5).table_bytes == 11 * 3
