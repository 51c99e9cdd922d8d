"""Noise-contrastive estimation compared with a reference on plain numbers, and its gradient at the optimum."""

import math

import pytest
import torch

from lightrnn_pl.nn.losses import NceLoss
from lightrnn_pl.testing.loss import LossContract, fix_noise, random_output, zipf_vocabulary
from lightrnn_pl.vocabulary import Vocabulary


class TestNceLoss(LossContract):
    loss_class = NceLoss

    def reference_loss(self, loss, probabilities, logits, target, noise):
        def target_probability(word):
            """Probability that the word is the target and not noise."""
            model = (logits[word] - loss.log_partition).exp()
            return model / (model + len(noise) * probabilities[word])

        # 1 - target_probability, computed without loss of precision if the probability is close to one.
        complements = [
            len(noise) * probabilities[word] / (logits[word] - loss.log_partition).exp() * target_probability(word)
            for word in noise
        ]
        return -target_probability(target).log() - sum(complement.log() for complement in complements)


class TestNceLossWithLearnedPartition(TestNceLoss):
    def make(self, vocabulary, num_samples, **options):
        return NceLoss(vocabulary, num_samples, learn_partition=True, **options)

    def test_noise_is_moved_with_the_loss_but_not_saved(self):
        loss = self.make(zipf_vocabulary(40), 10)
        assert list(loss.state_dict()) == ["log_partition"] and loss.log_partition.shape == (1,)


@pytest.mark.parametrize("multiple", [1, 10])
@pytest.mark.parametrize("log_partition", [0.0, 9.0])
def test_mean_gradient_is_zero_at_the_optimum(multiple, log_partition):
    counts = [4, 3, 2, 1]
    loss, output = stratified(counts, multiple, log_partition)
    data = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=torch.float64)
    output.bias.data = data.log() + log_partition
    assert mean_gradient(loss, output, data).abs().max() < 1e-12
    output.bias.data += torch.tensor([0.1, 0.0, 0.0, 0.0])
    assert mean_gradient(loss, output, data).abs().max() > 1e-3


def test_gradient_error_is_proportional_to_one_over_the_number_of_samples():
    """As Mnih and Teh (2012) show for the exact normalizer."""
    data = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=torch.float64)
    model = torch.tensor([0.5, 0.15, 0.15, 0.2], dtype=torch.float64)
    errors = []
    for multiple in (10, 100, 1000):
        loss, output = stratified([4, 3, 2, 1], multiple, 2.0)
        output.bias.data = model.log() + 2.0
        errors.append((mean_gradient(loss, output, data) - (model - data)).abs().max().item())
    assert errors[2] < 1e-4
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2) and errors[1] / errors[2] == pytest.approx(10, rel=0.05)


def stratified(counts, multiple, log_partition):
    """A loss whose noise contains each word as often as expected.

    Since the loss is a sum over the noise, its gradient equals the mean gradient over random noise.
    """
    noise = [word for word, count in enumerate(counts) for _ in range(multiple * count)]
    loss = NceLoss(Vocabulary("abcd", counts), len(noise), power=1.0, log_partition=log_partition).double()
    fix_noise(loss, noise)
    return loss, random_output(4, 1)


def mean_gradient(loss, output, data):
    """The gradient of the logits, averaged over targets from the distribution ``data``."""
    hidden = torch.zeros(1, 4, 1, dtype=torch.float64)
    total = (data * loss(output, hidden, torch.arange(4)[None])).sum()
    return torch.autograd.grad(total, [output.bias])[0]


def test_default_normalizer_is_the_vocabulary_size():
    assert NceLoss(zipf_vocabulary(50)).log_partition == math.log(50)
    assert NceLoss(zipf_vocabulary(50), log_partition=9.0).log_partition == 9


def test_learned_normalizer_is_initialized_trained_and_saved():
    torch.manual_seed(0)
    loss, output = NceLoss(zipf_vocabulary(12), 50, log_partition=3.0, learn_partition=True), random_output(12, 4)
    loss.initialise(0.1)
    assert loss.log_partition.item() == 3.0
    hidden, targets = torch.randn(3, 5, 4, dtype=torch.float64), torch.randint(12, (3, 5))
    loss(output, hidden, targets).sum().backward()
    assert loss.log_partition.grad.abs() > 1e-3
    loss.log_partition.data.fill_(2.5)
    other = NceLoss(zipf_vocabulary(12), 50, learn_partition=True)
    other.load_state_dict(loss.state_dict())
    assert other.log_partition.item() == 2.5


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_infinite_normalizers_are_rejected(value):
    with pytest.raises(ValueError, match=rf"model.loss.log_partition must be a finite number.* got {value}"):
        NceLoss(zipf_vocabulary(5), log_partition=value)
