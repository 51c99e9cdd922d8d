"""Restricts a reallocation to the words that gain most, and to the rare words that swap cells with them.

The fewer words are reallocated, the less the meaning of the input vectors changes, and the less training has to adapt.
The selected words exchange cells among themselves; all other words keep theirs.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Real

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem


def select_words(
    problem: ReallocationProblem,
    counts: Real[np.ndarray, " V"],
    maximum_moved: int | None = None,
    minimum_gain: float = 0.0,
) -> Int[np.ndarray, " selected"]:
    """Ids of the words that may be reallocated, ascending.

    The gain of a word is the cost of all its occurrences that the cheapest code of the first axis would save.  For each
    word that wants to enter a row, the rarest remaining word of that row is selected too, since it has least to lose.

    Args:
        problem: The reallocation problem, with the current codes.
        counts: Occurrences of each word.
        maximum_moved: The largest number of selected words, including the rare ones; None means no limit.
        minimum_gain: Words that gain no more than this keep their cell, in the unit of the costs.
    """
    assert problem.codes is not None
    cost, rows = problem.costs[0], problem.codes[:, 0]
    gain = cost[np.arange(len(cost)), rows] - cost.min(axis=1)
    order = np.argsort(-gain, kind="stable")
    order = order[gain[order] > minimum_gain]
    if maximum_moved is not None:
        order = order[: maximum_moved // 2]
    is_selected = np.zeros(len(cost), dtype=bool)
    is_selected[order] = True
    num_entering = np.bincount(cost[order].argmin(axis=1), minlength=cost.shape[1])
    rarest = np.argsort(counts, kind="stable")
    rarest = rarest[~is_selected[rarest]]
    # The rank of each word among the rarest words of its own row.
    by_row = rarest[np.argsort(rows[rarest], kind="stable")]
    rank = np.arange(len(by_row)) - np.searchsorted(rows[by_row], rows[by_row])
    is_selected[by_row[rank < num_entering[rows[by_row]]]] = True
    return np.flatnonzero(is_selected)


def restrict_problem(problem: ReallocationProblem, words: Int[np.ndarray, " n"]) -> ReallocationProblem:
    """The problem reduced to ``words`` and the cells that they occupy."""
    assert problem.codes is not None
    available = np.zeros(problem.sides, dtype=bool)
    available[tuple(problem.codes[words].T)] = True
    return ReallocationProblem(tuple(cost[words] for cost in problem.costs), problem.codes[words], available)
