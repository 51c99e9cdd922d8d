import torch

from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.testing.code_output import CodeOutputContract


class TestMultiComponentOutput(CodeOutputContract):
    def make(self, allocation, hidden_dim):
        return MultiComponentOutput(allocation, hidden_dim)

    def dense_logits(self, output, axis, hidden, codes):
        rows = [sum(output.allocation.sides[:axis]) + code for code in codes]
        return hidden @ output.weight[rows].T + output.bias[rows]

    def comparable_words(self, output):
        """Words that differ only in their last code."""
        prefixes = output.allocation.codes[:, :-1]
        distinct = {tuple(prefix) for prefix in prefixes.tolist()}
        return [(prefixes == torch.tensor(prefix).int()).all(1).nonzero()[:, 0] for prefix in distinct]

    def expected_parameters(self, num_words, sides, hidden_dim):
        return sum(sides) * (hidden_dim + 1)
