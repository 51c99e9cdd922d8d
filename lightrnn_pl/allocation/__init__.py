"""The word table and everything that decides which word sits where; numbers only, no network."""

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides

__all__ = ["ReallocationProblem", "ReallocationResult", "WordAllocation", "balanced_sides"]
