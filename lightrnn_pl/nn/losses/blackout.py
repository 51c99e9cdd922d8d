"""BlackOut (Ji et al. 2015): a softmax over the target and the noise words that also penalizes the noise words.

    p(w) = exp(logit(w)) / q(w) / (exp(logit(t)) / q(t) + sum over noise words n of exp(logit(n)) / q(n))
    loss = -log p(t) - sum over noise words n of log(1 - p(n))

where t is the target and q the noise distribution.  BlackOut is noise-contrastive estimation with a normalizer that is
estimated from the same noise.  For large S, the gradient approaches that of the exact likelihood.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.nn.losses.sampled import SampledLoss
from lightrnn_pl.vocabulary import Vocabulary


class BlackoutLoss(SampledLoss):
    """The BlackOut loss.  Noise words that equal the target are not removed.

    Only then is the expected sum over the noise S times the normalizer of the softmax.  Without such words, the model
    would become overconfident in words that are likely to be drawn.

    Args:
        vocabulary: The vocabulary, whose counts determine the noise distribution.
        num_samples: S, the number of noise words per minibatch (K in the paper).
        power: Exponent of the counts in the noise distribution (alpha in the paper).
    """

    def __init__(self, vocabulary: Vocabulary, num_samples: int = 500, power: float = 0.4) -> None:
        super().__init__(vocabulary, num_samples, power)

    @override
    def compare(
        self,
        own: Float[Tensor, " N"],
        others: Float[Tensor, "N S"],
        words: Int[Tensor, " N"],
        noise: Int[Tensor, " S"],
    ) -> Float[Tensor, " N"]:
        target = own - self.noise.log_probability(words, own.dtype)
        weighted = torch.cat([target[:, None], others - self.noise.log_probability(noise, own.dtype)], 1)
        log_total = weighted.logsumexp(1)
        # 1 - p loses precision if p is close to one, which only the largest can be.  Use the sum of all others instead.
        top = weighted.argmax(1, keepdim=True)
        log_rest = weighted.scatter(1, top, float("-inf")).logsumexp(1) - log_total
        log_p = (weighted - log_total[:, None]).scatter(1, top, float("-inf"))
        log_not = torch.log1p(-log_p.exp())[:, 1:].sum(1) + torch.where(top[:, 0] > 0, log_rest, 0.0)
        return log_total - target - log_not
