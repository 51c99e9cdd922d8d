"""The first table from a trained model of any kind: words that it predicts alike share a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightrnn_pl.allocation.initial.clustered import ClusteredAllocation
from lightrnn_pl.allocation.word_vectors import unit_length
from lightrnn_pl.checkpoint import load


class ModelAllocation(ClusteredAllocation):
    """Rows are balanced clusters of a model's output vectors.

    Args:
        checkpoint: A bundle, or the folder of a run or an export.  Its vocabulary may be another; words that it lacks
            go where there is room.
        iterations: See ClusteredAllocation.
        columns: See ClusteredAllocation.
        seed: See ClusteredAllocation.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        iterations: int = 12,
        columns: Literal["clusters", "frequency", "random"] = "clusters",
        seed: int = 0,
    ) -> None:
        super().__init__(iterations, columns, seed)
        self.checkpoint = checkpoint

    def vectors(self, words: Sequence[str], tokens: Any) -> np.ndarray:
        """See ClusteredAllocation.

        Raises:
            FileNotFoundError, ValueError: If there is no such model, or it knows none of ``words``.
        """
        bundle = load(self.checkpoint)
        known = {word: number for number, word in enumerate(bundle.vocabulary.words)}
        places = np.array([known.get(word, -1) for word in words])
        if (places < 0).all():
            raise ValueError(
                f"the model in {self.checkpoint} knows none of the vocabulary's {len(words)} words; give "
                "allocation.checkpoint a model of the same language"
            )
        vectors = bundle.word_vectors()[places]
        vectors[places < 0] = 0
        return unit_length(vectors)
