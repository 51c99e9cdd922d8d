"""A random initial allocation (LightRNN, section 3.2, step 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightrnn_pl.allocation.initial.base import InitialAllocation
from lightrnn_pl.allocation.word_allocation import WordAllocation


class RandomAllocation(InitialAllocation):
    """The paper's cold start: a random permutation of the words.

    Args:
        seed: Of the permutation alone, so that it does not depend on what else drew random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(
        self, num_words: int, sides: tuple[int, ...], words: Sequence[str], counts: np.ndarray, tokens: Any = None
    ) -> WordAllocation:
        """See InitialAllocation."""
        return WordAllocation.random(num_words, tuple(sides), self.seed)
