"""Initial allocations whose rows are balanced clusters of word vectors."""

from __future__ import annotations

import abc
import logging
import math
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from lightrnn_pl.allocation.initial.base import InitialAllocation
from lightrnn_pl.allocation.initial.clustering import balanced_clusters, column_clusters
from lightrnn_pl.allocation.word_allocation import WordAllocation, validate_sides

log = logging.getLogger(__name__)

_LONGEST_ROW = 1000
"""Cells of a row whose words are assigned to columns exactly, which takes a twentieth of a second in each iteration."""


class ClusteredAllocation(InitialAllocation):
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
        """See InitialAllocation."""
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
