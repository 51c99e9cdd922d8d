"""Words as sequences of character ids, for embeddings that depend on the spelling (Kim et al. 2016, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from lightrnn_pl.checks import check_count
from lightrnn_pl.vocabulary import Vocabulary

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Spelling:
    """The spelling of every word of a vocabulary.

    Attributes:
        table: Symbol ids of each word, (V, L), in the narrowest type that can store them: a begin symbol, the
            characters, an end symbol, and then ``padding``.
        num_symbols: Number of distinct symbols, without padding.
    """

    table: Integer[Tensor, "V L"]
    num_symbols: int

    @property
    def padding(self) -> int:
        """The id after the end symbol, equal to ``num_symbols``."""
        return self.num_symbols


def spell(vocabulary: Vocabulary, max_word_length: int, min_row_length: int = 1) -> Spelling:
    """The spelling of each word of ``vocabulary``, in Unicode code points.

    Markers are not spelled: each has a single symbol of its own between begin and end.

    Args:
        vocabulary: Words and markers.
        max_word_length: Longer words are truncated to this number of characters, not counting begin and end.
        min_row_length: The minimum of L.

    Raises:
        ValueError: If ``max_word_length`` is not an integer greater than or equal to 1.
    """
    check_count("model.embedding.max_word_length", max_word_length)
    markers = sorted(
        {marker for marker in (vocabulary.unknown, vocabulary.begin, vocabulary.end) if marker is not None}
    )
    # A marker is represented by one character, which its symbol replaces below.
    truncated = [word[:max_word_length] for word in vocabulary.words]
    for marker in markers:
        truncated[vocabulary.id(marker)] = "-"
    lengths = np.fromiter(map(len, truncated), dtype=np.int64, count=len(truncated))
    characters = set().union(
        *(word for word, whole in zip(truncated, vocabulary.words, strict=True) if whole not in markers)
    )
    ids = np.zeros(max((ord(character) for character in characters), default=0) + ord("-") + 1, dtype=np.int64)
    for number, character in enumerate(sorted(characters)):
        ids[ord(character)] = number
    begin, end, first_marker = len(characters), len(characters) + 1, len(characters) + 2
    num_symbols = first_marker + len(markers)
    longest = int(lengths.max())
    width = max(longest + 2, min_row_length)
    table = np.full((len(truncated), width), num_symbols, dtype=_narrowest_dtype(num_symbols))
    table[:, 0] = begin
    for start in range(0, len(truncated), _CHUNK):
        rows = slice(start, start + _CHUNK)
        points = np.array(truncated[rows], dtype=f"U{longest}").view(np.uint32).reshape(-1, longest)
        is_character = np.arange(longest) < lengths[rows, None]
        table[rows, 1 : longest + 1][is_character] = ids[points[is_character]]
    table[np.arange(len(truncated)), lengths + 1] = end
    for number, marker in enumerate(markers):
        table[vocabulary.id(marker), 1] = first_marker + number
    return Spelling(torch.from_numpy(table), num_symbols)


def _narrowest_dtype(largest_value: int) -> type[np.integer]:
    for dtype in (np.uint8, np.int16):
        if largest_value <= np.iinfo(dtype).max:
            return dtype
    return np.int32
