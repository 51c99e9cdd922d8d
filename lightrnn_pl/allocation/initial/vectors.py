"""An initial allocation from word vectors in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from typing_extensions import override

from lightrnn_pl.allocation.initial.base import ClusteredAllocation
from lightrnn_pl.allocation.word_vectors import read_vectors, unit_length
from lightrnn_pl.checks import check_path


class VectorsAllocation(ClusteredAllocation):
    """Rows are balanced clusters of pretrained word vectors.

    Args:
        path: A file of word vectors; see :mod:`~lightrnn_pl.allocation.word_vectors` for the formats.
        iterations: See :class:`ClusteredAllocation`.
        columns: See :class:`ClusteredAllocation`.
        seed: See :class:`ClusteredAllocation`.
    """

    def __init__(
        self,
        path: str | Path,
        iterations: int = 12,
        columns: Literal["clusters", "frequency", "random"] = "clusters",
        seed: int = 0,
    ) -> None:
        super().__init__(iterations, columns, seed)
        check_path("allocation.path", path)
        self.path = path

    @override
    def vectors(self, words: Sequence[str], counts: np.ndarray, tokens: Any) -> np.ndarray:
        return unit_length(read_vectors(self.path, words))
