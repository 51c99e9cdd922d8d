import pytest
import torch

from lightrnn_pl.nn.embeddings import FullEmbedding, ProjectedEmbedding
from lightrnn_pl.nn.outputs import FullOutput, ProjectedOutput
from lightrnn_pl.testing.output import dense_softmax
from lightrnn_pl.testing.softmax_output import WeightContract
from lightrnn_pl.testing.utilities import random_allocation


class TestProjectedOutput(WeightContract):
    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return ProjectedOutput(allocation, hidden_dim, 3, chunk_size)

    def dense_log_probabilities(self, output, hidden):
        matrix = output.weight @ output.projection
        return dense_softmax(hidden[:, 0] @ matrix.T + output.bias)

    def word_query(self, output, hidden):
        return hidden[:, 0] @ output.projection.T

    def expected_parameters(self, num_words, sides, hidden_dim):
        return num_words * (3 + 1) + 3 * hidden_dim


def test_identity_projection_equals_the_full_output():
    allocation = random_allocation(11, (11,))
    projected, full = ProjectedOutput(allocation, 6, 6), FullOutput(allocation, 6)
    projected.initialise(0.5)
    projected.projection.data = torch.eye(6)
    full.load_state_dict({name: value for name, value in projected.state_dict().items() if name != "projection"})
    hidden = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(projected.logits(hidden), full.logits(hidden))


def test_ties_if_the_vectors_have_the_same_size():
    allocation = random_allocation(11, (11,))
    for embedding in (FullEmbedding(allocation, 3), ProjectedEmbedding(allocation, 6, 3)):
        output = ProjectedOutput(allocation, 6, 3)
        output.tie(embedding)
        assert output.weight is embedding.vectors.weight
        assert output.projection.shape == (3, 6)
    for embedding in (FullEmbedding(allocation, 6), ProjectedEmbedding(allocation, 6, 4)):
        with pytest.raises(ValueError, match=r"projection_dim=3 cannot share the vectors of .* of size [64];"):
            ProjectedOutput(allocation, 6, 3).tie(embedding)


def test_invalid_projection_sizes_are_rejected():
    with pytest.raises(ValueError, match=r"model\.output\.projection_dim .* got 0"):
        ProjectedOutput(random_allocation(11, (11,)), 6, 0)
