"""The sampled softmax compared with a reference on plain numbers, and with the exact loss."""

import torch

from lightrnn_pl.nn.losses import ExactLoss, ImportanceSamplingLoss
from lightrnn_pl.testing.loss import LossContract, random_output, zipf_vocabulary


class TestImportanceSamplingLoss(LossContract):
    loss_class = ImportanceSamplingLoss
    max_gradient_error = 0.05
    max_kl_divergence = 2e-3

    def reference_loss(self, loss, probabilities, logits, target, noise):
        def corrected(word):
            return logits[word].exp() / (1 - (1 - probabilities[word]) ** len(noise))

        total = sum(corrected(word) for word in {target, *noise})
        return -(corrected(target) / total).log()


def test_is_exact_if_all_words_are_among_the_noise():
    torch.manual_seed(0)
    loss, output = ImportanceSamplingLoss(zipf_vocabulary(12), 20_000, power=0.5).double(), random_output(12, 4)
    hidden = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(12, (3, 5))
    sampled, exact = loss(output, hidden, targets), ExactLoss()(output, hidden, targets)
    torch.testing.assert_close(sampled, exact)
    torch.testing.assert_close(*(torch.autograd.grad(losses.sum(), hidden) for losses in (sampled, exact)))
