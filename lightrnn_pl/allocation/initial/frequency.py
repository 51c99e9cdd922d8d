"""An initial allocation in the order of word frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from typing_extensions import override

from lightrnn_pl.allocation.initial.base import InitialAllocation
from lightrnn_pl.allocation.row_bands import RowBand
from lightrnn_pl.allocation.word_allocation import WordAllocation


class FrequencyAllocation(InitialAllocation):
    """Words in the order of descending frequency, so that the words of a row have similar frequencies."""

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
        if bands is None:
            return WordAllocation.in_order(num_words, tuple(sides))
        codes = np.concatenate([band.cells() for band in bands])
        return WordAllocation(torch.from_numpy(codes), tuple(sides))
