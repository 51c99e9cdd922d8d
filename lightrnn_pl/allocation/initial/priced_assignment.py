"""Assigns many words to clusters with capacities, without the costs of all words in all clusters.

This is online dual ascent: each cluster has a price, which increases with each word that chooses the cluster.  A word
chooses the cluster with the smallest sum of cost and price.  After a few passes the choices nearly respect the
capacities.  The last pass enforces the capacities, most frequent words first, and an auction then reassigns the words
for which another cluster is nearly as good, or better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int

from lightrnn_pl.allocation.initial.progress_bar import Advance
from lightrnn_pl.allocation.solvers.transport import assign_codes

BLOCK = 4096
"""Words whose costs are computed at a time."""

AUCTION_COSTS = 1 << 25
"""Number of costs of the auction, in float32: about 38,000 words and 891 rows."""

_AUCTION_TOLERANCE = 1e-2

_FIRST_STEP, _LAST_STEP = 10.0, 0.1
"""The price of a cluster increases by this multiple of the mean excess cost while it is filled once."""

Costs: TypeAlias = Callable[[Int[np.ndarray, " words"]], Float[np.ndarray, "words clusters"]]
"""Computes the costs of words, float32; the result is overwritten."""


class PricedAssignment:
    """The prices of the clusters, which are kept from pass to pass.

    Args:
        costs: Costs of words; may change between passes.
        num_words: V.  Words are in the order of descending frequency.
        capacities: Maximum number of words of each cluster, in total at least V.
        passes: Number of passes over the words, including the last one.
        generator: Random numbers for the order of the words.
        advance: Called with the number of words of each block.
    """

    def __init__(
        self,
        costs: Costs,
        num_words: int,
        capacities: Int[np.ndarray, " clusters"],
        passes: int,
        generator: np.random.Generator,
        advance: Advance,
    ) -> None:
        self._num_words = num_words
        self._capacities = capacities
        self._advance = advance
        self._order = generator.permutation(num_words)
        self._mean_capacity = float(capacities.mean())
        self._prices = np.where(capacities > 0, 0, np.inf).astype(np.float32)
        self._relative_steps = (self._mean_capacity / np.maximum(capacities, 1)).astype(np.float32)
        sample = costs(self._order[:BLOCK])
        excess = float((sample.mean(axis=1) - sample.min(axis=1)).mean()) / self._mean_capacity
        steps = np.geomspace(_FIRST_STEP, _LAST_STEP, passes - 1, dtype=np.float32) * np.float32(excess)
        self.steps: list[np.float32] = list(steps)
        """The steps of the passes except the last one, for :meth:`choose`."""

    def choose(self, costs: Costs, step: np.float32) -> Int[np.ndarray, " V"]:
        """One pass, in which clusters may exceed their capacities."""
        clusters = np.empty(self._num_words, dtype=np.int64)
        unlimited = np.where(self._capacities > 0, np.iinfo(np.int64).max, 0)
        for start in range(0, self._num_words, BLOCK):
            block = self._order[start : start + BLOCK]
            clusters[block] = choose_in_order(costs(block), self._prices, step * self._relative_steps, unlimited)
            # The expected increase, so that prices remain at zero where the capacity is not used up.
            expected = step * self._mean_capacity * len(block) / self._num_words
            np.maximum(self._prices - expected, 0, out=self._prices)
            self._advance(len(block))
        return clusters

    def assign(self, costs: Costs) -> Int[np.ndarray, " V"]:
        """The last pass, which respects the capacities."""
        clusters = np.empty(self._num_words, dtype=np.int64)
        free = self._capacities.astype(np.int64)
        prices = np.where(free > 0, self._prices, np.inf).astype(np.float32)
        advantages = np.empty(self._num_words, dtype=np.float32)
        for start in range(0, self._num_words, BLOCK):
            block = np.arange(start, min(start + BLOCK, self._num_words))
            block_costs = costs(block)
            clusters[block] = choose_in_order(block_costs, prices, np.zeros_like(prices), free)
            block_costs += self._prices
            chosen = np.arange(len(block)), clusters[block]
            own = block_costs[chosen]
            block_costs[chosen] = np.inf
            advantages[block] = block_costs.min(axis=1) - own
            self._advance(len(block))
        return self._reassign_marginal_words(costs, clusters, advantages)

    def _reassign_marginal_words(
        self, costs: Costs, clusters: Int[np.ndarray, " V"], advantages: Float[np.ndarray, " V"]
    ) -> Int[np.ndarray, " V"]:
        """Assign the words whose cluster has the smallest advantages over other clusters again, by an auction."""
        num_marginal = min(self._num_words, max(1, AUCTION_COSTS // len(self._capacities)))
        marginal = np.sort(np.argsort(advantages, kind="stable")[:num_marginal])
        taken = np.bincount(np.delete(clusters, marginal), minlength=len(self._capacities))
        clusters[marginal] = assign_codes(costs(marginal), self._capacities - taken, _AUCTION_TOLERANCE)
        return clusters


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
@no_type_check
def choose_in_order(costs, prices, steps, free):
    """The cluster with the smallest sum of cost and price for each word, in order.

    ``prices`` and ``free``, the number of free places, are updated in place.  The price of a full cluster is infinite.
    """
    num_words, num_clusters = costs.shape
    chosen = np.empty(num_words, np.int64)
    values = np.empty(num_clusters, costs.dtype)
    for word in range(num_words):
        smallest = np.float32(np.inf)
        for cluster in range(num_clusters):
            value = costs[word, cluster] + prices[cluster]
            values[cluster] = value
            smallest = min(smallest, value)
        best = 0
        while best < num_clusters - 1 and values[best] != smallest:
            best += 1
        chosen[word] = best
        free[best] -= 1
        prices[best] = prices[best] + steps[best] if free[best] > 0 else np.float32(np.inf)
    return chosen
