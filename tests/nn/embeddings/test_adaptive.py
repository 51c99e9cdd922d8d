"""Shorter vectors for rarer words."""

import pytest
import torch

from lightrnn_pl.nn.embeddings import AdaptiveEmbedding
from lightrnn_pl.testing.embedding import EmbeddingContract
from lightrnn_pl.testing.utilities import balanced_allocation
from tests.nn.outputs.test_adaptive_vectors import cutoffs_of, num_vector_elements


class TestAdaptiveEmbedding(EmbeddingContract):
    has_uniform_initialization = False
    min_words = 2

    def make(self, allocation, embedding_dim):
        return AdaptiveEmbedding(allocation, embedding_dim, cutoffs_of(allocation.num_words), 2.0)

    def dense_vectors(self, embedding):
        first, *rest = embedding.vectors.weights
        projections = embedding.vectors.projection.split([weight.shape[1] for weight in rest])
        return torch.cat([first, *map(torch.matmul, rest, projections)])

    def expected_parameters(self, num_words, dim):
        return num_vector_elements(num_words, dim)


def test_initial_vectors_of_all_bands_have_the_same_variance():
    embedding = AdaptiveEmbedding(balanced_allocation(3000, 1), 200, cutoffs=[1000, 2000])
    torch.manual_seed(0)
    embedding.initialise(0.1)
    variances = [band.var().item() for band in embedding.word_vectors(torch.arange(3000)).split(1000)]
    assert variances == pytest.approx([0.01 / 3] * 3, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cutoffs": [5, 5]}, r"model\.embedding\.cutoffs=\[5, 5\] must be one or more increasing numbers below"),
        ({"cutoffs": [12]}, r"model\.embedding\.cutoffs=\[12\] must be .* below the vocabulary size 12"),
        ({"cutoffs": []}, r"model\.embedding\.cutoffs=\[\] must be one or more"),
        ({"cutoffs": [1, 2, 3]}, r"define 4 sizes, and the shortest vectors would have size 6 / 5\.0\^3"),
        ({"div_value": 0.5}, r"model\.embedding\.div_value .* got 0\.5"),
        ({"div_value": 7.0}, r"model\.embedding\.div_value .*model\.embedding_dim.* got 7\.0"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveEmbedding(balanced_allocation(12, 1), 6, **arguments)


def test_a_vocabulary_of_one_word_is_rejected():
    with pytest.raises(ValueError, match=r"model/embedding=adaptive needs .* use model/embedding=full"):
        AdaptiveEmbedding(balanced_allocation(1, 1), 6)
