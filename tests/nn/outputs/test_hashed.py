import pytest
import torch

from lightrnn_pl.nn.embeddings import FullEmbedding, HashedEmbedding
from lightrnn_pl.nn.outputs import HashedOutput
from lightrnn_pl.nn.outputs import hashed as module
from lightrnn_pl.nn.sharing import xxhash32
from lightrnn_pl.testing.output import dense_softmax
from lightrnn_pl.testing.softmax_output import WeightContract
from lightrnn_pl.testing.utilities import random_allocation


class HashedContract(WeightContract):
    signed = True

    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return HashedOutput(allocation, hidden_dim, 0.4, signed=self.signed, seed=5, chunk_size=chunk_size)

    def dense_log_probabilities(self, output, hidden):
        """One element at a time (Chen et al. 2015, Equations 3 and 7)."""
        rows = []
        for word in range(output.num_words):
            elements = []
            for element in range(output.hidden_dim):
                key = torch.tensor(word), torch.tensor(element)
                value = output.weight[int(xxhash32(*key, seed=5)) % len(output.weight)]
                negative = self.signed and int(xxhash32(*key, seed=6)) % 2
                elements.append(-value if negative else value)
            rows.append(torch.stack(elements))
        return dense_softmax(hidden[:, 0] @ torch.stack(rows).T + output.bias)

    def expected_parameters(self, num_words, sides, hidden_dim):
        return max(1, round(0.4 * num_words * hidden_dim)) + num_words


class TestSigned(HashedContract):
    pass


class TestUnsigned(HashedContract):
    signed = False


def test_both_signs_occur():
    output = HashedOutput(random_allocation(200, (200,)), 10, num_weights=1)
    output.weight.data.fill_(1.0)
    vectors = output.output_vectors(torch.arange(200))
    assert vectors.abs().eq(1).all() and vectors.mean().abs() < 0.1


def test_stores_no_table():
    assert HashedOutput(random_allocation(11, (11,)), 6, 0.5).table_bytes == 0


def test_chunks_of_wide_vectors_are_small():
    output = HashedOutput(random_allocation(11, (11,)), 2**20, num_weights=7)
    assert output._resolve_chunk_size(1) == 16
    output.chunk_size = 9
    assert output._resolve_chunk_size(1) == 9


def test_hashing_in_chunks_gives_the_same_vectors(monkeypatch):
    output = HashedOutput(random_allocation(11, (11,)), 6, 0.5)
    output.initialise(0.5)
    words = torch.tensor([4, 0, 10, 4])
    whole = output.output_vectors(words)
    monkeypatch.setattr(module, "_HASH_CHUNK", 12)
    assert torch.equal(output.output_vectors(words), whole)
    assert output.output_vectors(words[:0]).shape == (0, 6)


def test_ties_if_sizes_and_hashes_agree():
    allocation = random_allocation(11, (11,))
    output, embedding = HashedOutput(allocation, 6, 0.5), HashedEmbedding(allocation, 6, 0.5)
    output.tie(embedding)
    assert output.weight is embedding.weight
    embedding.initialise(0.5)
    words = torch.arange(11)
    assert torch.equal(output.output_vectors(words), embedding.word_vectors(words))
    size = ["model.embedding_dim=6", "model.embedding.compression=0.5", "model.embedding.num_weights=null"]
    for other, settings in (
        (HashedEmbedding(allocation, 4, num_weights=33), size),
        (HashedEmbedding(allocation, 6, 0.4), size),
        (HashedEmbedding(allocation, 6, 0.5, seed=1), ["model.embedding.seed=0"]),
        (HashedEmbedding(allocation, 6, 0.5, signed=False), ["model.embedding.signed=true"]),
        (
            FullEmbedding(allocation, 6),
            ["model/embedding=hashed", *size, "model.embedding.signed=true", "model.embedding.seed=0"],
        ),
    ):
        with pytest.raises(ValueError, match="cannot share") as error:
            HashedOutput(allocation, 6, 0.5).tie(other)
        assert str(error.value).partition("or set ")[2].split() == settings
    with pytest.raises(ValueError, match=r"compression=null model\.embedding\.num_weights=12$"):
        HashedOutput(allocation, 6, num_weights=12).tie(HashedEmbedding(allocation, 6, 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"model\.output\.compression and model\.output\.num_weights"),
        ({"compression": 1.5}, r"model\.output\.compression .* got 1\.5"),
        ({"compression": 0.5, "seed": -1}, r"model\.output\.seed .* got -1"),
        ({"num_weights": 0}, r"model\.output\.num_weights .* got 0"),
        ({"num_weights": 67}, r"model\.output\.num_weights .* got 67"),
    ],
)
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        HashedOutput(random_allocation(11, (11,)), 6, **options)
