"""The contract suite of sampled losses.

The suite compares a loss with a reference on plain numbers, and checks that its mean gradient approaches that of the
exact likelihood and that training with it converges to the distribution of the data.

Example::

    from lightrnn_pl.testing.loss import LossContract

    class TestMyLoss(LossContract):
        loss_class = MyLoss

        def reference_loss(self, loss, probabilities, logits, target, noise):
            ...
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.cores import LSTMCore
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import CodeOutput
from lightrnn_pl.nn.outputs.softmax import MatrixOutput
from lightrnn_pl.vocabulary import Vocabulary


def zipf_vocabulary(num_words: int) -> Vocabulary:
    """A vocabulary with counts proportional to 1 / rank, except for a last word with count 0."""
    counts = np.array([1000 // rank for rank in range(1, num_words)] + [0])
    return Vocabulary([f"w{word}" for word in range(num_words)], counts)


def noise_probabilities(vocabulary: Vocabulary, power: float) -> list[float]:
    weights = [max(int(count), 1) ** power for count in vocabulary.counts]
    return [weight / sum(weights) for weight in weights]


class _SoftmaxOutput(MatrixOutput):
    """One output vector per word."""

    def __init__(self, allocation: WordAllocation, hidden_dim: int) -> None:
        super().__init__(allocation, hidden_dim)
        self.weight = torch.nn.Parameter(torch.zeros(self.num_words, hidden_dim))


class _CodesOnly(CodeOutput):
    """An output that has no logits of words."""

    def axis_losses(self, hidden, targets):
        raise NotImplementedError

    def code_log_probabilities(self, axis, hidden, prefixes):
        raise NotImplementedError

    def word_vectors(self):
        raise NotImplementedError


def random_output(num_words: int, hidden_dim: int, scale: float = 1.0) -> MatrixOutput:
    output = _SoftmaxOutput(WordAllocation.in_order(num_words, (num_words,)), hidden_dim).double()
    output.initialise(scale)
    return output


def fix_noise(loss, noise: list[int]) -> None:
    """Replace random noise by fixed words."""
    loss.noise.sample = lambda num: torch.tensor(noise)


class LossContract:
    """Subclasses set ``loss_class`` and implement ``reference_loss``, and override the bounds if necessary."""

    loss_class: type
    max_gradient_error = 0.1
    """Largest relative error of the mean gradient for 16 noise words."""
    max_kl_divergence = 4e-3
    """Largest divergence after training."""

    def reference_loss(self, loss, probabilities, logits, target, noise):
        """The loss of one position, computed with plain numbers.

        Args:
            loss: The loss under test, with its options.
            probabilities: The noise distribution q, a list over the vocabulary.
            logits: Logits of all words, a float64 vector.
            target: The target word.
            noise: The list of noise words.
        """
        raise NotImplementedError

    def make(self, vocabulary, num_samples, **options):
        """The loss under test."""
        return self.loss_class(vocabulary, num_samples, **options)

    @given(
        st.integers(2, 9),
        st.lists(st.integers(0, 8), min_size=1, max_size=8),
        st.sampled_from([0.0, 0.4, 0.75, 1.0]),
        st.sampled_from([0.1, 1.0, 6.0]),
        st.integers(0, 2**16),
    )
    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow]
    )
    @pytest.mark.filterwarnings("ignore:Do not use the `random` module")
    def test_equals_the_reference_with_gradients(self, num_words, drawn, power, scale, seed):
        torch.manual_seed(seed)
        vocabulary, noise = zipf_vocabulary(num_words), [word % num_words for word in drawn]
        loss = self.make(vocabulary, len(noise), power=power).double()
        fix_noise(loss, noise)
        output = random_output(num_words, 3, scale)
        hidden = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
        targets = torch.randint(num_words, (2, 4))
        leaves = [hidden, *output.parameters()]

        actual = loss(output, hidden, targets)
        probabilities = noise_probabilities(vocabulary, power)
        expected = [
            self.reference_loss(loss, probabilities, output.weight @ state + output.bias, int(target), noise)
            for state, target in zip(hidden.flatten(0, 1), targets.flatten(), strict=True)
        ]
        expected = torch.stack(expected).view(2, 4)
        torch.testing.assert_close(actual, expected)
        weights = torch.rand(2, 4, dtype=torch.float64)
        actual_gradients = torch.autograd.grad((weights * actual).sum(), leaves)
        expected_gradients = torch.autograd.grad((weights * expected).sum(), leaves)
        torch.testing.assert_close(actual_gradients, expected_gradients)

    def test_mean_gradient_approaches_that_of_the_likelihood(self):
        """The exact mean over all possible draws, without sampling."""
        errors = [self.gradient_error(num_samples) for num_samples in (1, 4, 16)]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < self.max_gradient_error

    def gradient_error(self, num_samples: int) -> float:
        vocabulary = Vocabulary(["a", "b", "c", "d"], [8, 4, 2, 1])
        probabilities = noise_probabilities(vocabulary, 0.75)
        data = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=torch.float64)
        model = torch.tensor([0.5, 0.15, 0.15, 0.2], dtype=torch.float64)
        output, hidden = random_output(4, 1), torch.zeros(1, 4, 1, dtype=torch.float64)
        # A softmax with the normalizer V, the default of noise-contrastive estimation.
        output.bias.data = model.log() + math.log(4)
        loss = self.make(vocabulary, num_samples, power=0.75).double()
        total = torch.zeros((), dtype=torch.float64)
        for noise in itertools.combinations_with_replacement(range(4), num_samples):
            orders = math.factorial(num_samples)
            for word in range(4):
                orders //= math.factorial(noise.count(word))
            fix_noise(loss, list(noise))
            chance = orders * math.prod(probabilities[word] for word in noise)
            total = total + chance * (data * loss(output, hidden, torch.arange(4)[None])).sum()
        (gradient,) = torch.autograd.grad(total, [output.bias])
        exact = model - data
        return ((gradient - exact).norm() / exact.norm()).item()

    def test_training_converges_to_the_distribution(self):
        torch.manual_seed(0)
        vocabulary, contexts = zipf_vocabulary(20), torch.eye(3, dtype=torch.float64)
        unigram = torch.tensor(noise_probabilities(vocabulary, 1.0), dtype=torch.float64)
        truth = (1.5 * torch.randn(3, 20, dtype=torch.float64) + unigram.log()).softmax(1)
        loss, output = self.make(vocabulary, 200).double(), random_output(20, 3, 0.1)
        hidden, targets = contexts[:, None].expand(3, 20, 3), torch.arange(20).expand(3, 20)
        steps = 400
        optimizer = torch.optim.Adam([*output.parameters(), *loss.parameters()], lr=0.1)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            (truth * loss(output, hidden, targets)).sum().backward()
            optimizer.step()
            schedule.step()
        divergence = (truth * (truth.log() - output.log_probability(hidden, targets))).sum(1)
        assert divergence.max() < self.max_kl_divergence

    def test_shape_and_gradients(self):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(12), 30), random_output(12, 4).float()
        hidden, targets = torch.randn(3, 5, 4, requires_grad=True), torch.randint(12, (3, 5))
        losses = loss(output, hidden, targets)
        assert losses.shape == (3, 5) and losses.dtype == torch.float32 and losses.isfinite().all()
        losses.sum().backward()
        for leaf in (hidden, *output.parameters()):
            assert leaf.grad.isfinite().all() and leaf.grad.abs().sum() > 0

    @pytest.mark.parametrize("scale", [30.0, 1e4])
    def test_huge_logits_give_finite_losses(self, scale):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(12), 7), random_output(12, 4).float()
        hidden = (scale * torch.randn(8, 5, 4)).requires_grad_()
        losses = loss(output, hidden, torch.randint(12, (8, 5)))
        losses.mean().backward()
        assert losses.isfinite().all() and losses.max() > scale / 10
        assert hidden.grad.isfinite().all() and output.weight.grad.isfinite().all()

    def test_half_precision_logits_are_converted_to_single_precision(self):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(12), 30).bfloat16(), random_output(12, 4).bfloat16()
        hidden, targets = torch.randn(3, 5, 4).bfloat16(), torch.randint(12, (3, 5))
        fix_noise(loss, loss.noise.sample(30).tolist())
        exact = loss.double()(output.double(), hidden.double(), targets)
        rounded = loss.bfloat16()(output.bfloat16(), hidden, targets)
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded.double(), exact, rtol=0.02, atol=0.02)

    def test_noise_depends_only_on_the_global_generator(self):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(40), 10), random_output(40, 4)
        hidden, targets = torch.randn(2, 3, 4, dtype=torch.float64), torch.randint(40, (2, 3))
        results = []
        for seed, training in ((1, True), (1, False), (2, True)):
            torch.manual_seed(seed)
            results.append(loss.train(training)(output, hidden, targets))
        assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])

    def test_noise_is_moved_with_the_loss_but_not_saved(self):
        loss = self.make(zipf_vocabulary(40), 10)
        assert not loss.state_dict()
        # The only other device that is always available.
        assert loss.to("meta").noise.sample(10).device.type == "meta"

    def test_outputs_without_logits_of_words_are_rejected(self):
        table = WordAllocation.in_order(9, (3, 3))
        parts = (MultiComponentEmbedding(table, 4), LSTMCore(4, 4), _CodesOnly(table, 4))
        with pytest.raises(ValueError, match=r"_CodesOnly does not provide; set model/loss=exact"):
            LanguageModel(*parts, self.make(zipf_vocabulary(9), 5))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_samples": 0}, "model.loss.num_samples must be an integer greater than or equal to 1, got 0"),
            ({"num_samples": 5, "power": 1.5}, "model.loss.power must be a number from 0 to 1 .* got 1.5"),
            ({"num_samples": 5, "power": -0.5}, "model.loss.power must be a number from 0 to 1 .* got -0.5"),
        ],
    )
    def test_invalid_options_are_rejected(self, options, message):
        with pytest.raises(ValueError, match=message):
            self.make(zipf_vocabulary(9), **options)
