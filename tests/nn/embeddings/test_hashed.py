"""Embeddings with hashed elements."""

import struct

import pytest
import torch

from lightrnn_pl.nn.embeddings import HashedEmbedding
from lightrnn_pl.testing.embedding import EmbeddingContract
from lightrnn_pl.testing.utilities import balanced_allocation

xxhash = pytest.importorskip("xxhash")


class HashedContract(EmbeddingContract):
    signed = True

    def make(self, allocation, embedding_dim):
        return HashedEmbedding(allocation, embedding_dim, compression=0.5, signed=self.signed, seed=7)

    def dense_vectors(self, embedding):
        number = len(embedding.weight)
        words = []
        for word in range(embedding.allocation.num_words):
            elements = []
            for element in range(embedding.embedding_dim):
                message = struct.pack("<II", word, element)
                weight = embedding.weight[xxhash.xxh32_intdigest(message, 7) % number]
                negative = self.signed and xxhash.xxh32_intdigest(message, 8) % 2
                elements.append(-weight if negative else weight)
            words.append(torch.stack(elements))
        return torch.stack(words)

    def expected_parameters(self, num_words, dim):
        return round(0.5 * num_words * dim)


class TestSigned(HashedContract):
    pass


class TestUnsigned(HashedContract):
    signed = False


@pytest.mark.parametrize("signed", [True, False])
def test_signs_remove_the_bias(signed):
    embedding = HashedEmbedding(balanced_allocation(2000, 1), 50, num_weights=500, signed=signed)
    torch.nn.init.constant_(embedding.weight, 1.0)
    vectors = embedding.word_vectors(torch.arange(2000)).detach()
    assert vectors.mean().item() == pytest.approx(0.0 if signed else 1.0, abs=0.02)


def test_seeds_determine_the_sharing():
    one, other = (HashedEmbedding(balanced_allocation(20, 1), 6, compression=0.5, seed=seed) for seed in (0, 1))
    torch.nn.init.uniform_(one.weight)
    other.load_state_dict(one.state_dict())
    words = torch.arange(20)
    assert not torch.equal(one.word_vectors(words), other.word_vectors(words))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"one of model\.embedding\.compression and model\.embedding\.num_weights"),
        ({"compression": 0.1, "num_weights": 5}, r"got 0\.1 and 5"),
        ({"compression": 0.0}, r"model\.embedding\.compression .* got 0\.0"),
        ({"num_weights": 73}, r"model\.embedding\.num_weights must be at most 72.* got 73"),
        ({"num_weights": 5, "seed": -1}, r"model\.embedding\.seed .* got -1"),
    ],
)
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        HashedEmbedding(balanced_allocation(12, 1), 6, **options).word_vectors(torch.arange(3))
