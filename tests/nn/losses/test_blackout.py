"""BlackOut against plain arithmetic."""

import torch

from lightrnn_pl.nn.losses import BlackoutLoss
from lightrnn_pl.testing.loss import LossContract, fix_noise, random_output, zipf_vocabulary


class TestBlackoutLoss(LossContract):
    loss_class = BlackoutLoss
    largest_error_of_16_samples = 0.01

    def twin(self, loss, probabilities, scores, target, noise):
        weighted = [scores[word].exp() / probabilities[word] for word in (target, *noise)]
        total = sum(weighted)
        value = -(weighted[0] / total).log()
        for place in range(1, len(weighted)):
            # 1 - p, written so that it keeps its digits where p is near one.
            value = value - (sum(weighted[:place]) + sum(weighted[place + 1 :])).log() + total.log()
        return value


def test_a_noise_word_that_is_nearly_certain_costs_what_its_score_is_ahead():
    vocabulary, output = zipf_vocabulary(3), random_output(3, 1).float()
    loss = BlackoutLoss(vocabulary, 1, power=0.0)
    fix_noise(loss, [1])
    output.bias.data = torch.tensor([0.0, 500.0, 0.0])
    losses = loss(output, torch.zeros(1, 1, 1), torch.tensor([[0]]))
    losses.sum().backward()
    # -log p(target) and -log(1 - p(noise)) are 500 each, and so is each one's slope 1.
    assert losses.item() == 1000 and output.bias.grad.tolist() == [-2, 2, 0]
