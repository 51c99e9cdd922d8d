"""Losses that look at the target and at some noise words instead of at the whole vocabulary.

What they train are the scores of an ordinary softmax; what is reported as a perplexity stays that softmax's exact
log-probability (``Output.log_probability``), whatever a sampled loss says of itself.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.losses.base import Loss
from lightrnn_pl.nn.losses.noise import NoiseDistribution
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.softmax import SoftmaxOutput
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary


class SampledLoss(Loss):
    """Abstract: a subclass says how a target's score is compared with those of the noise words.

    One draw of noise serves all positions of a minibatch, so that their scores are one matrix product.

    Args:
        vocabulary: Whose counts make the noise distribution.
        num_samples: S, the noise words drawn a minibatch.
        power: Counts are raised to it; 1 is the unigram distribution, 0 the uniform one.

    Raises:
        ValueError: Naming the key, if ``num_samples`` or ``power`` is out of range.
    """

    distinct: ClassVar[bool] = False
    """Whether a word that is drawn more than once is looked at once only."""

    def __init__(self, vocabulary: Vocabulary, num_samples: int, power: float) -> None:
        super().__init__()
        check_count("model.loss.num_samples", num_samples)
        self.num_samples = num_samples
        self.noise = NoiseDistribution(vocabulary.counts, power)

    def check(self, output: Output) -> None:
        """See :class:`Loss`."""
        if not isinstance(output, SoftmaxOutput):
            raise ValueError(
                f"{type(self).__name__} needs the scores of single words, which {type(output).__name__} does not have; "
                "set model/loss=exact, or choose an output with one softmax over the vocabulary, such as "
                "model/output=full"
            )

    def forward(self, output: Output, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Loss`."""
        assert isinstance(output, SoftmaxOutput)
        flat, words = hidden.flatten(0, 1), targets.flatten()
        noise = self.noise.sample(self.num_samples)
        if self.distinct:
            noise = noise.unique()
        own, others = output.own_scores(flat, words), output.scores_of(flat, noise)
        # Half precision would round a log-probability by some hundredths.
        own, others = (scores.to(torch.promote_types(scores.dtype, torch.float32)) for scores in (own, others))
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
            own: The score of the position's target.
            others: The scores of the noise words.
            words: The targets.
            noise: The noise words.
        """
