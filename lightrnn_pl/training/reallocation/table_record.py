"""The word table of every round, kept in the run folder as ``tables/round_N.npz``, and its typical words.

A run that was killed within a reallocation does it again and writes the same files.
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
    """Writes the tables of a run; for models of more than one code a word.

    Args:
        folder: The run folder.
        vocabulary: Whose words are in the table.
    """

    def __init__(self, folder: RunFolder, vocabulary: Vocabulary) -> None:
        self.folder = folder
        self.vocabulary = vocabulary

    def begin(self, number: int, allocation: WordAllocation) -> None:
        """Keep the table that round ``number`` starts with, unless it is kept already."""
        if not self.folder.round_table(number).is_file():
            _snapshot(allocation).save(self.folder.round_table(number))

    def moved(self, number: int, move: Move, allocation: WordAllocation) -> None:
        """Keep what the words cost at the end of round ``number``, and the table that the next one starts with."""
        TableSnapshot.of(move.codes, allocation.sides, move.word_nll, "training").save(self.folder.round_table(number))
        _snapshot(allocation).save(self.folder.round_table(number + 1))

    def finish(self, number: int, allocation: WordAllocation, word_nll: Float[np.ndarray, " V"]) -> None:
        """Keep what the words cost in the validation text, if the best model's table is that of the last round."""
        if not self.folder.round_table(number).is_file():
            return
        found = _snapshot(allocation, word_nll, "validation")
        if np.array_equal(TableSnapshot.load(self.folder.round_table(number)).codes, found.codes):
            found.save(self.folder.round_table(number))

    def typical(self, allocation: WordAllocation) -> dict[str, list[dict[str, Any]]]:
        """The rows and the columns that are most of the training text, with their most frequent words (Figure 5)."""
        words, counts = self.vocabulary.words, self.vocabulary.counts
        return {
            f"{name}s": typical_codes(allocation, words, counts, axis, TYPICAL_CODES, TYPICAL_WORDS)
            for axis, name in enumerate(code_names(allocation.num_components))
        }


def _snapshot(
    allocation: WordAllocation, word_nll: Float[np.ndarray, " V"] | None = None, text: str = ""
) -> TableSnapshot:
    return TableSnapshot.of(allocation.codes.cpu().numpy(), allocation.sides, word_nll, text)
