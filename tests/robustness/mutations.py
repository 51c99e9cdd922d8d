"""Random changes of bytes and of nested containers."""

import copy
import math
from typing import Any

import numpy as np
import torch

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 10**9, 2**31, 2**63, -(2**63), 10**40, 0.5, -0.0, 1e-300, 1e300),
    *(math.nan, math.inf, -math.inf, "", " ", "a", "os.system", "${model}", "???", "\0", "é" * 50, "9" * 5000),
    *([], {}, [[]], [None], {"": None}, {"_target_": "os.system"}, [1, 2, 3], ["a", "b"], b"bytes", (1, 2), 1j),
]
"""Values that replace others."""


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """The data with a few bits flipped, bytes replaced, or a part removed, duplicated, or moved."""
    content = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(0, max(1, len(content))))
        stop = start + int(rng.integers(1, 64))
        match rng.integers(0, 6):
            case 0 if content:
                content[start] ^= 1 << int(rng.integers(0, 8))
            case 1:
                del content[start:stop]
            case 2:
                content[start:start] = content[start:stop]
            case 3:
                content[start:start] = rng.bytes(int(rng.integers(1, 9)))
            case 4:
                content = content[:start]
            case 5:
                content[start:stop] = rng.choice([b"-1", b"9" * 40, b"nan", b"inf", b"\n", b"\0", b"\xff", b" "])
    return bytes(content)


def mutate(content: Any, rng: np.random.Generator) -> Any:
    """A copy of nested containers and tensors in which one value is replaced, deleted, added or renamed."""
    content = copy.deepcopy(content)
    places = list(_places(content))
    container, key = places[int(rng.integers(0, len(places)))]
    value = copy.deepcopy(VALUES[int(rng.integers(0, len(VALUES)))])
    match rng.integers(0, 6):
        case 0:
            del container[key]
        case 1 if isinstance(container, list):
            container.insert(key, value)
        case 2 if isinstance(container, dict):
            container[f"{key}_"] = container.pop(key)
        case 3 if isinstance(container[key], torch.Tensor):
            container[key] = _mutated_tensor(container[key], rng)
        case 4 if isinstance(container[key], int | float) and not isinstance(container[key], bool):
            container[key] = [container[key] + 1, -container[key], float(container[key]), str(container[key])][
                int(rng.integers(0, 4))
            ]
        case _:
            container[key] = value
    return content


def _places(content: Any):
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _mutated_tensor(tensor: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    changed = tensor.clone()
    if not changed.numel():
        return changed[None]
    flat = changed.flatten()
    index = int(rng.integers(0, flat.numel()))
    match rng.integers(0, 8):
        case 0:
            flat[index] = math.nan if flat.is_floating_point() else 99
        case 1:
            flat[index] += 1
        case 2:
            return flat
        case 3:
            return changed[:-1]
        case 4:
            return changed.double() if changed.is_floating_point() else changed.float()
        case 5:
            return changed.half() if changed.is_floating_point() else changed.long()
        case 6:
            return changed.flip(0)
        case 7:
            return changed[None].expand(3, *changed.shape)
    return flat.view(tensor.shape)
