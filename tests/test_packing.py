"""Packed integers are restored exactly, and weights in eight bits within half a scale."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightrnn_pl import packing
from lightrnn_pl.packing import pack_numbers, pack_state, unpack_numbers, unpack_state


@given(st.lists(st.integers(0, 2**17 - 1), max_size=60), st.integers(17, 21))
def test_packs_integers_bit_by_bit(numbers, bits):
    packed = pack_numbers(np.array(numbers, dtype=np.int64), bits)
    # Slow reference: one large integer whose lowest bits are the first number.
    whole = sum(number << bits * index for index, number in enumerate(numbers))
    assert packed.tobytes() == whole.to_bytes(-(-bits * len(numbers) // 8), "little")
    assert unpack_numbers(packed, bits, len(numbers)).tolist() == numbers


def test_blocks_are_contiguous(monkeypatch):
    numbers = np.random.default_rng(0).integers(0, 8, 50)
    whole = pack_numbers(numbers, 3)
    monkeypatch.setattr(packing, "_BLOCK", 8)
    assert pack_numbers(numbers, 3).tobytes() == whole.tobytes()
    assert unpack_numbers(whole, 3, 50).tolist() == numbers.tolist()


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 50, generator=generator) * torch.logspace(-3, 1, 30)[:, None]
    weight[4] = 0
    codes = torch.stack([torch.randint(300, (70,), generator=generator), torch.arange(70)], 1).to(torch.int16)
    return {
        "weight": weight,
        "tied": weight,
        "narrow": torch.randn(41, 3, 2, generator=generator),
        "shared": torch.randn(1000, generator=generator),
        "bias_ih": torch.randn(40, generator=generator),
        "codes": codes,
        "again": codes,
        "signed": torch.tensor([-5, 3, 0], dtype=torch.int32),
        "flags": torch.tensor([True, False]),
        "nothing": torch.zeros(0, 3),
        "nothing else": torch.zeros(0, 3),
    }


def test_without_packing_values_are_exact_and_shared_tensors_are_stored_once(state):
    stored, recipe = pack_state(state)
    assert set(state) - set(stored) == {"tied", "again"}
    unpacked = unpack_state(stored, recipe)
    assert unpacked.keys() == state.keys()
    for name, tensor in state.items():
        assert unpacked[name].dtype == tensor.dtype and torch.equal(unpacked[name], tensor)


def test_eight_bit_error_is_at_most_half_a_scale(state):
    stored, recipe = pack_state(state, eight_bits=True)
    unpacked = unpack_state(stored, recipe)
    for name in ("codes", "again", "signed", "flags", "nothing"):
        assert unpacked[name].dtype == state[name].dtype and torch.equal(unpacked[name], state[name])
    half_scale = state["weight"].abs().amax(1, keepdim=True) / 127 / 2
    assert ((unpacked["weight"] - state["weight"]).abs() <= half_scale * (1 + 1e-5)).all()
    assert torch.equal(unpacked["weight"][4], torch.zeros(50)) and unpacked["tied"] is unpacked["weight"]
    for name in ("narrow", "shared"):
        groups = torch.nn.functional.pad(state[name].flatten(), (0, -state[name].numel() % 64)).view(-1, 64)
        error = torch.nn.functional.pad((unpacked[name] - state[name]).flatten(), (0, -state[name].numel() % 64))
        assert (error.view(-1, 64).abs() <= groups.abs().amax(1, keepdim=True) / 254 * (1 + 1e-5)).all()
    torch.testing.assert_close(unpacked["bias_ih"], state["bias_ih"], rtol=2**-10, atol=0)
    assert stored["weight"].numel() == 1500 and stored["weight"].dtype == torch.int8
    assert stored["codes"].numel() == -(-140 * 9 // 8)


def test_rejects_an_unknown_kind_of_packing(state):
    stored, recipe = pack_state(state, eight_bits=True)
    recipe["weight"]["kind"] = "int3"
    with pytest.raises(ValueError, match="weight is packed as 'int3'"):
        unpack_state(stored, recipe)
