"""Initial allocation from the output vectors of a trained model: words with similar vectors share a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from typing_extensions import override

from lightrnn_pl.allocation.initial.base import ClusteredAllocation
from lightrnn_pl.allocation.word_vectors import unit_length
from lightrnn_pl.checkpoint import load
from lightrnn_pl.checks import check_path


class ModelAllocation(ClusteredAllocation):
    """Rows are balanced clusters of a model's output vectors.

    Args:
        checkpoint: A bundle, or the folder of a run or an export.  Its vocabulary may differ; words that it does not
            contain are assigned to the remaining cells.
        iterations: See :class:`~lightrnn_pl.allocation.initial.base.ClusteredAllocation`, as the other arguments.
        columns: How words are assigned to the columns of their row.
        seed: Seed of the clustering.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        iterations: int = 12,
        columns: Literal["clusters", "frequency", "random"] = "clusters",
        seed: int = 0,
    ) -> None:
        super().__init__(iterations, columns, seed)
        check_path("allocation.checkpoint", checkpoint)
        self.checkpoint = checkpoint

    @override
    def vectors(self, words: Sequence[str], counts: np.ndarray, tokens: Any) -> np.ndarray:
        """The model's output vectors of ``words``, scaled to unit length.

        Raises:
            FileNotFoundError: If there is no such model.
            ValueError: If its vocabulary contains none of ``words``.
        """
        bundle = load(self.checkpoint)
        model_ids = {word: number for number, word in enumerate(bundle.vocabulary.words)}
        ids = np.array([model_ids.get(word, -1) for word in words])
        if (ids < 0).all():
            raise ValueError(
                f"the model in {self.checkpoint} has none of the {len(words)} words of this run in its vocabulary; set "
                "allocation.checkpoint to a model of the same language"
            )
        vectors = bundle.word_vectors()[ids]
        vectors[ids < 0] = 0
        return unit_length(vectors)
