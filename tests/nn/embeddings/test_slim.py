"""Embeddings with shared sub-vectors."""

import copy
import functools

import numpy as np
import pytest
import torch

from lightrnn_pl.nn.embeddings import SlimEmbedding
from lightrnn_pl.nn.sharing import ClusteredMap, HashedMap, ShuffledMap
from lightrnn_pl.testing.embedding import EmbeddingContract
from lightrnn_pl.testing.utilities import balanced_allocation, save_and_load


class SlimContract(EmbeddingContract):
    num_parts = 3
    invalid_dims = (*EmbeddingContract.invalid_dims, 7)
    make_map = None

    def make(self, allocation, embedding_dim):
        return SlimEmbedding(allocation, embedding_dim, self.num_parts, self.make_map, compression=0.4)

    def dense_vectors(self, embedding):
        words = []
        for numbers in embedding.map(torch.arange(embedding.allocation.num_words)).tolist():
            words.append(torch.cat([embedding.vectors.weight[number] for number in numbers]))
        return torch.stack(words)

    def expected_parameters(self, num_words, dim):
        return round(0.4 * num_words * self.num_parts) * dim // self.num_parts


class TestShuffled(SlimContract):
    make_map = ShuffledMap

    def expected_table_bytes(self, num_words, dim):
        return num_words * self.num_parts


class TestHashed(SlimContract):
    make_map = HashedMap


def test_loading_restores_the_saved_map():
    table = balanced_allocation(50, 1)
    one, other = (SlimEmbedding(table, 8, 4, functools.partial(ShuffledMap, seed=seed), 0.2) for seed in (0, 1))
    words = torch.arange(50)
    assert not torch.equal(one.map(words), other.map(words))
    other.load_state_dict(save_and_load(one.state_dict()))
    assert torch.equal(one.map(words), other.map(words))
    torch.testing.assert_close(one.word_vectors(words), other.word_vectors(words), rtol=0, atol=0)


def test_compression_of_one_is_a_full_embedding():
    embedding = SlimEmbedding(balanced_allocation(20, 1), 6, 3, ShuffledMap, compression=1.0)
    assert embedding.vectors.weight.numel() == 20 * 6
    assert embedding.map(torch.arange(20)).unique().numel() == 60


def test_size_does_not_depend_on_the_vocabulary():
    sizes = {
        SlimEmbedding(balanced_allocation(words, 1), 6, 3, ShuffledMap, num_subvectors=30).vectors.weight.shape
        for words in (10, 1000)
    }
    assert sizes == {(30, 2)}


def test_clustered_maps_initialize_with_their_centroids(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    clustered = functools.partial(ClusteredMap, path=tmp_path / "vectors.npy")
    embedding = SlimEmbedding(balanced_allocation(40, 2), 6, 3, clustered, compression=1.0)
    embedding.initialise(0.01)
    # With as many clusters as words, the vectors are exact.
    torch.testing.assert_close(embedding.word_vectors(torch.arange(40)), torch.from_numpy(vectors))
    assert embedding.code_vectors.weight.abs().max() <= 0.01
    # With another embedding size, only the map is used.
    other = SlimEmbedding(balanced_allocation(40, 2), 12, 3, clustered, compression=0.5)
    other.initialise(0.01)
    assert other.vectors.weight.abs().max() <= 0.01
    assert other.word_vectors(torch.arange(40)).shape == (40, 12)


def test_clustered_maps_are_loaded_without_the_file(tmp_path):
    path = tmp_path / "vectors.npy"
    np.save(path, np.random.default_rng(0).normal(size=(40, 6)))
    clustered = functools.partial(ClusteredMap, path=path)
    trained = SlimEmbedding(balanced_allocation(40, 1), 6, 3, clustered, compression=0.2)
    trained.initialise(0.1)
    state, words = save_and_load(trained.state_dict()), torch.arange(40)
    path.unlink()
    loaded = SlimEmbedding(balanced_allocation(40, 1), 6, 3, clustered, compression=0.2)
    with pytest.raises(ValueError, match="no clusters yet"):
        loaded.word_vectors(words)
    with pytest.raises(ValueError, match=r"vectors\.npy does not exist; set model\.embedding\.map\.path"):
        loaded.initialise(0.1)
    loaded.load_state_dict(state)
    for model in (loaded, copy.deepcopy(loaded), loaded.to("cpu")):
        assert torch.equal(model.map(words), trained.map(words))
        torch.testing.assert_close(model.word_vectors(words), trained.word_vectors(words))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_parts": 0, "compression": 0.1}, r"model\.embedding\.num_parts.* got 0"),
        ({"num_parts": 4, "compression": 0.1}, r"divisible by model\.embedding\.num_parts=4, got 6"),
        ({"num_parts": 3}, r"one of model\.embedding\.compression and model\.embedding\.num_subvectors"),
        ({"num_parts": 3, "compression": 1.5}, r"model\.embedding\.compression .* got 1\.5"),
        ({"num_parts": 3, "num_subvectors": 37}, r"model\.embedding\.num_subvectors must be at most 36.* got 37"),
    ],
)
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        SlimEmbedding(balanced_allocation(12, 1), 6, map=ShuffledMap, **options)
