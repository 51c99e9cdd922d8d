"""A lower bound from each axis alone: words to codes, each code as often as it has cells.

An assignment of words to cells gives every code of an axis to as many words as it has cells, so the cheapest such
transport of each axis, summed over the axes, is below the cost of any table.  The transport is solved by an auction
whose objects are the places of a code (Bertsekas and Castañón, 1989, "similar objects"); the bound is the Lagrangian
dual at its prices, hence valid however far the auction came.  Knows one axis at a time and no cells.
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
    """Sum over the axes of the cheapest transport's bound, each within some ``tolerance`` of its excess."""
    return sum(
        transport_bound(problem, axis, transport_prices(problem, axis, tolerance))
        for axis in range(problem.num_components)
    )


def transport_bound(problem: ReallocationProblem, axis: int, prices: Float[np.ndarray, " side"]) -> float:
    """The Lagrangian dual of the transport of one axis at ``prices``: a lower bound for any prices whatever."""
    cost, capacity = problem.costs[axis], problem.capacities(axis)
    used = np.flatnonzero(capacity)
    num_empty = problem.num_cells - problem.num_words
    total = num_empty * prices[used].min() - capacity @ prices
    for start in range(0, len(cost), _CHUNK):
        total += (cost[start : start + _CHUNK, used] + prices[used]).min(axis=1).sum()
    return float(total)


def transport_prices(problem: ReallocationProblem, axis: int, tolerance: float = 1e-4) -> Float[np.ndarray, " side"]:
    """Prices at which the words' own choices nearly fill every code of ``axis`` as often as it has cells.

    Args:
        problem: Whose axis is meant.
        axis: Which one.
        tolerance: The last increment of a bid, as a share of a word's mean excess over its cheapest code.
    """
    cost, capacity = problem.costs[axis], problem.capacities(axis)
    prices = np.zeros(len(capacity))
    # Zipf's law makes the range useless as a scale; a mean over the words is what a typical bid is about.
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
    """A cheap code for each word, each code given to as many words as it has cells at most.

    The mean cost is within ``tolerance`` mean excesses of the cheapest possible.

    Args:
        cost: What each word pays for each code; finite.
        capacities: Cells of each code, at least V in all.
        tolerance: See above.
    """
    prices = np.zeros(len(capacities))
    holders = np.zeros(0, dtype=np.int64)
    last = max(tolerance * mean_excess(cost), 1e-12)
    epsilon = max(mean_excess(cost) / 4, last)
    while True:
        holders = _auction_codes(cost, capacities, prices, epsilon, np.iinfo(np.int64).max)
        if epsilon <= last:
            break
        epsilon = max(epsilon / _SCALING, last)
    codes = np.empty(len(cost), dtype=np.int64)
    places = np.repeat(np.arange(len(capacities)), capacities)
    is_word = (holders >= 0) & (holders < len(cost))
    codes[holders[is_word]] = places[is_word]
    return codes


@numba.njit(cache=True)
@no_type_check
def mean_excess(cost):
    """Mean over the words of the mean finite cost above the cheapest, shape (V, side) -> one number."""
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
    """Largest absolute value among the finite costs, shape (V, side) -> one number."""
    largest = 0.0
    for word in range(cost.shape[0]):
        for code in range(cost.shape[1]):
            value = abs(cost[word, code])
            if value < np.inf and value > largest:
                largest = value
    return largest


@numba.njit(cache=True)
@no_type_check
def _auction_codes(cost, capacity, prices, epsilon, max_bids):
    """One phase: all words bid until each has a place, or ``max_bids`` are through; changes ``prices`` in place.

    Returns who holds each place, the places of a code side by side; -1 where the bids ran out.

    A code's price is that of its cheapest place, the top of a heap of (bid, word).  Words at and beyond V are the
    cells left empty, which cost nothing anywhere.
    """
    num_words, side = cost.shape
    first = np.zeros(side + 1, np.int64)
    for code in range(side):
        first[code + 1] = first[code] + capacity[code]
    num_places = first[side]
    bids = np.empty(num_places)
    holders = np.full(num_places, -1)
    for code in range(side):
        bids[first[code] : first[code + 1]] = prices[code]
    waiting = np.arange(num_places)
    num_waiting = num_places
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
        evicted = holders[begin]
        _replace_top(bids, holders, begin, first[chosen + 1], raised, word)
        prices[chosen] = bids[begin]
        if evicted >= 0:
            waiting[num_waiting] = evicted
            num_waiting += 1
    return holders


@numba.njit(cache=True, inline="always")
@no_type_check
def _replace_top(bids, holders, begin, end, bid, holder):
    """Put a new entry in place of the smallest of the heap ``bids[begin:end]``."""
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
        holders[begin + at] = holders[begin + child]
        at = child
    bids[begin + at] = bid
    holders[begin + at] = holder
