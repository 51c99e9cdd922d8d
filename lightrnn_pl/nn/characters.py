"""Words as rows of character ids, for layers that look at spelling (Kim et al. 2016, section 2).

Knows how words are spelled, nothing of vectors.
"""

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
    """How every word of a vocabulary is spelled.

    Attributes:
        table: Symbols of each word, (V, L), in the smallest type that holds them: a begin symbol, the characters, an
            end symbol, then ``padding``.
        num_symbols: Different symbols, padding not counted.
        padding: ``num_symbols``, what follows the end of a word.
    """

    table: Integer[Tensor, "V L"]
    num_symbols: int

    @property
    def padding(self) -> int:
        """See the class."""
        return self.num_symbols


def spell(vocabulary: Vocabulary, max_word_length: int, shortest_row: int = 1) -> Spelling:
    """The spelling of each word of ``vocabulary``, in Unicode code points.

    Markers are not spelled: each has one symbol of its own between begin and end.

    Args:
        vocabulary: Words and markers.
        max_word_length: Characters after which a word is cut off; its begin and end symbols come on top.
        shortest_row: L is at least this.

    Raises:
        ValueError: If ``max_word_length`` is no whole number of at least 1.
    """
    check_count("model.embedding.max_word_length", max_word_length)
    markers = sorted(
        {marker for marker in (vocabulary.unknown, vocabulary.begin, vocabulary.end) if marker is not None}
    )
    # A marker takes the room of one character until its symbol is written over it.
    cut = [word[:max_word_length] for word in vocabulary.words]
    for marker in markers:
        cut[vocabulary.id(marker)] = "-"
    lengths = np.fromiter(map(len, cut), dtype=np.int64, count=len(cut))
    spelled = set().union(*(word for word, whole in zip(cut, vocabulary.words, strict=True) if whole not in markers))
    ids = np.zeros(max((ord(character) for character in spelled), default=0) + ord("-") + 1, dtype=np.int64)
    for number, character in enumerate(sorted(spelled)):
        ids[ord(character)] = number
    begin, end, first_marker = len(spelled), len(spelled) + 1, len(spelled) + 2
    num_symbols = first_marker + len(markers)
    longest = int(lengths.max())
    width = max(longest + 2, shortest_row)
    table = np.full((len(cut), width), num_symbols, dtype=_smallest(num_symbols))
    table[:, 0] = begin
    for start in range(0, len(cut), _CHUNK):
        rows = slice(start, start + _CHUNK)
        points = np.array(cut[rows], dtype=f"U{longest}").view(np.uint32).reshape(-1, longest)
        is_character = np.arange(longest) < lengths[rows, None]
        table[rows, 1 : longest + 1][is_character] = ids[points[is_character]]
    table[np.arange(len(cut)), lengths + 1] = end
    for number, marker in enumerate(markers):
        table[vocabulary.id(marker), 1] = first_marker + number
    return Spelling(torch.from_numpy(table), num_symbols)


def _smallest(largest_value: int) -> type[np.integer]:
    for dtype in (np.uint8, np.int16):
        if largest_value <= np.iinfo(dtype).max:
            return dtype
    return np.int32
