import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides


@given(st.integers(1, 100_000), st.integers(1, 4))
@settings(deadline=None)
def test_balanced_sides_have_room_for_all_words(num_words, num_components):
    sides = balanced_sides(num_words, num_components)
    assert len(sides) == num_components
    assert math.prod(sides) >= num_words
    assert max(sides) - min(sides) <= 2 or num_components > 2
    assert (sides[0] - 1) * math.prod(sides[1:]) < num_words, "no row is empty"


def test_balanced_sides_of_known_vocabularies():
    assert balanced_sides(10_000, 2) == (100, 100)
    assert balanced_sides(309_046, 2) == (556, 556)
    assert balanced_sides(7, 1) == (7,)


@pytest.mark.parametrize("sides", [(17,), (4, 5), (3, 3, 3)])
def test_codes_and_words_are_inverse(sides):
    allocation = WordAllocation.random(17, sides, seed=1)
    table = allocation.words()
    assert table.shape == sides
    codes = allocation.encode(torch.arange(17))
    assert torch.equal(table[tuple(codes.T)], torch.arange(17))
    assert (table >= 0).sum() == 17
    assert torch.equal(table.flatten()[allocation.cells()], torch.arange(17))


def test_random_allocations_depend_only_on_the_seed():
    first, same, other = (WordAllocation.random(50, (8, 8), seed) for seed in (0, 0, 1))
    assert torch.equal(first.codes, same.codes)
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()


def test_masks_of_a_partly_filled_table():
    allocation = WordAllocation.in_order(7, (3, 4))
    assert allocation.allowed(0).tolist() == [[True, True, False]]
    assert allocation.allowed(1).tolist() == [[True] * 4, [True] * 3 + [False], [False] * 4]
    codes = allocation.encode(torch.tensor([0, 6]))
    assert allocation.prefixes(codes, 0).tolist() == [0, 0]
    assert allocation.prefixes(codes, 1).tolist() == [0, 1]


def test_a_full_table_needs_no_mask():
    allocation = WordAllocation.random(12, (3, 4), seed=0)
    assert allocation.allowed(0) is None
    assert allocation.allowed(1) is None


def test_masks_of_a_cube_match_loops():
    allocation = WordAllocation.random(14, (3, 2, 4), seed=0)
    all_codes = {tuple(codes) for codes in allocation.codes.tolist()}
    for axis in range(3):
        allowed = allocation.allowed(axis)
        if allowed is None:
            continue
        for codes in all_codes:
            prefix = int(allocation.prefixes(torch.tensor(codes), axis))
            continuations = {other[axis] for other in all_codes if other[:axis] == codes[:axis]}
            assert set(allowed[prefix].nonzero()[:, 0].tolist()) == continuations


def test_assign_rejects_invalid_codes_without_changing_the_allocation():
    allocation = WordAllocation.in_order(4, (2, 2))
    before = allocation.codes.clone()
    for codes, message in [
        ([[0, 0], [0, 0], [1, 0], [1, 1]], "share the cell"),
        ([[0, 0], [0, 2], [1, 0], [1, 1]], r"outside the table with sides \[2, 2\]"),
        ([[0, 0], [0, -1], [1, 0], [1, 1]], r"outside the table with sides \[2, 2\]"),
        ([[0, 0]], "expected codes of shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            allocation.assign(torch.tensor(codes))
    assert torch.equal(allocation.codes, before)


def test_too_small_sides_are_rejected_with_a_suggestion():
    with pytest.raises(ValueError, match=r"\[4, 4\]"):
        WordAllocation.in_order(13, (3, 4))
    with pytest.raises(ValueError, match="at least 1"):
        WordAllocation.in_order(13, (0, 4))


def test_loading_a_state_dict_updates_the_masks():
    saved = WordAllocation.random(7, (3, 4), seed=0)
    loaded = WordAllocation.random(7, (3, 4), seed=1)
    saved.assign(torch.tensor([[2, 0], [2, 1], [0, 3], [0, 2], [2, 2], [0, 0], [0, 1]]))
    loaded.load_state_dict(saved.state_dict())
    assert loaded.fingerprint() == saved.fingerprint()
    assert torch.equal(loaded.codes, saved.codes)
    for axis in range(2):
        assert torch.equal(loaded.allowed(axis), saved.allowed(axis))


def test_a_deep_copy_is_independent():
    allocation = WordAllocation.random(7, (3, 4), seed=0)
    copied = copy.deepcopy(allocation)
    copied.assign(torch.flip(allocation.codes, [0]).long())
    assert copied.fingerprint() != allocation.fingerprint()
    assert torch.equal(allocation.codes, WordAllocation.random(7, (3, 4), seed=0).codes)


def test_long_axes_use_wider_codes():
    allocation = WordAllocation.in_order(40_000, (40_000,))
    assert allocation.codes.max() == 39_999
    assert allocation.num_bytes == 4 * 40_000
    assert WordAllocation.in_order(4, (2, 2)).num_bytes == 2 * 8
