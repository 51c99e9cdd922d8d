"""Short vectors and a projection."""

import pytest
import torch

from lightrnn_pl.nn.embeddings import ProjectedEmbedding
from lightrnn_pl.testing.embedding import EmbeddingContract, shuffled_table


class TestProjectedEmbedding(EmbeddingContract):
    def make(self, allocation, embedding_dim):
        return ProjectedEmbedding(allocation, embedding_dim, projection_dim=4)

    def dense_vectors(self, embedding):
        return torch.stack(
            [
                torch.stack([(own * row).sum() for row in embedding.projection.weight])
                for own in embedding.vectors.weight
            ]
        )

    def expected_parameters(self, num_words, dim):
        return num_words * 4 + 4 * dim


def test_an_impossible_projection_is_refused_by_name():
    with pytest.raises(ValueError, match=r"model\.embedding\.projection_dim .* got 0"):
        ProjectedEmbedding(shuffled_table(12, 1), 6, 0)
