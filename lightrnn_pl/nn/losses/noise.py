"""Where sampled losses take their noise words from: counts raised to a power, drawn in constant time a word.

    q(w) = max(count(w), 1)^power / sum over v of max(count(v), 1)^power

Drawn by the alias method (Walker 1977): V columns of equal mass, each split between at most two words.  Knows counts,
not contexts: the noise is the same wherever it is needed.
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
"""Coins are whole numbers below this: what is kept fits int32, and no conversion of the model's dtype rounds it."""


class NoiseDistribution(nn.Module):
    """Draws words on the device that the module is on, from that device's global generator.

    The tables follow from the counts, so they are not part of the ``state_dict``.

    Args:
        counts: How often each word occurs in train, (V,); a word that never does counts as seen once.
        power: 1 is the unigram distribution, 0 the uniform one.

    Raises:
        ValueError: If ``power`` is not from 0 to 1, or there are no words.
    """

    alias: Tensor
    threshold: Tensor
    counts: Tensor

    def __init__(self, counts: NDArray[np.int64], power: float) -> None:
        super().__init__()
        check_count("the number of words to draw noise from", len(counts))
        check_number("model.loss.power", power, 0, 1, hint=" (0 is uniform noise, 1 the unigram distribution)")
        seen = np.maximum(counts, 1)
        weights = seen.astype(np.float64) ** power
        alias, threshold = _alias_table(weights)
        self.power = power
        self._log_total = math.log(weights.sum())
        self.register_buffer("alias", torch.from_numpy(alias.astype(np.int32)), persistent=False)
        self.register_buffer(
            "threshold", torch.from_numpy(np.round(threshold * _SCALE).astype(np.int32)), persistent=False
        )
        self.register_buffer("counts", torch.from_numpy(seen), persistent=False)

    def sample(self, num: int) -> Int[Tensor, " {num}"]:
        """Ids of ``num`` words, drawn independently of each other."""
        columns = torch.randint(len(self.alias), (num,), device=self.alias.device)
        coins = torch.randint(_SCALE, (num,), device=self.alias.device)
        return torch.where(coins < self.threshold[columns], columns, self.alias[columns].long())

    def log_probability(self, words: Int[Tensor, " N"], dtype: torch.dtype = torch.float32) -> Float[Tensor, " N"]:
        """log q of each word."""
        return self.power * self.counts[words].to(dtype).log() - self._log_total


def _alias_table(weights: Float64[np.ndarray, " V"]) -> tuple[Int64[np.ndarray, " V"], Float64[np.ndarray, " V"]]:
    """Each column's other word, and the share of the column that its own word keeps.

    Vose's sweep without its loop.  Small words, of less than a column's mass, are filled up in order by large ones; a
    large word that falls below a column's mass is filled up by the next large one.  So who fills whom depends only on
    the running sums of what is missing and of what is left over.
    """
    mass = weights * (len(weights) / weights.sum())
    small, large = np.flatnonzero(mass < 1), np.flatnonzero(mass >= 1)
    alias, threshold = np.arange(len(mass)), np.ones(len(mass))
    if len(small) == 0 or len(large) == 0:
        return alias, threshold
    missing, left_over = np.cumsum(1 - mass[small]), np.cumsum(mass[large] - 1)
    # A small word is filled up by the first large one that is not used up before it.
    before = np.concatenate([[0.0], missing[:-1]])
    threshold[small] = mass[small]
    alias[small] = large[np.searchsorted(left_over, before).clip(max=len(large) - 1)]
    # A large word is used up by the first small one that needs more than is left; the last large one serves the rest.
    user = np.searchsorted(missing, left_over[:-1], side="right").clip(max=len(small) - 1)
    threshold[large[:-1]] = (1 + left_over[:-1] - missing[user]).clip(0, 1)
    alias[large[:-1]] = large[1:]
    return alias, threshold
