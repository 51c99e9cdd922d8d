import torch

from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.testing.output import CodeOutputContract


class TestMultiComponentOutput(CodeOutputContract):
    def make(self, allocation, hidden_dim):
        return MultiComponentOutput(allocation, hidden_dim)

    def dense_logits(self, output, axis, hidden, codes):
        places = [sum(output.allocation.sides[:axis]) + code for code in codes]
        return hidden @ output.weight[places].T + output.bias[places]

    def scored_alike(self, output):
        """Words that differ in their last code only."""
        codes = output.allocation.codes
        before = {tuple(own) for own in codes[:, :-1].tolist()}
        return [(codes[:, :-1] == torch.tensor(own).int()).all(1).nonzero()[:, 0] for own in before]

    def num_parameters(self, num_words, sides, hidden_dim):
        return sum(sides) * (hidden_dim + 1)
