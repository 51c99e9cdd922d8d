"""The contract of an initial allocation."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightrnn_pl.allocation.word_allocation import WordAllocation


class InitialAllocation(abc.ABC):
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
