"""Packing of tensors: integers in the minimum number of bits, weights in 8 bits with scales.

    weight ~ scale * q,    q an integer from -127 to 127,    scale = largest |weight| of its group / 127

A group is a row of a matrix, or 64 consecutive weights if rows are short.  The error of a weight is at most half a
scale.  Biases are stored in 16 bits, because they are few and an error in the bias of a word affects every position.
Integers are restored exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Recipe = dict[str, dict[str, Any]]
"""How to unpack each tensor of a state.  Tensors without an entry are stored unchanged."""

UNPACKED_RATIO = 4
"""Unpacked weights take at most this multiple of the bytes of stored ones: 32 bits instead of 8."""

_SCALES = ".scales"
_SHORT_ROW = 32
_GROUP = 64
_BLOCK = 1 << 18
"""Number of integers packed at a time.  A multiple of eight, so that blocks end at byte boundaries."""


def pack_numbers(numbers: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """Integers from 0 to 2^bits - 1 packed consecutively, lowest bit first, (N,) -> (ceil(N * bits / 8),)."""
    shifts = np.arange(bits)
    blocks = [
        np.packbits((numbers[start : start + _BLOCK, None] >> shifts & 1).astype(np.uint8), bitorder="little")
        for start in range(0, len(numbers), _BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint8)


def unpack_numbers(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int64]:
    """The integers packed by ``pack_numbers``, (count,)."""
    weights = 1 << np.arange(bits, dtype=np.int64)
    numbers = np.empty(count, dtype=np.int64)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        block = packed[start * bits // 8 : (start * bits + size * bits + 7) // 8]
        digits = np.unpackbits(block, count=size * bits, bitorder="little").reshape(size, bits)
        numbers[start : start + size] = digits @ weights
    return numbers


def pack_state(state: Mapping[str, Tensor], eight_bits: bool = False) -> tuple[dict[str, Tensor], Recipe]:
    """The tensors to store and the recipe to unpack them.  Tensors that share memory are stored once.

    Args:
        state: Tensors by name, on the CPU.
        eight_bits: Whether to pack weights and integers.  Otherwise, all values are stored exactly.
    """
    stored: dict[str, Tensor] = {}
    recipe: Recipe = {}
    first_names: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        # The data pointer of an empty tensor does not identify it.
        identity = (
            (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype) if tensor.numel() else (name,)
        )
        first = first_names.setdefault(identity, name)
        if first != name:
            recipe[name] = {"kind": "same", "as": first}
        elif not eight_bits or not tensor.numel() or tensor.dtype == torch.bool:
            stored[name] = tensor.contiguous()
        elif tensor.is_floating_point():
            recipe[name] = _pack_weights(name, tensor, stored)
        else:
            least = int(tensor.min())
            numbers = tensor.flatten().long().numpy() - least
            bits = max(1, int(numbers.max()).bit_length())
            stored[name] = torch.from_numpy(pack_numbers(numbers, bits))
            recipe[name] = {"kind": "bits", "bits": bits, "least": least, **_shape_and_dtype(tensor)}
    return stored, recipe


def unpack_state(stored: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """The state packed by ``pack_state``.  The result is deterministic to the bit.

    Raises:
        KeyError: If a tensor or an entry of the recipe is missing.
        ValueError: If the recipe contains an unknown kind of packing or does not match the tensors.
    """
    scales = {name + _SCALES for name in recipe}
    state = {name: tensor for name, tensor in stored.items() if name not in recipe and name not in scales}
    for name, how in recipe.items():
        if how["kind"] == "same":
            continue
        shape, dtype = tuple(how["shape"]), getattr(torch, how["dtype"])
        count = math.prod(shape)
        if how["kind"] == "bits":
            # Checked before memory is allocated for the integers.
            if not 1 <= how["bits"] <= 63 or len(stored[name]) != -(-count * how["bits"] // 8):
                raise ValueError(f"the tensor {name} does not have {count} integers of {how['bits']} bits")
            numbers = unpack_numbers(stored[name].numpy(), how["bits"], count) + how["least"]
            state[name] = torch.from_numpy(numbers).to(dtype).view(shape)
        elif how["kind"] == "half":
            state[name] = stored[name].to(dtype).view(shape)
        elif how["kind"] == "int8":
            grouped = stored[name].float().view(-1, how["group"]) * stored[name + _SCALES][:, None]
            state[name] = grouped.flatten()[:count].to(dtype).view(shape)
        else:
            raise ValueError(f"the tensor {name} is packed as {how['kind']!r}, which this release does not support")
    for name, how in recipe.items():
        if how["kind"] == "same":
            state[name] = state[how["as"]]
    return state


def _pack_weights(name: str, tensor: Tensor, stored: dict[str, Tensor]) -> dict[str, Any]:
    if tensor.ndim < 2 and "bias" in name.rpartition(".")[2]:
        stored[name] = tensor.half().contiguous()
        return {"kind": "half", **_shape_and_dtype(tensor)}
    flat = tensor.float().flatten()
    row = tensor[0].numel() if tensor.ndim > 1 else 0
    group = row if row >= _SHORT_ROW else _GROUP
    # The last group is padded with zeros, which unpacking removes.
    grouped = torch.nn.functional.pad(flat, (0, -len(flat) % group)).view(-1, group)
    scales = grouped.abs().amax(1) / 127
    numbers = torch.where(scales[:, None] > 0, grouped / scales[:, None], 0.0).round().clamp(-127, 127)
    stored[name] = numbers.to(torch.int8).flatten()
    stored[name + _SCALES] = scales
    return {"kind": "int8", "group": group, **_shape_and_dtype(tensor)}


def _shape_and_dtype(tensor: Tensor) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
