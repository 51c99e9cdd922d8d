"""BlackOut compared with a reference on plain numbers."""

import torch

from lightrnn_pl.nn.losses import BlackoutLoss
from lightrnn_pl.testing.loss import LossContract, fix_noise, random_output, zipf_vocabulary


class TestBlackoutLoss(LossContract):
    loss_class = BlackoutLoss
    max_gradient_error = 0.01

    def reference_loss(self, loss, probabilities, logits, target, noise):
        weighted = [logits[word].exp() / probabilities[word] for word in (target, *noise)]
        total = sum(weighted)
        value = -(weighted[0] / total).log()
        for index in range(1, len(weighted)):
            # 1 - p, computed without loss of precision if p is close to one.
            value = value - (sum(weighted[:index]) + sum(weighted[index + 1 :])).log() + total.log()
        return value


def test_loss_is_linear_in_the_logit_of_a_nearly_certain_noise_word():
    vocabulary, output = zipf_vocabulary(3), random_output(3, 1).float()
    loss = BlackoutLoss(vocabulary, 1, power=0.0)
    fix_noise(loss, [1])
    output.bias.data = torch.tensor([0.0, 500.0, 0.0])
    losses = loss(output, torch.zeros(1, 1, 1), torch.tensor([[0]]))
    losses.sum().backward()
    # -log p(target) and -log(1 - p(noise)) are both 500, and both have the slope 1.
    assert losses.item() == 1000 and output.bias.grad.tolist() == [-2, 2, 0]
