import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.inspection import (
    format_reallocations,
    format_rows,
    group_reallocations,
    neighbors,
    typical_codes,
    typical_words,
)
from lightrnn_pl.allocation.word_allocation import WordAllocation

WORDS = ["the", "a", "cat", "dog", "ran"]
ALLOCATION = WordAllocation(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]]), (4, 2))


def test_typical_words_are_the_most_frequent_ones():
    rows = typical_words(ALLOCATION, WORDS, np.array([9, 8, 1, 5, 2]))
    assert rows == {0: ["the", "a"], 1: ["dog", "cat"], 2: ["ran"]}
    assert typical_words(ALLOCATION, WORDS, np.array([9, 8, 1, 5, 2]), axis=1, limit=1) == {0: ["the"], 1: ["a"]}
    assert format_rows(rows).splitlines()[1] == "row 1     dog cat"


def test_typical_codes_have_the_most_tokens():
    lines = typical_codes(ALLOCATION, WORDS, np.array([9, 8, 1, 5, 2]), codes=2, limit=1)
    assert lines == [
        {"code": 0, "share": 17 / 25, "words": ["the"]},
        {"code": 1, "share": 6 / 25, "words": ["dog"]},
    ]


def test_neighbors_share_a_code():
    assert neighbors(ALLOCATION, WORDS, "dog") == {0: ["cat"], 1: ["a", "ran"]}
    with pytest.raises(ValueError, match="'cow'"):
        neighbors(ALLOCATION, WORDS, "cow")
    with pytest.raises(ValueError, match="every word"):
        neighbors(ALLOCATION, WORDS[:2], "a")


def test_reallocations_are_grouped_by_row():
    after = torch.tensor([[0, 1], [0, 0], [2, 0], [2, 1], [1, 1]])
    groups = group_reallocations(ALLOCATION.codes, after, WORDS)
    assert groups == {(0, 0): ["the", "a"], (1, 2): ["cat", "dog"], (2, 1): ["ran"]}
    assert format_reallocations(groups, limit=1).splitlines() == [
        "within row 0: 2 words: the and 1 more",
        "row 1 -> 2: 2 words: cat and 1 more",
        "row 2 -> 1: 1 words: ran",
    ]
    assert group_reallocations(after, after, WORDS) == {}
    with pytest.raises(ValueError, match="cannot compare"):
        group_reallocations(after, after, WORDS[:2])
