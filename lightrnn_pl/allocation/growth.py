"""New words into the empty cells of a table, by their loss rows, with nothing retrained and no word moved.

What a new word would cost in each row and column comes from loss statistics like those of section 3.2, gathered on
text where the words occur.  A cell that fills changes what the model's masks leave out, and so the probability of
the words of its row, by as much as the new word is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lightrnn_pl.allocation.problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import AutoSolver, Solver
from lightrnn_pl.allocation.table import WordAllocation


def grow(allocation: WordAllocation, costs: Sequence[np.ndarray], solver: Solver | None = None) -> WordAllocation:
    """The table with the new words in it, numbered after those it has.

    Args:
        allocation: A table with at least as many empty cells as there are new words.
        costs: What each new word would cost under each code, one array (N, side) an axis, as in the problem.
        solver: Finds the cells; None means ``AutoSolver``.

    Raises:
        ValueError: If the new words do not fit, or the costs do not belong to a table of these sides.
    """
    empty = (allocation.words() < 0).cpu().numpy()
    sides = tuple(np.shape(cost)[-1] for cost in costs)
    if sides != allocation.sides:
        raise ValueError(f"costs for a table of sides {list(sides)}; this one has {list(allocation.sides)}")
    result = (solver or AutoSolver()).solve(ReallocationProblem(costs, available=empty))
    old = allocation.codes.long()
    return WordAllocation(torch.cat([old, torch.as_tensor(result.codes, device=old.device)]), allocation.sides)
