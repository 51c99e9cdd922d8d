"""BlackOut (Ji et al. 2015): a softmax over target and noise words that also penalizes the noise words.

    p(w) = exp(score(w)) / q(w) / (exp(score(t)) / q(t) + sum over noise words n of exp(score(n)) / q(n))
    loss = -log p(t) - sum over noise words n of log(1 - p(n))

where t is the target.  It is noise-contrastive estimation whose normaliser is estimated from the same noise.  With
growing S the gradient goes to the exact likelihood's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.nn.losses.sampled import SampledLoss
from lightrnn_pl.vocabulary import Vocabulary


class BlackoutLoss(SampledLoss):
    """A noise word that happens to be the target stays.

    Only so is the sum over noise S times the softmax's normaliser on average.  To leave hits out would make the model
    too sure of words that S draws are likely to hit.

    Args:
        vocabulary: Whose counts make the noise distribution.
        num_samples: S, the noise words drawn a minibatch (K in the paper).
        power: Counts are raised to it (alpha in the paper).
    """

    def __init__(self, vocabulary: Vocabulary, num_samples: int = 500, power: float = 0.4) -> None:
        super().__init__(vocabulary, num_samples, power)

    def compare(
        self,
        own: Float[Tensor, " N"],
        others: Float[Tensor, "N S"],
        words: Int[Tensor, " N"],
        noise: Int[Tensor, " S"],
    ) -> Float[Tensor, " N"]:
        """See :class:`SampledLoss`."""
        target = own - self.noise.log_probability(words, own.dtype)
        weighted = torch.cat([target[:, None], others - self.noise.log_probability(noise, own.dtype)], 1)
        log_total = weighted.logsumexp(1)
        # 1 - p cancels where p is near one, which only the greatest can be: that one is the sum of all others.
        top = weighted.argmax(1, keepdim=True)
        log_rest = weighted.scatter(1, top, float("-inf")).logsumexp(1) - log_total
        log_p = (weighted - log_total[:, None]).scatter(1, top, float("-inf"))
        log_not = torch.log1p(-log_p.exp())[:, 1:].sum(1) + torch.where(top[:, 0] > 0, log_rest, 0.0)
        return log_total - target - log_not
