"""Short vectors and a projection."""

import pytest
import torch

from lightrnn_pl.nn.embeddings import ProjectedEmbedding
from lightrnn_pl.testing.embedding import EmbeddingContract
from lightrnn_pl.testing.utilities import balanced_allocation


class TestProjectedEmbedding(EmbeddingContract):
    def make(self, allocation, embedding_dim):
        return ProjectedEmbedding(allocation, embedding_dim, projection_dim=4)

    def dense_vectors(self, embedding):
        return torch.stack(
            [
                torch.stack([(vector * row).sum() for row in embedding.projection.weight])
                for vector in embedding.vectors.weight
            ]
        )

    def expected_parameters(self, num_words, dim):
        return num_words * 4 + 4 * dim


def test_invalid_projection_sizes_are_rejected():
    with pytest.raises(ValueError, match=r"model\.embedding\.projection_dim .* got 0"):
        ProjectedEmbedding(balanced_allocation(12, 1), 6, 0)
