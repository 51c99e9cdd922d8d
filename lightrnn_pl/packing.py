"""Tensors in fewer bytes: whole numbers in as few bits as the largest needs, weights in 8 bits with scales.

    weight ~ scale * q,    q a whole number from -127 to 127,    scale = largest |weight| of its group / 127

A group is a row of a matrix, or 64 neighbours where rows are short; so a weight is off by half a scale at most.  Biases
are kept in 16 bits: they are few, and an error there hits a word at every position.  Whole numbers come back exactly.

Knows numbers and names of tensors; neither models nor files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Recipe = dict[str, dict[str, Any]]
"""How each tensor of a state comes back; a tensor that is not named was kept as it is."""

_SHORT_ROW = 32
_GROUP = 64
_AT_ONCE = 1 << 18
"""Numbers that are spread into bits at a time; a multiple of eight, so that blocks end where bytes do."""


def pack_numbers(numbers: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """Numbers from 0 to below 2^bits side by side, lowest bit first, (N,) -> (ceil(N * bits / 8),)."""
    places = np.arange(bits)
    blocks = [
        np.packbits((numbers[start : start + _AT_ONCE, None] >> places & 1).astype(np.uint8), bitorder="little")
        for start in range(0, len(numbers), _AT_ONCE)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint8)


def unpack_numbers(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int64]:
    """What ``pack_numbers`` packed, (count,)."""
    weights = 1 << np.arange(bits, dtype=np.int64)
    found = np.empty(count, dtype=np.int64)
    for start in range(0, count, _AT_ONCE):
        number = min(_AT_ONCE, count - start)
        some = packed[start * bits // 8 : (start * bits + number * bits + 7) // 8]
        spread = np.unpackbits(some, count=number * bits, bitorder="little").reshape(number, bits)
        found[start : start + number] = spread @ weights
    return found


def pack_state(state: Mapping[str, Tensor], eight_bits: bool = False) -> tuple[dict[str, Tensor], Recipe]:
    """The tensors to store, those that share their numbers once, and how the state comes back from them.

    Args:
        state: Tensors by name, on the CPU.
        eight_bits: Whether to pack weights and whole numbers; otherwise they are kept bit for bit.
    """
    stored: dict[str, Tensor] = {}
    recipe: Recipe = {}
    first_names: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        # An empty tensor has no place in memory that would tell it from others.
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype) if tensor.numel() else (name,)
        first = first_names.setdefault(place, name)
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
            recipe[name] = {"kind": "bits", "bits": bits, "least": least, **_form(tensor)}
    return stored, recipe


def unpack_state(stored: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """The state that ``pack_state`` stored; always the same bits from the same bytes.

    Raises:
        KeyError: If a tensor is missing.
        ValueError: If the recipe has a kind of packing that is not known here.
    """
    scales = {name + _SCALES for name in recipe}
    state = {name: tensor for name, tensor in stored.items() if name not in recipe and name not in scales}
    for name, how in recipe.items():
        if how["kind"] == "same":
            continue
        shape, dtype = tuple(how["shape"]), getattr(torch, how["dtype"])
        count = int(np.prod(shape))
        if how["kind"] == "bits":
            numbers = unpack_numbers(stored[name].numpy(), how["bits"], count) + how["least"]
            state[name] = torch.from_numpy(numbers).to(dtype).view(shape)
        elif how["kind"] == "half":
            state[name] = stored[name].to(dtype).view(shape)
        elif how["kind"] == "int8":
            grouped = stored[name].float().view(-1, how["group"]) * stored[name + _SCALES][:, None]
            state[name] = grouped.flatten()[:count].to(dtype).view(shape)
        else:
            raise ValueError(f"the tensor {name} is packed as {how['kind']!r}, which this release does not know")
    for name, how in recipe.items():
        if how["kind"] == "same":
            state[name] = state[how["as"]]
    return state


_SCALES = ".scales"


def _pack_weights(name: str, tensor: Tensor, stored: dict[str, Tensor]) -> dict[str, Any]:
    if tensor.ndim < 2 and "bias" in name.rpartition(".")[2]:
        stored[name] = tensor.half().contiguous()
        return {"kind": "half", **_form(tensor)}
    flat = tensor.float().flatten()
    row = tensor[0].numel() if tensor.ndim > 1 else 0
    group = row if row >= _SHORT_ROW else _GROUP
    # Zeros fill up the last group, and are cut off again.
    grouped = torch.nn.functional.pad(flat, (0, -len(flat) % group)).view(-1, group)
    scales = grouped.abs().amax(1) / 127
    numbers = torch.where(scales[:, None] > 0, grouped / scales[:, None], 0.0).round().clamp(-127, 127)
    stored[name] = numbers.to(torch.int8).flatten()
    stored[name + _SCALES] = scales
    return {"kind": "int8", "group": group, **_form(tensor)}


def _form(tensor: Tensor) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
