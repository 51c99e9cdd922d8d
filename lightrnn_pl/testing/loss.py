"""What every sampled loss must keep to: subclass ``LossContract``, name the class and write its slow twin."""

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
from lightrnn_pl.nn.outputs import FullOutput, MultiComponentOutput
from lightrnn_pl.vocabulary import Vocabulary


def zipf_vocabulary(num_words: int) -> Vocabulary:
    """Counts that fall as 1 / rank, down to a marker that was never seen."""
    counts = np.array([1000 // rank for rank in range(1, num_words)] + [0])
    return Vocabulary([f"w{word}" for word in range(num_words)], counts)


def noise_probabilities(vocabulary: Vocabulary, power: float) -> list[float]:
    weights = [max(int(count), 1) ** power for count in vocabulary.counts]
    return [weight / sum(weights) for weight in weights]


def random_output(num_words: int, hidden_dim: int, scale: float = 1.0) -> FullOutput:
    output = FullOutput(WordAllocation.in_order(num_words, (num_words,)), hidden_dim).double()
    output.initialise(scale)
    return output


def fix_noise(loss, noise: list[int]) -> None:
    """Let every draw be this one."""
    loss.noise.sample = lambda num: torch.tensor(noise)


class LossContract:
    """Set ``loss_class`` and the bounds, and give ``twin``."""

    loss_class: type
    largest_error_of_16_samples = 0.1
    largest_kl = 4e-3

    def twin(self, loss, probabilities, scores, target, noise):
        """The loss of one position, by plain arithmetic on numbers.

        Args:
            loss: Whose options to use.
            probabilities: q, a list over the vocabulary.
            scores: Scores of all words, a float64 vector.
            target: The word.
            noise: The words drawn, a list.
        """
        raise NotImplementedError

    def make(self, vocabulary, num_samples, **options):
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
    def test_equals_its_slow_twin(self, num_words, drawn, power, scale, seed):
        torch.manual_seed(seed)
        vocabulary, noise = zipf_vocabulary(num_words), [word % num_words for word in drawn]
        loss = self.make(vocabulary, len(noise), power=power).double()
        fix_noise(loss, noise)
        output = random_output(num_words, 3, scale)
        hidden = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
        targets = torch.randint(num_words, (2, 4))
        leaves = [hidden, *output.parameters()]

        fast = loss(output, hidden, targets)
        probabilities = noise_probabilities(vocabulary, power)
        slow = [
            self.twin(loss, probabilities, output.weight @ state + output.bias, int(target), noise)
            for state, target in zip(hidden.flatten(0, 1), targets.flatten(), strict=True)
        ]
        slow = torch.stack(slow).view(2, 4)
        torch.testing.assert_close(fast, slow)
        weights = torch.rand(2, 4, dtype=torch.float64)
        fast_gradients = torch.autograd.grad((weights * fast).sum(), leaves)
        slow_gradients = torch.autograd.grad((weights * slow).sum(), leaves)
        for one, other in zip(fast_gradients, slow_gradients, strict=True):
            torch.testing.assert_close(one, other)

    def test_the_mean_gradient_goes_to_that_of_the_likelihood(self):
        """Over all possible draws, each with its probability: nothing here is sampled."""
        errors = [self.gradient_error(num_samples) for num_samples in (1, 4, 16)]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < self.largest_error_of_16_samples

    def gradient_error(self, num_samples: int) -> float:
        vocabulary = Vocabulary(["a", "b", "c", "d"], [8, 4, 2, 1])
        probabilities = noise_probabilities(vocabulary, 0.75)
        data = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=torch.float64)
        model = torch.tensor([0.5, 0.15, 0.15, 0.2], dtype=torch.float64)
        output, hidden = random_output(4, 1), torch.zeros(1, 4, 1, dtype=torch.float64)
        # A softmax whose normaliser is V, which noise-contrastive estimation takes for granted.
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

    def test_training_finds_the_distribution(self):
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
        assert divergence.max() < self.largest_kl

    def test_has_the_shape_of_the_targets_and_trains_what_is_below(self):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(12), 30), random_output(12, 4).float()
        hidden, targets = torch.randn(3, 5, 4, requires_grad=True), torch.randint(12, (3, 5))
        losses = loss(output, hidden, targets)
        assert losses.shape == (3, 5) and losses.dtype == torch.float32 and losses.isfinite().all()
        losses.sum().backward()
        for leaf in (hidden, *output.parameters()):
            assert leaf.grad.isfinite().all() and leaf.grad.abs().sum() > 0

    @pytest.mark.parametrize("scale", [30.0, 1e4])
    def test_scores_of_any_size_stay_finite(self, scale):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(12), 7), random_output(12, 4).float()
        hidden = (scale * torch.randn(8, 5, 4)).requires_grad_()
        losses = loss(output, hidden, torch.randint(12, (8, 5)))
        losses.mean().backward()
        assert losses.isfinite().all() and losses.max() > scale / 10
        assert hidden.grad.isfinite().all() and output.weight.grad.isfinite().all()

    def test_half_precision_scores_are_compared_in_single(self):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(12), 30).bfloat16(), random_output(12, 4).bfloat16()
        hidden, targets = torch.randn(3, 5, 4).bfloat16(), torch.randint(12, (3, 5))
        fix_noise(loss, loss.noise.sample(30).tolist())
        exact = loss.double()(output.double(), hidden.double(), targets)
        rounded = loss.bfloat16()(output.bfloat16(), hidden, targets)
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(rounded.double(), exact, rtol=0.02, atol=0.02)

    def test_the_generator_alone_decides_the_noise(self):
        torch.manual_seed(0)
        loss, output = self.make(zipf_vocabulary(40), 10), random_output(40, 4)
        hidden, targets = torch.randn(2, 3, 4, dtype=torch.float64), torch.randint(40, (2, 3))
        results = []
        for seed, training in ((1, True), (1, False), (2, True)):
            torch.manual_seed(seed)
            results.append(loss.train(training)(output, hidden, targets))
        assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])

    def test_the_noise_follows_the_device_and_stays_out_of_checkpoints(self):
        loss = self.make(zipf_vocabulary(40), 10)
        assert not loss.state_dict()
        # The one other device that is everywhere.
        assert loss.to("meta").noise.sample(10).device.type == "meta"

    def test_an_output_without_scores_of_words_is_refused(self):
        table = WordAllocation.in_order(9, (3, 3))
        parts = (MultiComponentEmbedding(table, 4), LSTMCore(4, 4), MultiComponentOutput(table, 4))
        with pytest.raises(ValueError, match=r"MultiComponentOutput does not have; set model/loss=exact"):
            LanguageModel(*parts, self.make(zipf_vocabulary(9), 5))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_samples": 0}, "model.loss.num_samples must be a whole number of at least 1, got 0"),
            ({"num_samples": 5, "power": 1.5}, "model.loss.power must be a number from 0 to 1 .* got 1.5"),
            ({"num_samples": 5, "power": -0.5}, "model.loss.power must be a number from 0 to 1 .* got -0.5"),
        ],
    )
    def test_impossible_options_are_refused_by_name(self, options, message):
        with pytest.raises(ValueError, match=message):
            self.make(zipf_vocabulary(9), **options)
