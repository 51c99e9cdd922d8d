"""Words that complete typed letters, with exact probabilities."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.inference.decoding import Decoder, DecodingState
from lightrnn_pl.vocabulary import Vocabulary

_LAST_CHARACTER = chr(0x10FFFF)


class Spellings:
    """The words of a vocabulary in the order of their spelling, ignoring case.

    Args:
        words: The words, (V,).

    Attributes:
        spellings: The words without case, sorted.
        ids: The id of each of ``spellings``, (V,).
    """

    def __init__(self, words: Sequence[str]) -> None:
        folded = sorted((word.casefold(), word_id) for word_id, word in enumerate(words))
        self.spellings = [spelling for spelling, _ in folded]
        self.ids = np.array([word_id for _, word_id in folded], dtype=np.int64)

    def starting_with(self, prefix: str) -> range:
        """The positions, among ``spellings``, of the words that start with ``prefix``."""
        folded = prefix.casefold()
        return range(bisect_left(self.spellings, folded), bisect_left(self.spellings, folded + _LAST_CHARACTER))

    def words_starting_with(self, prefix: str, excluded: Sequence[int] = ()) -> Int[np.ndarray, " N"]:
        """The ids of the words that start with ``prefix`` and are not excluded."""
        positions = self.starting_with(prefix)
        ids = self.ids[positions.start : positions.stop]
        return ids[~np.isin(ids, excluded)] if excluded else ids


@functools.lru_cache(maxsize=2)
def spellings_of(vocabulary: Vocabulary) -> Spellings:
    """The spellings of a vocabulary, which are sorted once, because this takes long if it is large."""
    return Spellings(vocabulary.words)


def log_probabilities_of(decoder: Decoder, state: DecodingState, words: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Natural-log probabilities that each of ``words`` comes next in one stream.

    They are computed one by one or over the full vocabulary, whichever is faster.
    """
    if decoder.num_codes > 1 and len(words) <= decoder.model.allocation.sides[0]:
        repeated = state.select(torch.zeros(len(words), dtype=torch.int64, device=decoder.device))
        return decoder.log_probability_of(repeated, words)
    return decoder.log_probabilities(state)[0, words]
