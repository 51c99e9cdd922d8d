"""Importance sampling: a softmax over the target and the noise words, corrected for their probability of being drawn
(Bengio and Senécal 2008; Jean et al. 2015; Jozefowicz et al. 2016, section 3.1).

    loss = -log softmax over {target} and noise of (logit(w) - log e(w))        e(w) = 1 - (1 - q(w))^S

e(w) is the probability that w is among the distinct words of S draws from the noise distribution q.  The usual
correction S q(w) is accurate only if it is small.  Out of 4000 draws, the most frequent word is drawn dozens of times.
S q(w) counts all of these draws, but they are removed at positions whose target is that word, so the model would become
overconfident in frequent words.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.nn.losses.sampled import SampledLoss
from lightrnn_pl.vocabulary import Vocabulary


class ImportanceSamplingLoss(SampledLoss):
    """The sampled softmax loss.  Each distinct noise word is used once, except at positions where it is the target.

    Frequent words are almost always among the noise, with a correction close to zero, so their contribution to the
    normalizer is exact.  Only the contribution of rare words is estimated.  For large S, the loss approaches the exact
    one.

    Args:
        vocabulary: The vocabulary, whose counts determine the noise distribution.
        num_samples: S, the number of draws per minibatch; the number of distinct words is smaller.
        power: Exponent of the counts in the noise distribution.
    """

    distinct: ClassVar[bool] = True

    def __init__(self, vocabulary: Vocabulary, num_samples: int = 4000, power: float = 0.75) -> None:
        super().__init__(vocabulary, num_samples, power)

    @override
    def compare(
        self,
        own: Float[Tensor, " N"],
        others: Float[Tensor, "N S"],
        words: Int[Tensor, " N"],
        noise: Int[Tensor, " S"],
    ) -> Float[Tensor, " N"]:
        target = own - self._log_expected_count(words, own.dtype)
        corrected = others - self._log_expected_count(noise, own.dtype)
        competing = corrected.masked_fill(words[:, None] == noise, float("-inf"))
        return torch.cat([target[:, None], competing], 1).logsumexp(1) - target

    def _log_expected_count(self, words: Int[Tensor, " N"], dtype: torch.dtype) -> Float[Tensor, " N"]:
        probability = self.noise.log_probability(words, dtype).exp()
        return (-torch.expm1(self.num_samples * torch.log1p(-probability))).log()
