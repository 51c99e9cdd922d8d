"""An initial allocation read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from lightrnn_pl.allocation.allocation_file import read_table
from lightrnn_pl.allocation.initial.base import InitialAllocation
from lightrnn_pl.allocation.row_bands import RowBand
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_path


class FileAllocation(InitialAllocation):
    """Reads the allocation from a word table; see :mod:`~lightrnn_pl.allocation.allocation_file` for the formats.

    Args:
        path: A .tsv, .csv or .parquet file with a cell for every word of the vocabulary.
    """

    def __init__(self, path: str | Path) -> None:
        check_path("allocation.path", path)
        self.path = path

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
        codes, needed = read_table(self.path, words)
        if len(needed) != len(sides) or any(need > side for need, side in zip(needed, sides, strict=True)):
            raise ValueError(
                f"{self.path} needs a table with sides {list(needed)}, but the model has sides {list(sides)}; set "
                f"model.sides={list(needed)}"
            )
        return WordAllocation(codes, tuple(sides))
