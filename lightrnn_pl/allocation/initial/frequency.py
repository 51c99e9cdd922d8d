"""An initial allocation in the order of word frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightrnn_pl.allocation.initial.base import InitialAllocation
from lightrnn_pl.allocation.word_allocation import WordAllocation


class FrequencyAllocation(InitialAllocation):
    """Words in order of frequency, so that a row holds words about equally frequent."""

    def __call__(
        self, num_words: int, sides: tuple[int, ...], words: Sequence[str], counts: np.ndarray, tokens: Any = None
    ) -> WordAllocation:
        """See InitialAllocation."""
        return WordAllocation.in_order(num_words, tuple(sides))
