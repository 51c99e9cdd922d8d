"""The contract of an initial allocation."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightrnn_pl.allocation.word_allocation import WordAllocation


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
    ) -> WordAllocation:
        """Create the allocation.

        Args:
            num_words: V.
            sides: Length of each axis.
            words: The vocabulary in the order of its ids, which is that of descending frequency.
            counts: Occurrences of each word in the training text, shape (V,).
            tokens: Word ids of the training text, as an array or an iterable of blocks; only needed by allocations
                that are based on co-occurrence.

        Raises:
            ValueError: If the words do not fit into a table of these sides.
        """
