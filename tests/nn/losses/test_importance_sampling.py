"""The sampled softmax against plain arithmetic, and where it is exact."""

import torch

from lightrnn_pl.nn.losses import ExactLoss, ImportanceSamplingLoss
from lightrnn_pl.testing.loss import LossContract, random_output, zipf_vocabulary


class TestImportanceSamplingLoss(LossContract):
    loss_class = ImportanceSamplingLoss
    largest_error_of_16_samples = 0.05
    largest_kl = 2e-3

    def twin(self, loss, probabilities, scores, target, noise):
        def corrected(word):
            return scores[word].exp() / (1 - (1 - probabilities[word]) ** len(noise))

        total = sum(corrected(word) for word in {target, *noise})
        return -(corrected(target) / total).log()


def test_is_exact_once_every_word_is_among_the_noise():
    torch.manual_seed(0)
    loss, output = ImportanceSamplingLoss(zipf_vocabulary(12), 20_000, power=0.5).double(), random_output(12, 4)
    hidden = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(12, (3, 5))
    sampled, exact = loss(output, hidden, targets), ExactLoss()(output, hidden, targets)
    torch.testing.assert_close(sampled, exact)
    for one, other in zip(*(torch.autograd.grad(each.sum(), hidden) for each in (sampled, exact)), strict=True):
        torch.testing.assert_close(one, other)
