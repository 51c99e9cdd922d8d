"""Softmax over the target and some noise words, corrected for how likely each was to be there (Bengio and Senécal
2008; Jean et al. 2015; Jozefowicz et al. 2016, section 3.1).

    loss = -log softmax over {target} and noise of (score(w) - log e(w))        e(w) = 1 - (1 - q(w))^S

e is the count with which S draws are expected to put w among the distinct noise words.  The common S q(w) instead is
right only where it is small: 4000 draws hit the commonest word dozens of times, and to leave out those hits at a
position whose target is that word, while e(target) counts them all, makes the model far too sure of common words.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.nn.losses.sampled import SampledLoss
from lightrnn_pl.vocabulary import Vocabulary


class ImportanceSamplingLoss(SampledLoss):
    """Noise words are looked at once, however often they were drawn, and not at all where they are the target.

    Common words are among the noise always, with a correction near zero, so their part of the normaliser is exact;
    only the rare words' part is an estimate.  With growing S the loss becomes the exact one.

    Args:
        vocabulary: Whose counts make the noise distribution.
        num_samples: S, the draws a minibatch; fewer distinct words come of them.
        power: Counts are raised to it.
    """

    distinct: ClassVar[bool] = True

    def __init__(self, vocabulary: Vocabulary, num_samples: int = 4000, power: float = 0.75) -> None:
        super().__init__(vocabulary, num_samples, power)

    def compare(
        self,
        own: Float[Tensor, " N"],
        others: Float[Tensor, "N S"],
        words: Int[Tensor, " N"],
        noise: Int[Tensor, " S"],
    ) -> Float[Tensor, " N"]:
        """See :class:`SampledLoss`."""
        target = own - self._log_expected_count(words, own.dtype)
        corrected = others - self._log_expected_count(noise, own.dtype)
        against = corrected.masked_fill(words[:, None] == noise, float("-inf"))
        return torch.cat([target[:, None], against], 1).logsumexp(1) - target

    def _log_expected_count(self, words: Int[Tensor, " N"], dtype: torch.dtype) -> Float[Tensor, " N"]:
        probability = self.noise.log_probability(words, dtype).exp()
        return (-torch.expm1(self.num_samples * torch.log1p(-probability))).log()
