"""The base classes of initial allocations."""

from __future__ import annotations

import abc
import logging
import math
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from typing_extensions import override

from lightrnn_pl.allocation.initial.clustering import balanced_clusters, column_clusters
from lightrnn_pl.allocation.initial.cost_estimate import CostEstimate, column_cost, row_cost
from lightrnn_pl.allocation.initial.progress_bar import progress_bar
from lightrnn_pl.allocation.row_bands import RowBand
from lightrnn_pl.allocation.word_allocation import WordAllocation, validate_sides
from lightrnn_pl.checks import check_choice, check_count, check_seed

log = logging.getLogger(__name__)

_MAX_CLUSTERED_ROW = 4000
"""Largest number of cells per row for column clusters, whose time and memory are proportional to its square."""


class InitialAllocation(abc.ABC):
    """Assigns words to the cells of a table before training."""

    @abc.abstractmethod
    def __call__(
        self,
        num_words: int,
        sides: tuple[int, ...],
        words: Sequence[str],
        counts: np.ndarray,
        tokens: Any = None,
        bands: Sequence[RowBand] | None = None,
    ) -> WordAllocation:
        """Create the allocation.

        Args:
            num_words: V.
            sides: Length of each axis.
            words: The vocabulary in the order of its ids, which is that of descending frequency.
            counts: Occurrences of each word in the training text, shape (V,).
            tokens: Word ids of the training text, as an array or an iterable of blocks; only needed by allocations
                that are based on co-occurrence.
            bands: Ranges of words, and the rows that each of them fills; None if all rows have the same size.

        Raises:
            ValueError: If the words do not fit into a table of these sides.
        """


class ClusteredAllocation(InitialAllocation):
    """Abstract: rows are balanced clusters of word vectors, which subclasses provide.

    Args:
        iterations: Number of iterations of the clustering.
        columns: How the words of a row are assigned to its cells.  ``clusters``: words that differ from the mean of
            their row in a similar way share a column (for rows of up to 4,000 cells).  ``frequency``: in the order of
            descending frequency.  ``random``: at random.
        seed: Seed of all random numbers.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, iterations: int, columns: Literal["clusters", "frequency", "random"], seed: int) -> None:
        check_count("allocation.iterations", iterations)
        check_choice("allocation.columns", columns, ("clusters", "frequency", "random"))
        check_seed("allocation.seed", seed)
        self.iterations = iterations
        self.columns = columns
        self.seed = seed

    @abc.abstractmethod
    def vectors(self, words: Sequence[str], counts: np.ndarray, tokens: Any) -> np.ndarray:
        """A unit vector for each word, (V, dimension); zero for words without a vector."""

    def refine_rows(
        self, rows: Int[np.ndarray, " V"], bands: Sequence[RowBand], counts: np.ndarray, tokens: Any
    ) -> Int[np.ndarray, " V"]:
        """The final rows, each with as many words of each band as in ``rows``; by default ``rows`` themselves.

        Args:
            rows: Row of each word.
            bands: Ranges of words, and the rows that each of them fills.
            counts: Occurrences of each word.
            tokens: Word ids of the training text.
        """
        return rows

    def vectors_cost(self, num_words: int, num_tokens: int) -> CostEstimate:
        """The estimated cost of :meth:`vectors`; by default that of vectors that already exist."""
        return CostEstimate()

    def cost(self, num_words: int, num_tokens: int, num_rows: int, row_size: int) -> CostEstimate:
        """The estimated cost of an allocation without bands, whose words have 64-dimensional vectors."""
        cost = self.vectors_cost(num_words, num_tokens).then(row_cost(num_words, num_rows, 64, self.iterations))
        if self.columns == "clusters" and row_size <= _MAX_CLUSTERED_ROW:
            cost = cost.then(column_cost(num_words, row_size, 64, self.iterations))
        return cost

    @override
    def __call__(
        self,
        num_words: int,
        sides: tuple[int, ...],
        words: Sequence[str],
        counts: np.ndarray,
        tokens: Any = None,
        bands: Sequence[RowBand] | None = None,
    ) -> WordAllocation:
        validate_sides(num_words, tuple(sides))
        row_size = math.prod(sides[1:])
        log.info(
            "Creating the initial allocation of %s words by clustering word vectors:\n%s ...",
            f"{num_words:,}",
            self.cost(num_words, int(np.sum(counts)), sides[0], row_size),
        )
        started = time.monotonic()
        vectors = self.vectors(words, counts, tokens)
        rows = np.empty(num_words, dtype=np.int64)
        row_bands = bands or [RowBand(slice(0, num_words), slice(0, sides[0]), row_size)]
        with progress_bar("clustering words into rows", self.iterations * num_words) as advance:
            for band in row_bands:
                clusters = balanced_clusters(
                    vectors[band.words], counts[band.words], band.capacities(), self.iterations, self.seed, advance
                )
                rows[band.words] = clusters + band.rows.start
        rows = self.refine_rows(rows, row_bands, counts, tokens)
        # Rows of different sizes are for outputs that predict words instead of columns.
        columns = self.columns if bands is None else "frequency"
        if columns == "clusters" and row_size > _MAX_CLUSTERED_ROW:
            log.warning(
                "Rows of %s cells are too long for column clusters; assigning columns at random instead.\n"
                "Use rows of at most %s cells (model.sides), or set allocation.columns=random.",
                f"{row_size:,}",
                f"{_MAX_CLUSTERED_ROW:,}",
            )
            columns = "random"
        if columns == "clusters":
            with progress_bar("clustering words into columns", self.iterations * num_words) as advance:
                positions = column_clusters(vectors, rows, counts, row_size, self.iterations, self.seed, advance)
        else:
            # The words of a row occupy its first cells, so that empty cells come last.
            drawn = np.random.default_rng(self.seed).random(num_words)
            order = np.lexsort((drawn if columns == "random" else -np.asarray(counts), rows))
            positions = np.empty(num_words, dtype=np.int64)
            positions[order] = np.arange(num_words) - np.searchsorted(rows[order], rows[order])
        codes = np.stack(np.unravel_index(rows * row_size + positions, tuple(sides)), -1)
        log.info("The initial allocation took %.1f s.", time.monotonic() - started)
        return WordAllocation(torch.from_numpy(codes), tuple(sides))
