import pytest
import torch

from lightrnn_pl.nn.embeddings import FullEmbedding, SlimEmbedding
from lightrnn_pl.nn.outputs import FullOutput
from lightrnn_pl.nn.sharing import ShuffledMap
from lightrnn_pl.testing.output import dense_softmax
from lightrnn_pl.testing.softmax_output import WeightContract
from lightrnn_pl.testing.utilities import random_allocation


class TestFullOutput(WeightContract):
    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return FullOutput(allocation, hidden_dim, chunk_size)

    def dense_log_probabilities(self, output, hidden):
        rows = [output.weight[word] @ hidden[:, 0].T + output.bias[word] for word in range(len(output.weight))]
        return dense_softmax(torch.stack(rows, -1))

    def expected_parameters(self, num_words, sides, hidden_dim):
        return num_words * (hidden_dim + 1)


def test_ties_only_with_a_full_embedding():
    allocation = random_allocation(11, (11,))
    output, embedding = FullOutput(allocation, 6), FullEmbedding(allocation, 6)
    output.tie(embedding)
    assert output.weight is embedding.vectors.weight
    slim = SlimEmbedding(allocation, 6, 2, ShuffledMap, compression=0.5)
    with pytest.raises(ValueError, match="cannot share the vectors of SlimEmbedding"):
        FullOutput(allocation, 6).tie(slim)
