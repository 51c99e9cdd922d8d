"""The allocation of each round, saved in the run folder as ``tables/round_N.npz``, and its typical words.

A run that was killed during a reallocation repeats it and writes the same files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from lightrnn_pl.allocation.allocation_file import code_names
from lightrnn_pl.allocation.inspection import typical_codes
from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.reallocation.mover import Move
from lightrnn_pl.vocabulary import Vocabulary

TYPICAL_CODES = 6
TYPICAL_WORDS = 8


class TableRecord:
    """Saves the allocations of a run whose words have more than one code.

    Args:
        folder: The run folder.
        vocabulary: The vocabulary of the model.
    """

    def __init__(self, folder: RunFolder, vocabulary: Vocabulary) -> None:
        self.folder = folder
        self.vocabulary = vocabulary

    def save_start(self, number: int, allocation: WordAllocation) -> None:
        """Save the allocation with which round ``number`` starts, unless it has been saved before."""
        if not self.folder.round_table(number).is_file():
            _snapshot(allocation).save(self.folder.round_table(number))

    def save_reallocation(self, number: int, move: Move, allocation: WordAllocation) -> None:
        """Save the training loss of each word at the end of round ``number``, and the allocation of the next round."""
        TableSnapshot.of(move.codes, allocation.sides, move.word_nll, "training").save(self.folder.round_table(number))
        _snapshot(allocation).save(self.folder.round_table(number + 1))

    def save_validation(self, number: int, best: WordAllocation, word_nll: Float[np.ndarray, " V"]) -> None:
        """Save the validation loss of each word, if the best model has the allocation of the last round, ``number``."""
        if not self.folder.round_table(number).is_file():
            return
        snapshot = _snapshot(best, word_nll, "validation")
        if np.array_equal(TableSnapshot.load(self.folder.round_table(number)).codes, snapshot.codes):
            snapshot.save(self.folder.round_table(number))

    def typical_words(self, allocation: WordAllocation) -> dict[str, list[dict[str, Any]]]:
        """The most frequent rows and columns, with their most frequent words (LightRNN, Figure 5)."""
        words, counts = self.vocabulary.words, self.vocabulary.counts
        return {
            f"{name}s": typical_codes(allocation, words, counts, axis, TYPICAL_CODES, TYPICAL_WORDS)
            for axis, name in enumerate(code_names(allocation.num_components))
        }


def _snapshot(
    allocation: WordAllocation, word_nll: Float[np.ndarray, " V"] | None = None, text: str = ""
) -> TableSnapshot:
    return TableSnapshot.of(allocation.codes.cpu().numpy(), allocation.sides, word_nll, text)
