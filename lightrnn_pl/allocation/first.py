"""The first table: where the words are before any loss is known (LightRNN, section 3.2, step 1).

Each class is one way, and a file in ``conf/allocation``; called with the vocabulary, it makes the table.  Knows words
and counts; what a network says of them comes later, by reallocation.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightrnn_pl.allocation.cooccurrence import balanced_clusters, cooccurrence_vectors
from lightrnn_pl.allocation.formats import read_table
from lightrnn_pl.allocation.table import WordAllocation, validate_sides


class FirstTable(abc.ABC):
    """A way to fill a table before training."""

    @abc.abstractmethod
    def __call__(
        self,
        num_words: int,
        sides: tuple[int, ...],
        words: Sequence[str],
        counts: np.ndarray,
        tokens: Any = None,
    ) -> WordAllocation:
        """The table.

        Args:
            num_words: V.
            sides: Length of each axis.
            words: The vocabulary in order of its ids, which is that of descending frequency.
            counts: Occurrences of each word in the training text, shape (V,).
            tokens: Word ids of the training text, for ways that look at co-occurrence.

        Raises:
            ValueError: If the words do not fit into a table of these sides.
        """


class RandomTable(FirstTable):
    """The paper's cold start: a random permutation of the words.

    Args:
        seed: Of the permutation alone, so that it does not depend on what else drew random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(
        self, num_words: int, sides: tuple[int, ...], words: Sequence[str], counts: np.ndarray, tokens: Any = None
    ) -> WordAllocation:
        """See FirstTable."""
        return WordAllocation.random(num_words, tuple(sides), self.seed)


class FrequencyTable(FirstTable):
    """Words in order of frequency, so that a row holds words about equally frequent."""

    def __call__(
        self, num_words: int, sides: tuple[int, ...], words: Sequence[str], counts: np.ndarray, tokens: Any = None
    ) -> WordAllocation:
        """See FirstTable."""
        return WordAllocation.in_order(num_words, tuple(sides))


class CooccurrenceTable(FirstTable):
    """Rows are balanced clusters of words that occur in the same places; the other codes are random in a row.

    Args:
        dimension: Of the co-occurrence vectors.
        iterations: Of the clustering.
        num_contexts: How many most frequent words are looked at as neighbours.
        seed: Of all that is drawn.
    """

    def __init__(self, dimension: int = 64, iterations: int = 12, num_contexts: int = 10_000, seed: int = 0) -> None:
        for name, value in (("dimension", dimension), ("iterations", iterations), ("num_contexts", num_contexts)):
            if value < 1:
                raise ValueError(f"allocation.{name} must be at least 1, got {value}")
        self.dimension = dimension
        self.iterations = iterations
        self.num_contexts = num_contexts
        self.seed = seed

    def __call__(
        self, num_words: int, sides: tuple[int, ...], words: Sequence[str], counts: np.ndarray, tokens: Any = None
    ) -> WordAllocation:
        """See FirstTable; needs ``tokens``."""
        validate_sides(num_words, tuple(sides))
        if tokens is None:
            raise ValueError("allocation=cooccurrence counts neighbours in the training text; set data.cache=true")
        line = math.prod(sides[1:])
        capacities = np.minimum(line, np.maximum(num_words - line * np.arange(sides[0]), 0))
        vectors = cooccurrence_vectors(tokens, num_words, self.dimension, self.num_contexts, self.seed)
        rows = balanced_clusters(vectors, counts, capacities, self.iterations, self.seed)
        # Words of a row take its first cells in random order, so that empty cells come last.
        order = np.lexsort((np.random.default_rng(self.seed).random(num_words), rows))
        places = np.empty(num_words, dtype=np.int64)
        places[order] = np.arange(num_words) - np.searchsorted(rows[order], rows[order])
        codes = np.stack(np.unravel_index(rows * line + places, tuple(sides)), -1)
        return WordAllocation(torch.from_numpy(codes), tuple(sides))


class TableFromFile(FirstTable):
    """A table that somebody kept: see ``formats`` for what the file looks like.

    Args:
        path: A .tsv, .csv or .parquet file with a cell for every word of the vocabulary.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __call__(
        self, num_words: int, sides: tuple[int, ...], words: Sequence[str], counts: np.ndarray, tokens: Any = None
    ) -> WordAllocation:
        """See FirstTable; the file must also have as many codes as the table has axes, and none beyond its sides."""
        codes, needed = read_table(self.path, words)
        if len(needed) != len(sides) or any(need > side for need, side in zip(needed, sides, strict=True)):
            raise ValueError(
                f"{self.path} needs a table of sides {list(needed)} and the model's has {list(sides)}; set "
                f"model.sides={list(needed)}"
            )
        return WordAllocation(codes, tuple(sides))
