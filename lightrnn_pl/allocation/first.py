"""The first table: where the words are before any loss is known (LightRNN, section 3.2, step 1).

Each class is one way, and a file in ``conf/allocation``; called with the vocabulary, it makes the table.  Knows words
and counts; what a network says of them comes later, by reallocation.
"""

from __future__ import annotations

import abc
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lightrnn_pl.allocation.cooccurrence import balanced_clusters, column_clusters, cooccurrence_vectors
from lightrnn_pl.allocation.formats import read_table
from lightrnn_pl.allocation.table import WordAllocation, validate_sides
from lightrnn_pl.allocation.vectors import read_vectors, unit_length

log = logging.getLogger(__name__)

_LONGEST_ROW = 1000
"""Cells of a row whose words are assigned to columns exactly, which takes a twentieth of a second in each iteration."""


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
            tokens: Word ids of the training text, for ways that look at co-occurrence: an array or blocks of it.

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


class TableFromVectors(FirstTable):
    """Rows are balanced clusters of word vectors; where the vectors come from is the subclass's business.

    Args:
        iterations: Of the clustering.
        columns: What the other codes of a row's words mean: ``clusters``, words that differ from their rows in the same
            way share a column (in rows of up to 1,000 cells); ``frequency``, the most frequent word of each row comes
            first; ``random``, nothing.
        seed: Of all that is drawn.
    """

    def __init__(self, iterations: int, columns: Literal["clusters", "frequency", "random"], seed: int) -> None:
        if iterations < 1:
            raise ValueError(f"allocation.iterations must be at least 1, got {iterations}")
        if columns not in ("clusters", "frequency", "random"):
            raise ValueError(f"allocation.columns is clusters, frequency or random, got {columns!r}")
        self.iterations = iterations
        self.columns = columns
        self.seed = seed

    @abc.abstractmethod
    def vectors(self, words: Sequence[str], tokens: Any) -> np.ndarray:
        """A unit vector for each word, (V, dimension), zero where nothing is known of it."""

    def __call__(
        self, num_words: int, sides: tuple[int, ...], words: Sequence[str], counts: np.ndarray, tokens: Any = None
    ) -> WordAllocation:
        """See FirstTable."""
        validate_sides(num_words, tuple(sides))
        line = math.prod(sides[1:])
        capacities = np.minimum(line, np.maximum(num_words - line * np.arange(sides[0]), 0))
        log.info("Making the first table of %s words: vectors, then rows of words alike ...", f"{num_words:,}")
        started = time.monotonic()
        vectors = self.vectors(words, tokens)
        rows = balanced_clusters(vectors, counts, capacities, self.iterations, self.seed)
        columns = self.columns
        if columns == "clusters" and line > _LONGEST_ROW:
            log.warning(
                "Rows of %s cells are too long to cluster their words into columns, which are random instead; rows of "
                "up to %s would do (model.sides), or say allocation.columns=random.",
                f"{line:,}",
                f"{_LONGEST_ROW:,}",
            )
            columns = "random"
        if columns == "clusters":
            places = column_clusters(vectors, rows, counts, line, self.iterations, self.seed)
        else:
            # Words of a row take its first cells, so that empty cells come last.
            drawn = np.random.default_rng(self.seed).random(num_words)
            order = np.lexsort((drawn if columns == "random" else -np.asarray(counts), rows))
            places = np.empty(num_words, dtype=np.int64)
            places[order] = np.arange(num_words) - np.searchsorted(rows[order], rows[order])
        codes = np.stack(np.unravel_index(rows * line + places, tuple(sides)), -1)
        log.info("The first table took %.1f s.", time.monotonic() - started)
        return WordAllocation(torch.from_numpy(codes), tuple(sides))


class CooccurrenceTable(TableFromVectors):
    """Rows are balanced clusters of words that occur in the same places.

    Args:
        dimension: Of the co-occurrence vectors.
        iterations: See TableFromVectors.
        num_contexts: How many most frequent words are looked at as neighbours.
        columns: See TableFromVectors.
        seed: See TableFromVectors.
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
        """See TableFromVectors; needs ``tokens``."""
        if tokens is None:
            raise ValueError("allocation=cooccurrence counts neighbours in the training text, and none was given")
        return cooccurrence_vectors(tokens, len(words), self.dimension, self.num_contexts, self.seed)


class GivenVectorsTable(TableFromVectors):
    """Rows are balanced clusters of vectors that were made elsewhere.

    Args:
        path: A file of word vectors, see ``vectors.read_vectors``.
        iterations: See TableFromVectors.
        columns: See TableFromVectors.
        seed: See TableFromVectors.
    """

    def __init__(
        self,
        path: str | Path,
        iterations: int = 12,
        columns: Literal["clusters", "frequency", "random"] = "clusters",
        seed: int = 0,
    ) -> None:
        super().__init__(iterations, columns, seed)
        self.path = path

    def vectors(self, words: Sequence[str], tokens: Any) -> np.ndarray:
        """See TableFromVectors."""
        return unit_length(read_vectors(self.path, words))


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
