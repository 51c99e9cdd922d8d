"""The base class of losses that use the target and some noise words instead of the whole vocabulary.

They train the logits of an ordinary softmax.  Perplexities are computed from the exact log-probabilities of that
softmax (``Output.log_probability``), never from a sampled loss.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.losses.base import Loss
from lightrnn_pl.nn.losses.noise import NoiseDistribution
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.softmax import SoftmaxOutput
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary


class SampledLoss(Loss):
    """Abstract: subclasses define how the logit of a target is compared with those of the noise words.

    All positions of a minibatch share the same noise words, so that their logits are a single matrix product.

    Args:
        vocabulary: The vocabulary, whose counts determine the noise distribution.
        num_samples: S, the number of noise words per minibatch.
        power: Exponent of the counts in the noise distribution: 1 is the unigram distribution, 0 the uniform one.

    Raises:
        ValueError: If ``num_samples`` or ``power`` is out of range.
    """

    distinct: ClassVar[bool] = False
    """Whether duplicate noise words are removed."""

    def __init__(self, vocabulary: Vocabulary, num_samples: int, power: float) -> None:
        super().__init__()
        check_count("model.loss.num_samples", num_samples)
        self.num_samples = num_samples
        self.noise = NoiseDistribution(vocabulary.counts, power)

    @override
    def check(self, output: Output) -> None:
        if not isinstance(output, SoftmaxOutput):
            raise ValueError(
                f"{type(self).__name__} needs logits for individual words, which {type(output).__name__} does not "
                "provide; set model/loss=exact, or use an output with one softmax over the vocabulary, such as "
                "model/output=full"
            )

    @override
    def forward(self, output: Output, hidden: Hidden, targets: Words) -> WordScores:
        assert isinstance(output, SoftmaxOutput)
        flat, words = hidden.flatten(0, 1), targets.flatten()
        noise = self.noise.sample(self.num_samples)
        duplicates = None
        if self.distinct:
            noise, duplicates = remove_duplicates(noise) if noise.device.type == "cpu" else mark_duplicates(noise)
        own, others = output.target_logits(flat, words), output.logits_of(flat, noise)
        # Half precision has rounding errors of several hundredths in log-probabilities.
        own, others = (logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in (own, others))
        if duplicates is not None:
            others = others.masked_fill(duplicates, float("-inf"))
        return self.compare(own, others, words, noise).view(targets.shape)

    @abstractmethod
    def compare(
        self,
        own: Float[Tensor, " N"],
        others: Float[Tensor, "N S"],
        words: Int[Tensor, " N"],
        noise: Int[Tensor, " S"],
    ) -> Float[Tensor, " N"]:
        """The loss of each position.

        Args:
            own: Logits of the targets.
            others: Logits of the noise words.
            words: The targets.
            noise: The noise words.
        """


def remove_duplicates(words: Int[Tensor, " S"]) -> tuple[Int[Tensor, " U"], None]:
    """The distinct words in ascending order.  Not for GPUs, where the host would wait for their number."""
    return words.unique(), None


def mark_duplicates(words: Int[Tensor, " S"]) -> tuple[Int[Tensor, " S"], Bool[Tensor, " S"]]:
    """All words in ascending order, and which of them are equal to the one before."""
    ordered = words.sort().values
    return ordered, F.pad(ordered[1:] == ordered[:-1], (1, 0))
