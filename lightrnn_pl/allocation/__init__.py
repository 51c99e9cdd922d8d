"""The word allocation, loss statistics, and the reallocation problem with its solvers; arrays only, no network."""

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides

__all__ = ["ReallocationProblem", "ReallocationResult", "WordAllocation", "balanced_sides"]
