import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.inspection import format_moves, format_rows, moves, neighbours, typical_codes, typical_words
from lightrnn_pl.allocation.word_allocation import WordAllocation

WORDS = ["the", "a", "cat", "dog", "ran"]
ALLOCATION = WordAllocation(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]]), (4, 2))


def test_rows_hold_their_most_frequent_words():
    rows = typical_words(ALLOCATION, WORDS, np.array([9, 8, 1, 5, 2]))
    assert rows == {0: ["the", "a"], 1: ["dog", "cat"], 2: ["ran"]}
    assert typical_words(ALLOCATION, WORDS, np.array([9, 8, 1, 5, 2]), axis=1, limit=1) == {0: ["the"], 1: ["a"]}
    assert format_rows(rows).splitlines()[1] == "row 1     dog cat"


def test_typical_codes_are_those_of_most_of_the_text():
    lines = typical_codes(ALLOCATION, WORDS, np.array([9, 8, 1, 5, 2]), codes=2, limit=1)
    assert lines == [
        {"code": 0, "share": 17 / 25, "words": ["the"]},
        {"code": 1, "share": 6 / 25, "words": ["dog"]},
    ]


def test_neighbours_share_a_code():
    assert neighbours(ALLOCATION, WORDS, "dog") == {0: ["cat"], 1: ["a", "ran"]}
    with pytest.raises(ValueError, match="'cow'"):
        neighbours(ALLOCATION, WORDS, "cow")
    with pytest.raises(ValueError, match="every word"):
        neighbours(ALLOCATION, WORDS[:2], "a")


def test_moves_are_grouped_by_row():
    after = torch.tensor([[0, 1], [0, 0], [2, 0], [2, 1], [1, 1]])
    groups = moves(ALLOCATION.codes, after, WORDS)
    assert groups == {(0, 0): ["the", "a"], (1, 2): ["cat", "dog"], (2, 1): ["ran"]}
    assert format_moves(groups, limit=1).splitlines() == [
        "within row 0: 2 words: the and 1 more",
        "row 1 -> 2: 2 words: cat and 1 more",
        "row 2 -> 1: 1 words: ran",
    ]
    assert moves(after, after, WORDS) == {}
    with pytest.raises(ValueError, match="compare alike"):
        moves(after, after, WORDS[:2])
