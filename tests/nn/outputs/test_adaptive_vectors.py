import pytest
import torch

from lightrnn_pl.nn.embeddings import AdaptiveEmbedding
from lightrnn_pl.nn.outputs import AdaptiveVectorOutput, FullOutput
from lightrnn_pl.testing.output import TABLES, dense_softmax
from lightrnn_pl.testing.softmax_output import WeightContract
from lightrnn_pl.testing.utilities import random_allocation


def cutoffs_of(num_words):
    return [cutoff for cutoff in (2, 5) if cutoff < num_words] or [1]


def num_vector_elements(num_words, hidden_dim):
    """Elements of the vectors and the projection, if the sizes are H, H/2 and H/4."""
    starts = [0, *cutoffs_of(num_words), num_words]
    sizes = [hidden_dim // 2**number for number in range(len(starts) - 1)]
    vectors = sum((stop - start) * size for start, stop, size in zip(starts, starts[1:], sizes, strict=False))
    return vectors + hidden_dim * sum(sizes[1:])


class TestAdaptiveVectorOutput(WeightContract):
    hidden_dim = 24
    has_uniform_initialization = False

    def tables(self):
        return [table for table in TABLES[1] if table[0] > 1]

    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return AdaptiveVectorOutput(allocation, hidden_dim, cutoffs_of(allocation.num_words), 2.0, chunk_size)

    def dense_log_probabilities(self, output, hidden):
        first, *rest = output.vectors.weights
        projections = output.vectors.projection.split([weight.shape[1] for weight in rest])
        matrix = torch.cat(
            [first, *(weight @ projection for weight, projection in zip(rest, projections, strict=True))]
        )
        return dense_softmax(hidden[:, 0] @ matrix.T + output.bias)

    def word_query(self, output, hidden):
        return output.query(hidden[:, 0])

    def expected_parameters(self, num_words, sides, hidden_dim):
        return num_vector_elements(num_words, hidden_dim) + num_words


def test_vectors_of_equal_size_and_a_projection_of_ones_equal_the_full_output():
    allocation = random_allocation(11, (11,))
    adaptive, full = AdaptiveVectorOutput(allocation, 6, [4], 1.0), FullOutput(allocation, 6)
    adaptive.initialise(0.5)
    adaptive.vectors.projection.data = torch.eye(6)
    full.weight.data, full.bias.data = torch.cat(list(adaptive.vectors.weights)).data, adaptive.bias.data
    hidden = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adaptive.logits(hidden), full.logits(hidden))


def test_ties_with_an_adaptive_embedding_with_the_same_bands():
    allocation = random_allocation(11, (11,))
    output, embedding = AdaptiveVectorOutput(allocation, 6, [4]), AdaptiveEmbedding(allocation, 6, [4])
    output.tie(embedding)
    assert output.vectors is embedding.vectors
    hidden = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    output.initialise(0.5)
    expected = hidden @ embedding.word_vectors(torch.arange(11)).T + output.bias
    torch.testing.assert_close(output.logits(hidden), expected)
    for other in (AdaptiveEmbedding(allocation, 6, [3]), AdaptiveEmbedding(allocation, 6, [4], 2.0)):
        with pytest.raises(ValueError, match=r"set model\.tied=false, or set model/embedding=adaptive .*cutoffs=\[4\]"):
            AdaptiveVectorOutput(allocation, 6, [4]).tie(other)


def test_stored_in_another_order():
    allocation = random_allocation(11, (11,))
    output = AdaptiveVectorOutput(allocation, 6, [4], 2.0).double()
    output.initialise(0.5)
    order = torch.tensor([9, 2, 7, 0, 10, 4, 5, 1, 3, 8, 6])
    output.store_in_order(order)
    matrices = [iter(weight) for weight in output.vectors.weights]
    rows = [next(matrices[int(word >= 4)]) for word in order]
    hidden = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    query = output.query(hidden)
    for word, row in zip(order.tolist(), rows, strict=True):
        columns = query[:, :6] if word < 4 else query[:, 6:]
        expected = columns @ row + output.bias[word]
        torch.testing.assert_close(output.logits(hidden)[:, word], expected)
        torch.testing.assert_close(output.logits_of(hidden, torch.tensor([word]))[:, 0], expected)
    weights, source = output.vector_weights, output.source
    for words in (order[1:5], order, torch.tensor([2, 0]), torch.tensor([10, 4, 5])):
        vectors = source.read(weights, source.locate(weights, words))
        torch.testing.assert_close(vectors, output.output_vectors(words))
    # Consecutive words of one band are a slice, which is not copied.
    assert isinstance(source.locate(weights, torch.tensor([9, 7, 10]))[0].rows, slice)


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"model\.output\.cutoffs=\[11\] must be .* vocabulary size 11"):
        AdaptiveVectorOutput(random_allocation(11, (11,)), 6, [11])
