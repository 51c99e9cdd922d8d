"""Noise-contrastive estimation (Gutmann and Hyvärinen 2012; for language models Mnih and Teh 2012).

The loss discriminates the target from S noise words by one binary classification each, without normalizing the
probabilities of the model:

    p(w) = exp(logit(w)) / Z        delta(w) = log p(w) - log(S q(w))
    loss = -log sigmoid(delta(target)) - sum over noise words n of log sigmoid(-delta(n))

where q is the noise distribution.  For any S, the loss is minimal if p is the distribution of the data.  The normalizer
of the softmax then equals Z, for any choice of Z.  For large S, the gradient approaches that of the exact likelihood.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.checks import check_flag, check_number
from lightrnn_pl.nn.losses.sampled import SampledLoss
from lightrnn_pl.vocabulary import Vocabulary


class NceLoss(SampledLoss):
    """The NCE loss.  Noise words that equal the target are not removed, as the estimator requires.

    Z is the same for all contexts.  Biases can compensate for any Z, so it only matters at the start of the training.
    With the default Z = V, an untrained model, whose logits are close to zero, is normalized.  With Z = 1 (Mnih and
    Teh), all of its probabilities would be V times too high, and the first gradients would mainly decrease all logits.

    Args:
        vocabulary: The vocabulary, whose counts determine the noise distribution.
        num_samples: S, the number of noise words per minibatch.
        power: Exponent of the counts in the noise distribution.
        log_partition: Natural log of Z; None means log V.
        learn_partition: Whether log Z is a parameter with the initial value ``log_partition`` (Gutmann and Hyvärinen
            2012), which is saved with the model.

    Raises:
        ValueError: If an argument is out of range.
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
        self._initial_log_partition = float(log_partition)
        self.log_partition: nn.Parameter | float = self._initial_log_partition
        if learn_partition:
            # A vector with one element, because bundles compute fingerprints of vectors.
            self.log_partition = nn.Parameter(torch.tensor([self._initial_log_partition]))

    @override
    def initialise(self, scale: float) -> None:
        if isinstance(self.log_partition, nn.Parameter):
            nn.init.constant_(self.log_partition, self._initial_log_partition)

    @override
    def compare(
        self,
        own: Float[Tensor, " N"],
        others: Float[Tensor, "N S"],
        words: Int[Tensor, " N"],
        noise: Int[Tensor, " S"],
    ) -> Float[Tensor, " N"]:
        offset = self.log_partition + math.log(self.num_samples)
        target = own - offset - self.noise.log_probability(words, own.dtype)
        noise_deltas = others - offset - self.noise.log_probability(noise, own.dtype)
        return -F.logsigmoid(target) + F.softplus(noise_deltas).sum(1)
