"""LightRNN's embedding vectors, which the words of a row and the words of a column share."""

import torch

from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.testing.embedding import EmbeddingContract


class TestMultiComponentEmbedding(EmbeddingContract):
    def make(self, allocation, embedding_dim):
        return MultiComponentEmbedding(allocation, embedding_dim)

    def dense_steps(self, embedding, words, targets):
        sides, codes = embedding.allocation.sides, embedding.allocation.codes.tolist()
        tables = embedding.vectors.weight.split(sides)
        streams = []
        for stream_words, stream_targets in zip(words.tolist(), targets.tolist(), strict=True):
            steps = []
            for word, target in zip(stream_words, stream_targets, strict=True):
                steps.append(tables[-1][codes[word][-1]])
                for axis in range(len(sides) - 1):
                    steps.append(tables[axis][codes[target][axis]])
            streams.append(torch.stack(steps))
        return torch.stack(streams)

    def expected_parameters(self, num_words, dim):
        return 0

    def expected_code_parameters(self, sides, dim):
        return sum(sides) * dim
