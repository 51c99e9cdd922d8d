"""The noise distribution of sampled losses: counts raised to a power, independent of the context.

    q(w) = max(count(w), 1)^power / sum over v of max(count(v), 1)^power

Words are drawn in constant time by the alias method (Walker 1977): V columns of equal mass, each split between at most
two words.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from lightrnn_pl.checks import check_count, check_number

_SCALE = 2**31 - 1
"""Thresholds are integers up to this number: they fit into int32, and converting the model's dtype does not round them.
"""


class NoiseDistribution(nn.Module):
    """Draws words on the device of the module, with the global generator of that device.

    The tables are not part of the ``state_dict``, because they are determined by the counts.

    Args:
        counts: Occurrences of each word in the training text, (V,); 0 is treated as 1.
        power: Exponent of the counts: 1 is the unigram distribution, 0 the uniform distribution.

    Raises:
        ValueError: If ``power`` is not between 0 and 1, or ``counts`` is empty.
    """

    alias: Tensor
    threshold: Tensor
    counts: Tensor

    def __init__(self, counts: NDArray[np.int64], power: float) -> None:
        super().__init__()
        check_count("the number of words to draw noise from", len(counts))
        check_number("model.loss.power", power, 0, 1, hint=" (0 is uniform noise, 1 the unigram distribution)")
        counts = np.maximum(counts, 1)
        weights = counts.astype(np.float64) ** power
        alias, threshold = _alias_table(weights)
        self.power = power
        self._log_total = math.log(weights.sum())
        self.register_buffer("alias", torch.from_numpy(alias.astype(np.int32)), persistent=False)
        self.register_buffer(
            "threshold", torch.from_numpy(np.round(threshold * _SCALE).astype(np.int32)), persistent=False
        )
        self.register_buffer("counts", torch.from_numpy(counts), persistent=False)

    def sample(self, num: int) -> Int[Tensor, " {num}"]:
        """Ids of ``num`` independently drawn words."""
        columns = torch.randint(len(self.alias), (num,), device=self.alias.device)
        draws = torch.randint(_SCALE, (num,), device=self.alias.device)
        return torch.where(draws < self.threshold[columns], columns, self.alias[columns].long())

    def log_probability(self, words: Int[Tensor, " N"], dtype: torch.dtype = torch.float32) -> Float[Tensor, " N"]:
        """Natural log of q of each word."""
        return self.power * self.counts[words].to(dtype).log() - self._log_total


def _alias_table(weights: Float64[np.ndarray, " V"]) -> tuple[Int64[np.ndarray, " V"], Float64[np.ndarray, " V"]]:
    """The second word of each column, and the share of the column that belongs to its own word.

    This is Vose's algorithm without its loop.  Small words, whose mass is less than a column, are filled up in order by
    large words.  A large word that falls below the mass of a column is filled up by the next large word.  Therefore the
    assignment depends only on the cumulative sums of the deficits of small words and of the excesses of large words.
    """
    mass = weights * (len(weights) / weights.sum())
    small, large = np.flatnonzero(mass < 1), np.flatnonzero(mass >= 1)
    alias, threshold = np.arange(len(mass)), np.ones(len(mass))
    if len(small) == 0 or len(large) == 0:
        return alias, threshold
    deficit, excess = np.cumsum(1 - mass[small]), np.cumsum(mass[large] - 1)
    # A small word is filled up by the first large word that is not exhausted before.
    before = np.concatenate([[0.0], deficit[:-1]])
    threshold[small] = mass[small]
    alias[small] = large[np.searchsorted(excess, before).clip(max=len(large) - 1)]
    # A large word is exhausted by the first small word that needs more than its rest.  The last large word is never
    # exhausted.
    last_user = np.searchsorted(deficit, excess[:-1], side="right").clip(max=len(small) - 1)
    threshold[large[:-1]] = (1 + excess[:-1] - deficit[last_user]).clip(0, 1)
    alias[large[:-1]] = large[1:]
    return alias, threshold
