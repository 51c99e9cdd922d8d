"""The word table and everything that decides which word sits where; numbers only, no network."""

from lightrnn_pl.allocation.problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.table import WordAllocation, balanced_sides

__all__ = ["ReallocationProblem", "ReallocationResult", "WordAllocation", "balanced_sides"]
