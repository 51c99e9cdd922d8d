import torch

from lightrnn_pl.nn.outputs import MultiComponentOutput
from tests.contracts.output import OutputContract, dense_softmax


class TestMultiComponentOutput(OutputContract):
    num_components = (1, 2, 3)

    def make(self, allocation, hidden_dim):
        return MultiComponentOutput(allocation, hidden_dim)

    def dense_log_probabilities(self, output, hidden):
        """Word by word and axis by axis; the codes that compete are read off the list of words."""
        sides = output.allocation.sides
        spelling = [tuple(codes) for codes in output.allocation.codes.tolist()]
        words = []
        for own in spelling:
            total = 0
            for axis, code in enumerate(own):
                possible = sorted({other[axis] for other in spelling if other[:axis] == own[:axis]})
                places = [sum(sides[:axis]) + other for other in possible]
                scores = hidden[:, axis] @ output.weight[places].T + output.bias[places]
                total = total + dense_softmax(scores)[:, possible.index(code)]
            words.append(total)
        return torch.stack(words, -1)

    def scored_alike(self, output):
        """Words that differ in their last code only."""
        codes = output.allocation.codes
        before = {tuple(own) for own in codes[:, :-1].tolist()}
        return [(codes[:, :-1] == torch.tensor(own).int()).all(1).nonzero()[:, 0] for own in before]

    def num_parameters(self, num_words, sides, hidden_dim):
        return sum(sides) * (hidden_dim + 1)
