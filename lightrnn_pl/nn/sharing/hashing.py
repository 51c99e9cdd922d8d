"""xxHash in integer arithmetic for any device, and the hashed vectors of HashNet (Chen et al. 2015).

The hash is the 32-bit xxHash, as in their paper.  It is bit-identical to the reference implementation, for messages of
up to three 32-bit numbers in little-endian order.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightrnn_pl.checks import check_seed

_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)
_MASK = 0xFFFFFFFF


def xxhash32(*lanes: Int[Tensor, "*_"], seed: int = 0) -> Int[Tensor, "*_"]:
    """Hash of a message of one to three numbers.

    Args:
        lanes: The message, one tensor per number, with shapes that broadcast; only the lowest 32 bits are used.
        seed: From 0 to 2^32 - 1.

    Returns:
        int64 from 0 to 2^32 - 1, with the broadcast shape of the lanes.

    Raises:
        ValueError: If the seed is out of range, or the message does not have one to three numbers.
    """
    check_seed("seed", seed)
    if not 1 <= len(lanes) <= 3:
        raise ValueError(f"cannot hash a message of {len(lanes)} numbers; pass one to three")
    _, prime2, prime3, prime4, prime5 = _PRIMES
    start = (seed + prime5 + 4 * len(lanes)) & _MASK
    state: Tensor | int = start
    for lane in lanes:
        # A product of two numbers below 2^32 may overflow int64, but its lowest 32 bits are correct.
        mixed = (state + (lane.long() & _MASK) * prime3) & _MASK
        state = (((mixed << 17) | (mixed >> 15)) * prime4) & _MASK
    assert not isinstance(state, int)
    state = ((state ^ (state >> 15)) * prime2) & _MASK
    state = ((state ^ (state >> 13)) * prime3) & _MASK
    return state ^ (state >> 16)


def hashed_vectors(
    weight: Float[Tensor, " M"], words: Int[Tensor, "*N"], dim: int, signed: bool = True, seed: int = 0
) -> Float[Tensor, "*N {dim}"]:
    """Vectors whose elements are shared weights (Chen et al. 2015, section 4).

    Element j of word w is weight xxhash32(w, j) mod M, multiplied by a sign from a second hash.  The sign makes inner
    products of vectors unbiased if they share weights by chance.

    Args:
        weight: The shared weights.
        words: Word ids.
        dim: Size of a vector.
        signed: Whether to use the second hash.
        seed: Seed of the first hash; the second hash uses seed + 1.
    """
    indices, negative = hashed_elements(len(weight), words, dim, signed, seed)
    # Several times faster than indexing with a tensor, especially in the backward pass.
    vectors = weight.index_select(0, indices.flatten()).view(indices.shape)
    return vectors if negative is None else torch.where(negative, -vectors, vectors)


def hashed_elements(
    num_weights: int, words: Int[Tensor, "*N"], dim: int, signed: bool, seed: int
) -> tuple[Int[Tensor, "*N {dim}"], Bool[Tensor, "*N {dim}"] | None]:
    """The index of the weight of each element, and whether its sign is negative; see ``hashed_vectors``."""
    elements = torch.arange(dim, device=words.device)
    indices = xxhash32(words[..., None], elements, seed=seed) % num_weights
    if not signed:
        return indices, None
    return indices, (xxhash32(words[..., None], elements, seed=(seed + 1) & _MASK) & 1).bool()
