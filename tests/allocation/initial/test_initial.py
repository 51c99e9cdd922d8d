import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.allocation_file import write_table
from lightrnn_pl.allocation.initial.file import FileAllocation
from lightrnn_pl.allocation.initial.frequency import FrequencyAllocation
from lightrnn_pl.allocation.initial.random import RandomAllocation
from lightrnn_pl.allocation.word_allocation import WordAllocation

WORDS = [f"word{number}" for number in range(11)]
COUNTS = np.arange(11, 0, -1)


def test_random_depends_only_on_its_seed():
    first = RandomAllocation(seed=3)(11, (3, 4), WORDS, COUNTS)
    torch.rand(5)
    assert torch.equal(first.codes, RandomAllocation(seed=3)(11, (3, 4), WORDS, COUNTS).codes)
    assert not torch.equal(first.codes, RandomAllocation(seed=4)(11, (3, 4), WORDS, COUNTS).codes)


def test_frequency_fills_row_by_row():
    assert FrequencyAllocation()(11, (3, 4), WORDS, COUNTS).words()[0].tolist() == [0, 1, 2, 3]


def test_from_file(tmp_path):
    saved = WordAllocation.random(11, (3, 4), seed=0)
    write_table(tmp_path / "table.tsv", saved, WORDS)
    assert torch.equal(FileAllocation(tmp_path / "table.tsv")(11, (3, 4), WORDS, COUNTS).codes, saved.codes)
    wider = FileAllocation(tmp_path / "table.tsv")(11, (4, 5), WORDS, COUNTS)
    assert wider.sides == (4, 5)
    with pytest.raises(ValueError, match=r"model\.sides=\[3, 4\]"):
        FileAllocation(tmp_path / "table.tsv")(11, (4, 3), WORDS, COUNTS)
    with pytest.raises(ValueError, match=r"model\.sides"):
        FileAllocation(tmp_path / "table.tsv")(11, (11,), WORDS, COUNTS)
