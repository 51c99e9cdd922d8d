"""Estimated time and memory of an initial allocation, from constants measured on one core of a Xeon of 2023."""

from __future__ import annotations

from typing import NamedTuple

from lightrnn_pl.allocation.initial.approximate_clustering import MAX_AUCTION_ROW
from lightrnn_pl.allocation.initial.clustering import EXACT_DISTANCES
from lightrnn_pl.allocation.initial.exchange import EXCHANGED_PER_ROW
from lightrnn_pl.allocation.initial.priced_assignment import AUCTION_COSTS


class CostEstimate(NamedTuple):
    """Time on one core that has nothing else to do, and peak memory of one or several steps.

    Attributes:
        seconds: Time.
        num_bytes: Memory in addition to what is in use before.
    """

    seconds: float = 0.0
    num_bytes: float = 0.0

    def then(self, next_step: CostEstimate) -> CostEstimate:
        """The estimate of both steps, the second of which reuses the memory of the first."""
        return CostEstimate(self.seconds + next_step.seconds, max(self.num_bytes, next_step.num_bytes))

    def __str__(self) -> str:
        time = f"{self.seconds:.0f} s" if self.seconds < 100 else f"{self.seconds / 60:.0f} min"
        return f"about {time} on one core and {self.num_bytes / 2**30:.1f} GiB of memory"


def row_cost(num_words: int, num_rows: int, dimension: int, iterations: int) -> CostEstimate:
    """The cost of :func:`~lightrnn_pl.allocation.initial.clustering.balanced_clusters`."""
    distances = num_words * num_rows
    if distances <= EXACT_DISTANCES:
        return CostEstimate(4.5e-8 * iterations * distances, 4 * distances + 12 * num_words * dimension)
    return CostEstimate(6e-9 * iterations * distances, 8 * AUCTION_COSTS + 12 * num_words * dimension)


def column_cost(num_words: int, num_columns: int, dimension: int, iterations: int) -> CostEstimate:
    """The cost of :func:`~lightrnn_pl.allocation.initial.clustering.column_clusters`."""
    distances = num_words * num_columns
    is_exact = distances <= EXACT_DISTANCES and num_columns <= MAX_AUCTION_ROW
    return CostEstimate((6e-8 if is_exact else 1e-8) * iterations * distances, 16 * num_words * dimension)


def cooccurrence_cost(num_words: int, num_tokens: int, num_counted: int, dimension: int) -> CostEstimate:
    """The cost of :func:`~lightrnn_pl.allocation.initial.cooccurrence_vectors.cooccurrence_vectors`.

    Args:
        num_words: V.
        num_tokens: Number of tokens of the text.
        num_counted: Number of them that are counted.
        dimension: Dimension of the vectors.
    """
    seconds = 5e-8 * num_tokens + 1.5e-6 * num_counted + 4e-7 * num_words * dimension
    return CostEstimate(seconds, 60 * num_counted + 16 * num_words * dimension)


def exchange_cost(num_words: int, num_counted: int, num_rows: int, passes: int) -> CostEstimate:
    """The cost of :func:`~lightrnn_pl.allocation.initial.exchange.exchange_words`.

    Args:
        num_words: V.
        num_counted: Number of tokens that are counted.
        num_rows: Number of rows.
        passes: Number of passes over the frequent words.
    """
    num_moves = passes * min(num_words, EXCHANGED_PER_ROW * num_rows)
    seconds = 2e-7 * num_counted + 4e-7 * num_moves * num_rows + 5e-8 * num_words * num_rows
    return CostEstimate(seconds, 40 * num_counted + 8 * min(num_words * num_rows, AUCTION_COSTS))
