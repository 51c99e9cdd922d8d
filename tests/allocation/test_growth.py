import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.growth import grow
from lightrnn_pl.allocation.solvers import GreedySolver
from lightrnn_pl.allocation.table import WordAllocation


@pytest.mark.parametrize("solver", [None, GreedySolver()])
def test_new_words_take_the_cheapest_empty_cells(solver):
    allocation = WordAllocation.in_order(6, (3, 3))
    row = np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 1.0]])
    column = np.array([[0.0, 1.0, 2.0], [4.0, 9.0, 3.0]])
    larger = grow(allocation, (row, column), solver)
    assert torch.equal(larger.codes[:6], allocation.codes)
    assert larger.codes[6:].tolist() == [[2, 0], [2, 2]]
    assert allocation.num_words == 6


def test_what_does_not_fit_is_refused():
    allocation = WordAllocation.in_order(8, (3, 3))
    with pytest.raises(ValueError, match="2 words do not fit into 1 available"):
        grow(allocation, (np.zeros((2, 3)), np.zeros((2, 3))))
    with pytest.raises(ValueError, match=r"sides \[3, 4\]"):
        grow(allocation, (np.zeros((1, 3)), np.zeros((1, 4))))
