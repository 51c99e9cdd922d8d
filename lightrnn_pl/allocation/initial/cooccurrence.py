"""An initial allocation based on the co-occurrence of words in the training text.

A LightRNN with k = 2 is a class-based language model whose classes are the rows.  Therefore the rows should be word
classes from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from typing_extensions import override

from lightrnn_pl.allocation.initial.base import ClusteredAllocation
from lightrnn_pl.allocation.initial.cooccurrence_vectors import cooccurrence_vectors, sampling_rates
from lightrnn_pl.allocation.initial.cost_estimate import CostEstimate, cooccurrence_cost, exchange_cost
from lightrnn_pl.allocation.initial.exchange import exchange_words
from lightrnn_pl.allocation.row_bands import RowBand
from lightrnn_pl.checks import check_count


class CooccurrenceAllocation(ClusteredAllocation):
    """Rows are balanced clusters of words that occur in similar contexts.

    Args:
        dimension: Dimension of the co-occurrence vectors.
        iterations: See :class:`ClusteredAllocation`.
        num_contexts: Only the most frequent words are counted as contexts; this is their number.
        columns: See :class:`ClusteredAllocation`.
        seed: See :class:`ClusteredAllocation`.
        max_tokens: In a longer text, only a sample of the occurrences of frequent words is counted, which has this
            size together with all occurrences of the other words.
        exchange_passes: If positive, frequent words are then moved between rows by this many passes of the exchange
            algorithm, and the others are assigned again; see :mod:`~lightrnn_pl.allocation.initial.class_bigrams`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        dimension: int = 64,
        iterations: int = 12,
        num_contexts: int = 10_000,
        columns: Literal["clusters", "frequency", "random"] = "clusters",
        seed: int = 0,
        max_tokens: int = 100_000_000,
        exchange_passes: int = 4,
    ) -> None:
        super().__init__(iterations, columns, seed)
        check_count("allocation.dimension", dimension)
        check_count("allocation.num_contexts", num_contexts)
        check_count("allocation.max_tokens", max_tokens)
        check_count("allocation.exchange_passes", exchange_passes, at_least=0)
        self.dimension = dimension
        self.num_contexts = num_contexts
        self.max_tokens = max_tokens
        self.exchange_passes = exchange_passes

    @override
    def vectors(self, words: Sequence[str], counts: np.ndarray, tokens: Any) -> np.ndarray:
        if tokens is None:
            raise ValueError("allocation=cooccurrence needs the training text, but tokens is None")
        rates = sampling_rates(counts, self.max_tokens)
        return cooccurrence_vectors(tokens, len(words), self.dimension, self.num_contexts, self.seed, rates)

    @override
    def vectors_cost(self, num_words: int, num_tokens: int) -> CostEstimate:
        return cooccurrence_cost(num_words, num_tokens, min(num_tokens, self.max_tokens), self.dimension)

    @override
    def refine_rows(
        self, rows: Int[np.ndarray, " V"], bands: Sequence[RowBand], counts: np.ndarray, tokens: Any
    ) -> Int[np.ndarray, " V"]:
        if not self.exchange_passes:
            return rows
        return exchange_words(rows, bands, counts, tokens, self.exchange_passes, self.max_tokens, self.seed)

    @override
    def cost(self, num_words: int, num_tokens: int, num_rows: int, row_size: int) -> CostEstimate:
        cost = super().cost(num_words, num_tokens, num_rows, row_size)
        if not self.exchange_passes:
            return cost
        return cost.then(exchange_cost(num_words, min(num_tokens, self.max_tokens), num_rows, self.exchange_passes))
