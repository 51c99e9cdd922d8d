"""One vector per word."""

import torch

from lightrnn_pl.nn.embeddings import FullEmbedding
from lightrnn_pl.testing.embedding import EmbeddingContract


class TestFullEmbedding(EmbeddingContract):
    def make(self, allocation, embedding_dim):
        return FullEmbedding(allocation, embedding_dim)

    def dense_vectors(self, embedding):
        return torch.stack([embedding.vectors.weight[word] for word in range(embedding.allocation.num_words)])

    def expected_parameters(self, num_words, dim):
        return num_words * dim
