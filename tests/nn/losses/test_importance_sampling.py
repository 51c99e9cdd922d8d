"""The sampled softmax compared with a reference on plain numbers, and with the exact loss."""

import torch

from lightrnn_pl.nn.losses import ExactLoss, ImportanceSamplingLoss, sampled
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


def test_duplicates_that_are_marked_as_on_a_gpu_are_not_counted(monkeypatch):
    torch.manual_seed(0)
    loss, output = ImportanceSamplingLoss(zipf_vocabulary(12), 30).double(), random_output(12, 4)
    hidden, targets = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True), torch.randint(12, (2, 3))
    results = []
    for distinct in (sampled.remove_duplicates, sampled.mark_duplicates):
        monkeypatch.setattr(sampled, "remove_duplicates", distinct)
        torch.manual_seed(1)
        losses = loss(output, hidden, targets)
        results.append((losses, *torch.autograd.grad(losses.sum(), [hidden, output.weight, output.bias])))
    torch.testing.assert_close(*results)
    ordered, duplicates = sampled.mark_duplicates(torch.tensor([3, 1, 3, 3, 0]))
    assert ordered.tolist() == [0, 1, 3, 3, 3] and duplicates.tolist() == [False, False, False, True, True]
