"""Tables whose rows have different sizes: short rows for frequent words, and long rows for rare words.

The words of a band are a range of ids, which are in the order of descending frequency, and fill rows of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lightrnn_pl.checks import check_counts


class RowBand(NamedTuple):
    """A range of words and the rows that they fill.

    Attributes:
        words: Ids of the words.
        rows: Numbers of the rows.
        row_size: Words per row; the last row may have fewer.
    """

    words: slice
    rows: slice
    row_size: int

    def capacities(self) -> Int[np.ndarray, " rows"]:
        """Number of words in each row, so that empty cells come last."""
        taken = self.row_size * np.arange(self.rows.stop - self.rows.start)
        return np.clip(self.words.stop - self.words.start - taken, 0, self.row_size)

    def cells(self) -> Int[np.ndarray, "words 2"]:
        """The row and the column of each word, if the words fill the rows in order."""
        rows, columns = np.divmod(np.arange(self.words.stop - self.words.start), self.row_size)
        return np.stack([rows + self.rows.start, columns], 1)


def row_bands(num_words: int, cutoffs: Sequence[int], row_sizes: Sequence[int]) -> list[RowBand]:
    """The bands of words between ``cutoffs``, in rows of ``row_sizes`` words.

    Raises:
        ValueError: If there is not one size for each band.
    """
    check_counts("model.row_sizes", row_sizes)
    if len(row_sizes) != len(cutoffs) + 1:
        raise ValueError(
            f"model.row_sizes={list(row_sizes)} must have {len(cutoffs) + 1} sizes, one for each band of words between "
            f"model.cutoffs={list(cutoffs)}, or be auto or null"
        )
    bands, row = [], 0
    for start, stop, size in zip([0, *cutoffs], [*cutoffs, num_words], row_sizes, strict=True):
        rows = math.ceil((stop - start) / size)
        bands.append(RowBand(slice(start, stop), slice(row, row + rows), size))
        row += rows
    return bands


def balanced_row_sizes(counts: Int[np.ndarray, " V"], cutoffs: Sequence[int], vector_sizes: Sequence[int]) -> list[int]:
    """The row sizes that minimize the number of multiplications per predicted word.

    With n words, a share p of the text and vectors of size d, rows of s words cost n / s products with vectors of the
    first size H for every position, and s products of size d for a share p of the positions.  The sum is smallest for
    s = sqrt(n H / (p d)).

    Args:
        counts: Occurrences of each word.
        cutoffs: The first word of each band except the first one.
        vector_sizes: d of each band; that of the first band is H.
    """
    sizes = []
    total = max(1, int(counts.sum()))
    for start, stop, vector_size in zip([0, *cutoffs], [*cutoffs, len(counts)], vector_sizes, strict=True):
        share = max(int(counts[start:stop].sum()), 1) / total
        size = math.sqrt((stop - start) * vector_sizes[0] / (share * vector_size))
        sizes.append(min(max(1, round(size)), stop - start))
    return sizes


def sides_of(bands: Sequence[RowBand]) -> tuple[int, int]:
    """Rows and columns of the smallest table for ``bands``."""
    return bands[-1].rows.stop, max(band.row_size for band in bands)
