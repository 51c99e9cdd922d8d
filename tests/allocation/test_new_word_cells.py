"""Assigning new words to empty cells, compared with all possible assignments."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.allocation.new_word_cells import (
    empty_cells,
    first_free_cells,
    grow_allocation,
    reassign_new_words,
    solve_by_prefix,
    usable_cells,
)
from lightrnn_pl.allocation.solvers import AuctionSolver
from lightrnn_pl.allocation.word_allocation import WordAllocation

NOTHING = np.empty((3, 0), dtype=np.int64)


def test_usable_cells_have_trained_codes():
    allocation = WordAllocation(torch.tensor([[0, 0], [0, 1], [1, 1]]), (3, 3))
    assert empty_cells(allocation).sum() == 6
    # Only (1, 0), because row 2 and column 2 have no words.
    assert np.argwhere(usable_cells(allocation)).tolist() == [[1, 0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, AuctionSolver(gap=0.0)]))
def test_rows_are_optimal_within_their_capacities(seed, solver):
    generator = np.random.default_rng(seed)
    costs = generator.normal(size=(3, 4))
    free = generator.random((4, 3)) < 0.3
    free[0] = [True, False, True]
    free[3] = [False, True, False]
    rows, _ = solve_by_prefix(costs, NOTHING, free, solver)
    assert (np.bincount(rows, minlength=4) <= free.sum(1)).all()
    slots = np.repeat(np.arange(4), free.sum(1))
    best = min(costs[np.arange(3), list(chosen)].sum() for chosen in permutations(slots, 3))
    actual = costs[np.arange(3), rows].sum()
    assert actual == pytest.approx(best, abs=1e-9 if solver is None else 0.02 * np.ptp(costs))


def test_columns_are_chosen_within_each_row():
    free = np.zeros((3, 4), dtype=bool)
    free[0, [1, 3]] = True
    free[2, [0, 3]] = True
    costs = np.array([[0.0, 5.0, 0.0, 1.0], [9.0, 1.0, 9.0, 2.0], [3.0, 0.0, 0.0, 2.0]])
    columns, _ = solve_by_prefix(costs, np.array([[0], [0], [2]]), free)
    # Word 0 would prefer column 0, which has no free cell in row 0.
    assert columns.tolist() == [3, 1, 3]


def test_filling_a_cell_may_have_a_cost():
    free = np.array([[True, True, False], [False, True, True]])
    filling = np.array([[4.0, 2.0, 99.0], [99.0, 0.0, 1.0]])
    # The mean cost of filling a free cell is 3 in row 0 and 0.5 in row 1.
    rows, _ = solve_by_prefix(np.array([[0.0, 2.4], [0.0, 2.6], [0.0, 2.2]]), NOTHING, free, filling=filling)
    assert rows.tolist() == [1, 0, 1]
    columns, _ = solve_by_prefix(np.array([[0.0, 1.9, 0.0]]), np.array([[0]]), free, filling=filling)
    assert columns.tolist() == [1]


def test_three_codes_are_chosen_one_after_the_other():
    free = np.zeros((2, 2, 2), dtype=bool)
    free[0, 1] = True
    free[1, 0, 1] = True
    prefixes = np.empty((3, 0), dtype=np.int64)
    for costs in (
        np.array([[1.0, 0.0], [5.0, 0.0], [5.0, 0.0]]),
        np.zeros((3, 2)),
        np.array([[0.0, 1], [0, 3], [0, 0]]),
    ):
        chosen, _ = solve_by_prefix(costs, prefixes, free)
        prefixes = np.concatenate([prefixes, chosen[:, None]], axis=1)
    # Code 1 of the first axis has a single free cell, and two words prefer it equally.
    assert sorted(prefixes[:, 0].tolist()) == [0, 0, 1] and prefixes[0, 0] == 0
    assert free[tuple(prefixes.T)].all() and len({tuple(code) for code in prefixes.tolist()}) == 3


def test_too_many_words_are_rejected():
    free = np.zeros((2, 2), dtype=bool)
    free[0] = True
    with pytest.raises(ValueError, match="3 words do not fit into 2 available"):
        solve_by_prefix(np.zeros((3, 2)), NOTHING, free)


def test_first_free_cells_are_distinct():
    free = np.array([[True, False, True], [False, False, False], [True, True, False]])
    assert first_free_cells(NOTHING, free).tolist() == [[0, 0], [0, 2], [2, 0]]
    assert first_free_cells(np.array([[2], [0], [2]]), free).tolist() == [[2, 0], [0, 0], [2, 1]]
    assert first_free_cells(np.array([[2, 1], [0, 2]]), free).tolist() == [[2, 1], [0, 2]]


def test_existing_words_keep_their_cells():
    allocation = WordAllocation.in_order(6, (3, 3))
    larger = grow_allocation(allocation, np.array([[2, 2], [2, 0]]))
    assert torch.equal(larger.codes[:6], allocation.codes) and larger.codes[6:].tolist() == [[2, 2], [2, 0]]
    reassign_new_words(larger, np.array([[2, 0], [2, 1]]))
    assert torch.equal(larger.codes[:6], allocation.codes) and larger.codes[6:].tolist() == [[2, 0], [2, 1]]
    assert allocation.num_words == 6
    with pytest.raises(ValueError, match="words 0 and 6 share"):
        grow_allocation(allocation, np.array([[0, 0]]))
