"""Which words may move: those that gain most, and as many that make room for them.

A reallocation that moves few words changes little of what the input vectors mean, and can so be trained on with less
to mend.  The words chosen swap cells among themselves; all others stay.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem


def movers(
    problem: ReallocationProblem,
    counts: Int[np.ndarray, " V"],
    maximum_moved: int | None = None,
    minimum_gain: float = 0.0,
) -> Int[np.ndarray, " movers"]:
    """Ids of the words that may move, ascending.

    A word's gain is what the cheapest code of the first axis would save it, all its occurrences together.  Room is made
    in that row by its rarest words, which have least to lose.

    Args:
        problem: With the words' present codes.
        counts: Occurrences of each word.
        maximum_moved: Movers and those who make room, together; None means as many as gain enough.
        minimum_gain: In the unit of the costs; a word that would save no more than this stays.
    """
    assert problem.codes is not None
    cost, rows = problem.costs[0], problem.codes[:, 0]
    gain = cost[np.arange(len(cost)), rows] - cost.min(axis=1)
    order = np.argsort(-gain, kind="stable")
    order = order[gain[order] > minimum_gain]
    if maximum_moved is not None:
        order = order[: maximum_moved // 2]
    chosen = np.zeros(len(cost), dtype=bool)
    chosen[order] = True
    wanted = np.bincount(cost[order].argmin(axis=1), minlength=cost.shape[1])
    rarest = np.argsort(counts, kind="stable")
    rarest = rarest[~chosen[rarest]]
    # The rank of each word among the rarest of its own row.
    by_row = rarest[np.argsort(rows[rarest], kind="stable")]
    rank = np.arange(len(by_row)) - np.searchsorted(rows[by_row], rows[by_row])
    chosen[by_row[rank < wanted[rows[by_row]]]] = True
    return np.flatnonzero(chosen)


def restricted(problem: ReallocationProblem, words: Int[np.ndarray, " n"]) -> ReallocationProblem:
    """The problem of some words in the cells that they have now."""
    assert problem.codes is not None
    available = np.zeros(problem.sides, dtype=bool)
    available[tuple(problem.codes[words].T)] = True
    return ReallocationProblem(tuple(cost[words] for cost in problem.costs), problem.codes[words], available)
