"""Slim outputs compared with loops over words and parts, and their memory: a V x H matrix is never created."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.nn.embeddings import FullEmbedding, SlimEmbedding
from lightrnn_pl.nn.outputs import SlimOutput
from lightrnn_pl.nn.outputs import slim as module
from lightrnn_pl.nn.sharing import HashedMap, ShuffledMap, default_parts
from lightrnn_pl.testing.output import dense_softmax, values_and_gradients
from lightrnn_pl.testing.softmax_output import SoftmaxContract, TensorRecorder
from lightrnn_pl.testing.utilities import random_allocation


def dense_logits(output, hidden):
    """The logits, one word and one part at a time (Slim Embedding, the sum before Algorithm 1)."""
    parts = hidden.chunk(output.map.num_parts, dim=-1)
    numbers = output.map(torch.arange(output.num_words)).tolist()
    logits = [
        sum(part @ output.subvectors[number] for part, number in zip(parts, own, strict=True)) + output.bias[word]
        for word, own in enumerate(numbers)
    ]
    return torch.stack(logits, -1)


class SlimContract(SoftmaxContract):
    num_parts = 3
    map = staticmethod(ShuffledMap)
    compression = 0.4

    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return SlimOutput(allocation, hidden_dim, self.num_parts, self.map, self.compression, chunk_size=chunk_size)

    def dense_log_probabilities(self, output, hidden):
        return dense_softmax(dense_logits(output, hidden[:, 0]))

    def expected_parameters(self, num_words, sides, hidden_dim):
        number = max(self.num_parts, round(self.compression * num_words * self.num_parts))
        return number * hidden_dim // self.num_parts + num_words


class TestShuffled(SlimContract):
    pass


class TestHashed(SlimContract):
    map = staticmethod(HashedMap)


class TestOneElementPerPart(SlimContract):
    """K = H: similar to HashNet."""

    num_parts = 6


class TestOnePart(SlimContract):
    """K = 1: words share whole vectors."""

    num_parts = 1
    compression = 0.9


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_sizes_match_loops_with_gradients(data):
    num_words, num_parts = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    num_subvectors = data.draw(st.integers(num_parts, num_words * num_parts))
    num_positions, size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    map = data.draw(st.sampled_from([ShuffledMap, HashedMap]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    table = random_allocation(num_words, (num_words,))
    output = SlimOutput(table, size * num_parts, num_parts, map, num_subvectors=num_subvectors).double()
    output.initialise(1.0)
    hidden = torch.randn(num_positions, size * num_parts, dtype=torch.float64, requires_grad=True)
    pairs = [(output.logits(hidden), dense_logits(output, hidden))]
    output.chunk_size = data.draw(st.integers(1, 12))
    pairs.append((output.log_partition(hidden), dense_logits(output, hidden).logsumexp(-1)))
    for pair in pairs:
        actual, expected = (values_and_gradients(value, output, hidden) for value in pair)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


def test_compression_of_one_is_a_full_output():
    output = SlimOutput(random_allocation(11, (11,)), 6, 3, ShuffledMap, compression=1.0)
    numbers = output.map(torch.arange(11))
    assert len(numbers.unique()) == numbers.numel() == len(output.subvectors)


def test_no_matrix_of_words_by_hidden_units_is_created():
    num_words, hidden_dim, positions = 500, 40, 6
    output = SlimOutput(random_allocation(num_words, (num_words,)), hidden_dim, 4, ShuffledMap, compression=0.25)
    output.initialise(0.1)
    hidden = torch.randn(1, positions, hidden_dim, requires_grad=True)
    with TensorRecorder() as recorder:
        output.log_probability(hidden, torch.arange(positions)[None]).sum().backward()
        output.top(hidden[0].detach(), 5)
    # The largest tensors are the logits or the sub-vectors themselves.
    assert recorder.max_numel == max(positions * num_words, output.subvectors.numel()) < num_words * hidden_dim


def test_logits_of_some_words_read_only_their_own_subvectors():
    output = SlimOutput(random_allocation(50, (50,)), 8, 4, ShuffledMap, compression=0.5)
    output.initialise(0.5)
    words = torch.tensor([3, 41])
    hidden = torch.randn(2, 8)
    unread = torch.ones(len(output.subvectors), dtype=torch.bool)
    unread[output.map(words).flatten()] = False
    assert unread.any()
    output.subvectors.data[unread] = float("nan")
    assert output.logits_of(hidden, words).isfinite().all()
    assert output.target_logits(hidden, words).isfinite().all()
    assert output.logits(hidden).isnan().any()


def test_small_blocks_of_positions_equal_one_with_gradients(monkeypatch):
    output = SlimOutput(random_allocation(11, (11,)), 6, 3, ShuffledMap, compression=0.4).double()
    torch.manual_seed(0)
    output.initialise(0.8)
    hidden = torch.randn(1, 50, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (1, 50))
    whole = values_and_gradients(output.log_probability(hidden, targets), output, hidden)
    monkeypatch.setattr(module, "_CPU_BLOCK", 20 * 13)
    assert output._block(50, hidden.device) == 20
    for max_logits in (10**6, 0):
        monkeypatch.setattr(module, "MAX_LOGITS", max_logits)
        blocks = values_and_gradients(output.log_probability(hidden, targets), output, hidden)
        torch.testing.assert_close(blocks, whole, rtol=1e-9, atol=1e-10)


def test_loading_another_map_invalidates_the_layout():
    first, second = (
        SlimOutput(random_allocation(11, (11,)), 6, 3, lambda seed=seed, **sizes: ShuffledMap(seed=seed, **sizes), 0.4)
        for seed in (0, 1)
    )
    first.initialise(0.5)
    hidden = torch.randn(4, 6)
    assert not torch.equal(first.map.numbers, second.map.numbers)
    second.logits(hidden)  # stores the layout of its own map
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.logits(hidden), first.logits(hidden))


class DisjointShuffledMap(ShuffledMap):
    """A map with disjoint sets, even for an embedding."""

    def __init__(self, num_words, num_parts, num_subvectors, disjoint):
        super().__init__(num_words, num_parts, num_subvectors, disjoint=True)


def test_ties_with_a_slim_embedding_with_disjoint_sets():
    allocation = random_allocation(11, (11,))
    output = SlimOutput(allocation, 6, 3, HashedMap, compression=0.5)
    embedding = SlimEmbedding(allocation, 6, 3, DisjointShuffledMap, compression=0.5)
    embedding.initialise(0.5)
    hidden = torch.randn(4, 6)
    output.logits(hidden)
    output.tie(embedding)
    assert output.subvectors is embedding.vectors.weight and output.map is embedding.map
    assert output.table_bytes == 0 and embedding.table_bytes > 0
    dense = hidden @ embedding.word_vectors(torch.arange(11)).T
    torch.testing.assert_close(output.logits(hidden), dense)
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
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        SlimOutput(random_allocation(11, (11,)), 6, map=ShuffledMap, **options)


def reachable_bytes(output):
    """The size of all tensors that are reachable from the output, counting each storage once."""
    sizes = {}

    def visit(value):
        if torch.is_tensor(value):
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, torch.nn.Module):
            visit({name: attribute for name, attribute in vars(value).items() if name != "_modules"})
            visit({name: module for name, module in value._modules.items() if name != "allocation"})
        elif isinstance(value, dict):
            visit(list(value.values()))
        elif isinstance(value, (list, tuple)):
            for element in value:
                visit(element)

    visit(output)
    return sum(sizes.values())


def expected_table_bytes(num_subvectors, num_words):
    return num_words * 3 * (1 if num_subvectors <= 256 else 2 if num_subvectors <= 2**15 else 4)


@pytest.mark.parametrize("num_subvectors", [200, 3000, 33_000])
@pytest.mark.parametrize("map", [ShuffledMap, HashedMap])
def test_inference_stores_only_parameters_and_tables(map, num_subvectors):
    num_words = 11_000
    output = SlimOutput(random_allocation(num_words, (num_words,)), 6, 3, map, num_subvectors=num_subvectors)
    output.initialise(0.5)
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in output.parameters())
    counted = parameters + output.table_bytes
    assert output.table_bytes == (0 if map is HashedMap else expected_table_bytes(num_subvectors, num_words))
    hidden, targets = torch.randn(1, 4, 6), torch.randint(num_words, (1, 4))
    spans = 0 if map is ShuffledMap else 3 * 3 * 8  # start and size of each part, independent of the vocabulary
    with torch.no_grad():
        before = output.log_probability(hidden, targets)
    assert reachable_bytes(output) == counted + spans
    output.log_probability(hidden, targets).sum().backward()
    output.zero_grad()
    # The words of each sub-vector, and the map as int32 unless it is already stored in this type.
    layout = (num_words * 3 + num_subvectors + 1) * 4 + num_words * 3 * 4
    already_stored = num_words * 3 * 4 if map is ShuffledMap and num_subvectors > 2**15 else 0
    assert reachable_bytes(output) == counted + spans + layout - already_stored
    output.eval()
    with torch.inference_mode():
        assert torch.equal(output.log_probability(hidden, targets), before)
        output.top(hidden[0], 3)
    assert reachable_bytes(output) == counted + spans
    output.log_probability(hidden, targets).sum().backward()
    output.zero_grad()
    assert reachable_bytes(output) == counted + spans


def test_int32_tables_are_not_copied():
    output = SlimOutput(random_allocation(11_000, (11_000,)), 6, 3, ShuffledMap, compression=1.0)
    (numbers,) = output._numbers()
    assert numbers.data_ptr() == output.map.numbers.data_ptr()
    assert output._current_layout().numbers.data_ptr() == output.map.numbers.data_ptr()


@pytest.mark.parametrize("map", [ShuffledMap, HashedMap])
def test_reading_the_map_in_chunks_gives_the_same_logits(map, monkeypatch):
    output = SlimOutput(random_allocation(50, (50,)), 6, 3, map, compression=0.4)
    output.initialise(0.5)
    hidden = torch.randn(4, 6)
    with torch.no_grad():
        whole = output.logits(hidden)
        monkeypatch.setattr(module, "_MAP_CHUNK", 20)
        assert [len(chunk) for chunk in output._numbers()] == [6] * 8 + [2]
        assert torch.equal(output.logits(hidden), whole)
    assert torch.equal(output.logits(hidden).detach(), whole)


def test_compression_of_an_eighth_takes_at_most_13_percent_of_the_memory():
    num_words, hidden_dim, num_parts = 40_000, 2048, 8
    output = SlimOutput(
        random_allocation(num_words, (num_words,)), hidden_dim, num_parts, ShuffledMap, compression=0.125
    )
    output.eval()
    with torch.no_grad():
        output.log_probability(torch.zeros(1, 1, hidden_dim), torch.zeros(1, 1, dtype=torch.int64))
    assert 0.129 < reachable_bytes(output) / (4 * num_words * (hidden_dim + 1)) < 0.13


@pytest.mark.parametrize(
    ("embedding", "settings"),
    [
        (lambda table: SlimEmbedding(table, 6, 3, ShuffledMap, compression=0.5), ["model.embedding.disjoint=true"]),
        (
            lambda table: SlimEmbedding(table, 6, 2, ShuffledMap, compression=0.5, disjoint=True),
            ["model.embedding.num_parts=3", "model.embedding.compression=0.5", "model.embedding.num_subvectors=null"],
        ),
        (lambda table: FullEmbedding(table, 6), ["model/embedding=slim", "model.embedding.disjoint=true"]),
    ],
)
def test_error_lists_the_settings_for_tying(embedding, settings):
    table = random_allocation(11, (11,))
    with pytest.raises(ValueError, match=r"set model\.tied=false, or set ") as error:
        SlimOutput(table, 6, 3, ShuffledMap, compression=0.5).tie(embedding(table))
    suggested = str(error.value).partition("or set ")[2].split()
    assert set(settings) <= set(suggested)
    # Only the settings that differ, if the embedding is a slim embedding.
    assert len(suggested) == {1: 1, 3: 3, 2: 5}[len(settings)]


def test_error_lists_the_number_if_no_ratio_is_configured():
    table = random_allocation(11, (11,))
    with pytest.raises(ValueError, match=r"compression=null model\.embedding\.num_subvectors=20$"):
        SlimOutput(table, 6, 3, ShuffledMap, num_subvectors=20).tie(FullEmbedding(table, 6))


def test_table_bytes_are_those_of_the_map():
    table = random_allocation(11, (11,))
    assert SlimOutput(table, 6, 3, HashedMap, compression=0.5).table_bytes == 0
    assert SlimOutput(table, 6, 3, ShuffledMap, compression=0.5).table_bytes == 11 * 3


@pytest.mark.parametrize("dim", [50, 64, 100, 128, 200, 256, 300, 400, 512, 600, 650, 1000, 1024, 1500])
def test_the_default_number_of_parts_divides_common_sizes(dim):
    parts = default_parts(dim)
    assert dim % parts == 0 and 8 <= parts <= 13
    assert all(dim % other or abs(other - 10) >= abs(parts - 10) for other in range(1, dim + 1))
    allocation = random_allocation(40, (40,))
    output = SlimOutput(allocation, dim, None, ShuffledMap, compression=0.5)
    embedding = SlimEmbedding(allocation, dim, None, ShuffledMap, compression=0.5)
    assert output.map.num_parts == embedding.map.num_parts == parts
