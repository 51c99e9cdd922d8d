"""Noise-contrastive estimation (Gutmann and Hyvärinen 2012; for language models Mnih and Teh 2012).

Discriminates the target from S noise words with one binary decision each, without normalizing the model's
probability:

    p(w) = exp(score(w)) / Z        delta(w) = log p(w) - log(S q(w))
    loss = -log sigmoid(delta(target)) - sum over noise words n of log sigmoid(-delta(n))

For every S the loss is smallest where p is the distribution of the data, and then the softmax's own normaliser is Z,
whatever Z was chosen to be.  With growing S the gradient goes to the exact likelihood's.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lightrnn_pl.checks import check_flag, check_number
from lightrnn_pl.nn.losses.sampled import SampledLoss
from lightrnn_pl.vocabulary import Vocabulary


class NceLoss(SampledLoss):
    """A noise word that happens to be the target stays: the estimator expects its noise to hit.

    Z is one number for all contexts.  Biases can take up any Z, so it matters for the start only: with the default,
    Z = V, an untrained model (scores near zero) is normalised, whereas Z = 1 (Mnih and Teh) would have it V times too
    sure of every word, and its first gradients would do little else than press all scores down.

    Args:
        vocabulary: Whose counts make the noise distribution.
        num_samples: S, the noise words drawn a minibatch.
        power: Counts are raised to it.
        log_partition: Natural log of Z; None means log V.
        learn_partition: Z is a parameter that starts there (Gutmann and Hyvärinen 2012); it is saved with the model.

    Raises:
        ValueError: Naming the key and its value, if one is out of range.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        num_samples: int = 500,
        power: float = 0.75,
        log_partition: float | None = None,
        learn_partition: bool = False,
    ) -> None:
        super().__init__(vocabulary, num_samples, power)
        if log_partition is None:
            log_partition = math.log(len(vocabulary))
        check_number("model.loss.log_partition", log_partition, hint=", or null for log V")
        check_flag("model.loss.learn_partition", learn_partition)
        self._start = float(log_partition)
        self.log_partition: nn.Parameter | float = self._start
        if learn_partition:
            # A vector of one, because bundles take the fingerprint of vectors.
            self.log_partition = nn.Parameter(torch.tensor([self._start]))

    def initialise(self, scale: float) -> None:
        """Put a learned normaliser where it is to start."""
        if isinstance(self.log_partition, nn.Parameter):
            nn.init.constant_(self.log_partition, self._start)

    def compare(
        self,
        own: Float[Tensor, " N"],
        others: Float[Tensor, "N S"],
        words: Int[Tensor, " N"],
        noise: Int[Tensor, " S"],
    ) -> Float[Tensor, " N"]:
        """See :class:`SampledLoss`."""
        offset = self.log_partition + math.log(self.num_samples)
        target = own - offset - self.noise.log_probability(words, own.dtype)
        against = others - offset - self.noise.log_probability(noise, own.dtype)
        return -F.logsigmoid(target) + F.softplus(against).sum(1)
