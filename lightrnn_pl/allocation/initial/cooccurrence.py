"""An initial allocation from the co-occurrence of words in the training text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from lightrnn_pl.allocation.initial.clustered import ClusteredAllocation
from lightrnn_pl.allocation.initial.cooccurrence_vectors import cooccurrence_vectors


class CooccurrenceAllocation(ClusteredAllocation):
    """Rows are balanced clusters of words that occur in the same places.

    Args:
        dimension: Of the co-occurrence vectors.
        iterations: See ClusteredAllocation.
        num_contexts: How many most frequent words are looked at as neighbours.
        columns: See ClusteredAllocation.
        seed: See ClusteredAllocation.
    """

    def __init__(
        self,
        dimension: int = 64,
        iterations: int = 12,
        num_contexts: int = 10_000,
        columns: Literal["clusters", "frequency", "random"] = "clusters",
        seed: int = 0,
    ) -> None:
        super().__init__(iterations, columns, seed)
        for name, value in (("dimension", dimension), ("num_contexts", num_contexts)):
            if value < 1:
                raise ValueError(f"allocation.{name} must be at least 1, got {value}")
        self.dimension = dimension
        self.num_contexts = num_contexts

    def vectors(self, words: Sequence[str], tokens: Any) -> np.ndarray:
        """See ClusteredAllocation; needs ``tokens``."""
        if tokens is None:
            raise ValueError("allocation=cooccurrence counts neighbours in the training text, and none was given")
        return cooccurrence_vectors(tokens, len(words), self.dimension, self.num_contexts, self.seed)
