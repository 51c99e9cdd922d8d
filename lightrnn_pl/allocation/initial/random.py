"""A random initial allocation (LightRNN, section 3.2, step 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from typing_extensions import override

from lightrnn_pl.allocation.initial.base import InitialAllocation
from lightrnn_pl.allocation.row_bands import RowBand
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_seed


class RandomAllocation(InitialAllocation):
    """A random permutation of the words, as in the paper.

    Args:
        seed: Seed of the permutation, which is independent of the global random generators.
    """

    def __init__(self, seed: int = 0) -> None:
        check_seed("allocation.seed", seed)
        self.seed = seed

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
            return WordAllocation.random(num_words, tuple(sides), self.seed)
        generator = np.random.default_rng(self.seed)
        codes = np.concatenate([generator.permutation(band.cells()) for band in bands])
        return WordAllocation(torch.from_numpy(codes), tuple(sides))
