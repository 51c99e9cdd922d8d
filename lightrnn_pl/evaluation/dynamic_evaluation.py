"""Dynamic evaluation: the model learns from the text after scoring it (Krause et al. 2018).

The text is one stream of short segments.  A segment is scored, and only then do its gradients change the weights with
which the next segment is scored:

    weights <- weights - learning_rate * gradient / scale + decay * pull * (initial weights - weights)

``sgd``: scale and pull are 1 (Equation 6).  ``rms``: scale is the root of the mean square of each gradient over
segments of the training text, plus a constant, and pull is that root divided by its mean over all weights, limited such
that decay * pull is at most 1 (Equations 7 and 8).  The gradient is that of the mean loss of a segment.

The learning rate and the decay minimize the perplexity of the beginning of the validation text.  The weights of the
given model are never changed.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import WordLosses, sum_by_word
from lightrnn_pl.nn.cores import detach_state
from lightrnn_pl.nn.language_model import LanguageModel

METHODS = ("sgd", "rms")

_EPSILON = 1e-3
"""The constant that is added to the scale of ``rms``, as in the authors' implementation."""


@dataclass(frozen=True)
class Adaptation:
    """How a model learns from the text that it has scored.

    Attributes:
        learning_rate: The learning rate.
        decay: How far the weights return to their initial values after each segment; 1 means completely.
    """

    learning_rate: float
    decay: float


class DynamicEvaluation:
    """Evaluates copies of a model that learn from the text.

    Args:
        model: The model, which is not changed.
        device: The device of the model.
        segment_words: Number of words of a segment.  The segments of a window are equally long, except for the last.
        statistics: The root mean square of the gradient of each parameter, for ``rms``; None for ``sgd``.
    """

    def __init__(
        self,
        model: LanguageModel,
        device: torch.device,
        segment_words: int,
        statistics: Sequence[Tensor] | None = None,
    ) -> None:
        self._model, self._device, self._segment_words = model, device, segment_words
        self._statistics = statistics

    def losses(self, batches: Iterable[Batch], adaptation: Adaptation) -> WordLosses:
        """The loss by word of a text that is read as a single stream."""
        return sum_by_word(self.scores(batches, adaptation), self._model.allocation.num_words)

    def tune(
        self, read: Callable[[], Iterable[Batch]], rates: Sequence[float], decays: Sequence[float], max_words: int
    ) -> tuple[Adaptation, int]:
        """The best settings on the first ``max_words`` tokens of a text, and the number of these tokens.

        Args:
            read: Returns the batches of the text from its start.
            rates: The learning rates to choose from.
            decays: The decays to choose from.
            max_words: When to stop reading.
        """
        best, least, number = Adaptation(rates[0], decays[0]), math.inf, 0
        for rate, decay in itertools.product(rates, decays):
            adaptation, total, tokens = Adaptation(rate, decay), 0.0, 0
            for targets, scores in self.scores(read(), adaptation):
                total -= float(scores.sum())
                tokens += len(targets)
                # Losses are positive, so a total that is already too large stays so.  A diverged total is nan.
                if tokens >= max_words or not total < least:
                    break
            number = max(number, tokens)
            if total < least:
                best, least = adaptation, total
        return best, number

    def scores(self, batches: Iterable[Batch], adaptation: Adaptation) -> Iterator[tuple[Tensor, Tensor]]:
        """The targets of each segment that count and their log-probabilities (float64), flattened and on the CPU."""
        model = copy.deepcopy(self._model).eval()
        weights = list(model.parameters())
        initial = [weight.detach().clone() for weight in weights]
        scales: list[Tensor] = []
        pulls: list[Tensor | float] = [adaptation.decay] * len(weights)
        if self._statistics is not None:
            mean = torch.cat([part.flatten() for part in self._statistics]).mean()
            scales = [part + _EPSILON for part in self._statistics]
            pulls = [(adaptation.decay * part / mean).clamp(max=1) for part in self._statistics]
        for targets, scores, gradients in _segment_gradients(model, batches, self._device, self._segment_words):
            yield targets, scores
            if not len(targets):
                continue
            with torch.no_grad():
                for index, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                    weight.lerp_(initial[index], pulls[index])
                    if scales:
                        weight.addcdiv_(gradient, scales[index], value=-adaptation.learning_rate)
                    else:
                        weight.sub_(gradient, alpha=adaptation.learning_rate)


def gradient_statistics(
    model: LanguageModel, batches: Iterable[Batch], device: torch.device, segment_words: int, max_words: int
) -> list[Tensor]:
    """The root mean square of the gradient of each parameter over segments of the first ``max_words`` tokens."""
    sums = [torch.zeros_like(weight) for weight in model.parameters()]
    segments = tokens = 0
    for targets, _, gradients in _segment_gradients(model, batches, device, segment_words):
        if not len(targets):
            continue
        for total, gradient in zip(sums, gradients, strict=True):
            total.addcmul_(gradient, gradient)
        segments, tokens = segments + 1, tokens + len(targets)
        if tokens >= max_words:
            break
    return [(total / max(1, segments)).sqrt_() for total in sums]


def _segment_gradients(
    model: LanguageModel, batches: Iterable[Batch], device: torch.device, segment_words: int
) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
    """The targets of each segment that count, their log-probabilities, and the gradients of their mean loss.

    The gradients are those of ``model.parameters()``, which may be changed between two segments.
    """
    weights, state = list(model.parameters()), None
    for batch in batches:
        for segment in split_window(Batch(*(part.to(device) for part in batch)), segment_words):
            # cuDNN computes gradients in training mode only, and in training mode the model has dropout.
            with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
                scores, state = model.score(segment.inputs, segment.targets, state, segment.reset)
                state = detach_state(state)
                counted = scores[segment.mask]
                gradients = torch.autograd.grad(-counted.mean(), weights, materialize_grads=True)
            yield segment.targets[segment.mask].cpu(), counted.detach().double().cpu(), list(gradients)


def split_window(batch: Batch, segment_words: int) -> Iterator[Batch]:
    """The segments of a window; only the first one resets the state."""
    reset = batch.reset
    for inputs, targets, mask in zip(*(part.split(segment_words, 1) for part in batch[:3]), strict=True):
        yield Batch(inputs, targets, mask, reset)
        reset = torch.zeros_like(reset)
