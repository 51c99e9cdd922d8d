"""The transportation problem of a single axis: words are assigned to codes with capacities.

An assignment of words to cells uses each code of an axis at most as often as the code has cells.  Therefore the sum of
the optimal transports of all axes is a lower bound of the cost of any allocation.  Each transport is solved by an
auction whose objects are the slots of a code (Bertsekas and Castañón, 1989, "similar objects").  The bound is the
Lagrangian dual at the prices, so it is valid at any stage of the auction.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem

_SCALING = 5.0
_BIDS_PER_WORD = 200
_CHUNK = 8192


def separable_bound(problem: ReallocationProblem, tolerance: float = 1e-4) -> float:
    """The sum of the ``transport_bound`` of all axes, a lower bound of the cost of any allocation."""
    return sum(
        transport_bound(problem, axis, transport_prices(problem, axis, tolerance))
        for axis in range(problem.num_components)
    )


def transport_bound(problem: ReallocationProblem, axis: int, prices: Float[np.ndarray, " side"]) -> float:
    """The Lagrangian dual of the transport of one axis at ``prices``, which is a lower bound for any prices."""
    cost, capacity = problem.costs[axis], problem.capacities(axis)
    used = np.flatnonzero(capacity)
    num_empty = problem.num_cells - problem.num_words
    total = num_empty * prices[used].min() - capacity @ prices
    for start in range(0, len(cost), _CHUNK):
        total += (cost[start : start + _CHUNK, used] + prices[used]).min(axis=1).sum()
    return float(total)


def transport_prices(problem: ReallocationProblem, axis: int, tolerance: float = 1e-4) -> Float[np.ndarray, " side"]:
    """Near-optimal dual prices of the codes of ``axis``.

    Args:
        problem: The reallocation problem.
        axis: The axis of the transport, counted from 0.
        tolerance: The final epsilon of the auction, as a share of the mean excess of a word's costs over its cheapest
            code.
    """
    cost, capacity = problem.costs[axis], problem.capacities(axis)
    prices = np.zeros(len(capacity))
    # Due to Zipf's law, the range of the costs is not a useful scale.  A mean over the words matches typical bids.
    scale = mean_excess(cost)
    if scale == 0 or np.count_nonzero(capacity) < 2:
        return prices
    epsilon = scale / 4
    while True:
        _auction_codes(cost, capacity, prices, epsilon, _BIDS_PER_WORD * problem.num_cells)
        if epsilon <= tolerance * scale:
            return prices
        epsilon = max(epsilon / _SCALING, tolerance * scale)


def assign_codes(
    cost: Float[np.ndarray, "V side"], capacities: Int[np.ndarray, " side"], tolerance: float = 1e-3
) -> Int[np.ndarray, " V"]:
    """A near-optimal code for each word, with at most ``capacities[c]`` words for code c.

    Args:
        cost: Cost of each word under each code; finite.
        capacities: Maximum number of words of each code, in total at least V.
        tolerance: Maximum difference between the mean cost and its optimum, in units of the mean excess of a word's
            costs over its cheapest code.
    """
    prices = np.zeros(len(capacities))
    owners = np.zeros(0, dtype=np.int64)
    last = max(tolerance * mean_excess(cost), 1e-12)
    epsilon = max(mean_excess(cost) / 4, last)
    while True:
        owners = _auction_codes(cost, capacities, prices, epsilon, np.iinfo(np.int64).max)
        if epsilon <= last:
            break
        epsilon = max(epsilon / _SCALING, last)
    codes = np.empty(len(cost), dtype=np.int64)
    slots = np.repeat(np.arange(len(capacities)), capacities)
    is_word = (owners >= 0) & (owners < len(cost))
    codes[owners[is_word]] = slots[is_word]
    return codes


@numba.njit(cache=True, nogil=True)
@no_type_check
def mean_excess(cost):
    """Mean over the words of the mean finite cost above the cheapest one, for costs of shape (V, side)."""
    total = 0.0
    for word in range(cost.shape[0]):
        cheapest = np.inf
        sum_finite = 0.0
        num_finite = 0
        for code in range(cost.shape[1]):
            value = cost[word, code]
            if value < np.inf:
                cheapest = min(cheapest, value)
                sum_finite += value
                num_finite += 1
        total += sum_finite / num_finite - cheapest
    return total / cost.shape[0]


@numba.njit(cache=True)
@no_type_check
def largest_magnitude(cost):
    """Largest absolute value of the finite costs, for costs of shape (V, side)."""
    largest = 0.0
    for word in range(cost.shape[0]):
        for code in range(cost.shape[1]):
            value = abs(cost[word, code])
            if value < np.inf and value > largest:
                largest = value
    return largest


@numba.njit(cache=True, nogil=True)
@no_type_check
def _auction_codes(cost, capacity, prices, epsilon, max_bids):
    """One phase: words bid until each has a slot, or until ``max_bids`` bids were made; updates ``prices`` in place.

    The price of a code is that of its cheapest slot, the top of a heap of (bid, word).  Words numbered V and up
    represent the empty cells and have zero costs.

    Returns:
        The owner of each slot, ordered by code; -1 for slots without an owner.
    """
    num_words, side = cost.shape
    first = np.zeros(side + 1, np.int64)
    for code in range(side):
        first[code + 1] = first[code] + capacity[code]
    num_slots = first[side]
    bids = np.empty(num_slots)
    owners = np.full(num_slots, -1)
    for code in range(side):
        bids[first[code] : first[code + 1]] = prices[code]
    waiting = np.arange(num_slots)
    num_waiting = num_slots
    while num_waiting > 0 and max_bids > 0:
        max_bids -= 1
        num_waiting -= 1
        word = waiting[num_waiting]
        best, second, chosen = np.inf, np.inf, -1
        for code in range(side):
            if capacity[code] == 0:
                continue
            value = prices[code]
            if word < num_words:
                value += cost[word, code]
            if value < best:
                second = best
                best = value
                chosen = code
            elif value < second:
                second = value
        if chosen < 0:
            continue
        raised = prices[chosen] + epsilon
        if second < np.inf:
            raised += second - best
        begin = first[chosen]
        evicted = owners[begin]
        _replace_top(bids, owners, begin, first[chosen + 1], raised, word)
        prices[chosen] = bids[begin]
        if evicted >= 0:
            waiting[num_waiting] = evicted
            num_waiting += 1
    return owners


@numba.njit(cache=True, inline="always")
@no_type_check
def _replace_top(bids, owners, begin, end, bid, owner):
    """Replace the smallest entry of the heap ``bids[begin:end]``."""
    size = end - begin
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and bids[begin + child + 1] < bids[begin + child]:
            child += 1
        if bids[begin + child] >= bid:
            break
        bids[begin + at] = bids[begin + child]
        owners[begin + at] = owners[begin + child]
        at = child
    bids[begin + at] = bid
    owners[begin + at] = owner
