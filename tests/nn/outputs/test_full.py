import torch

from lightrnn_pl.nn.outputs import FullOutput
from tests.contracts.output import SoftmaxContract, dense_softmax


class TestFullOutput(SoftmaxContract):
    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return FullOutput(allocation, hidden_dim, chunk_size)

    def dense_log_probabilities(self, output, hidden):
        rows = [output.weight[word] @ hidden[:, 0].T + output.bias[word] for word in range(len(output.weight))]
        return dense_softmax(torch.stack(rows, -1))

    def num_parameters(self, num_words, sides, hidden_dim):
        return num_words * (hidden_dim + 1)
