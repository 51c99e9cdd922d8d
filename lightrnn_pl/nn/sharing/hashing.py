"""Hashing in integer arithmetic that runs on any device, and the vectors of HashNet (Chen et al. 2015) made with it.

The hash is xxHash, 32 bit, as in their paper: the same bits as the reference implementation, for messages of up to
three 32-bit numbers in little-endian order.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)
_MASK = 0xFFFFFFFF


def xxhash32(*lanes: Int[Tensor, "*_"], seed: int = 0) -> Int[Tensor, "*_"]:
    """Hash of a message of one to three numbers.

    Args:
        lanes: The message, a tensor a number, in shapes that broadcast; only the lowest 32 bits of each count.
        seed: From 0 to below 2^32.

    Returns:
        int64 from 0 to below 2^32, of the shape that the lanes broadcast to.

    Raises:
        ValueError: If the seed is out of range, or the message has no number or more than three.
    """
    if not 0 <= seed <= _MASK:
        raise ValueError(f"the seed of a hash must be from 0 to below 2**32, got seed={seed}")
    if not 1 <= len(lanes) <= 3:
        raise ValueError(f"a message of {len(lanes)} numbers cannot be hashed here; give one to three")
    _, prime2, prime3, prime4, prime5 = _PRIMES
    start = (seed + prime5 + 4 * len(lanes)) & _MASK
    state: Tensor | int = start
    for lane in lanes:
        # A product of two numbers below 2^32 may wrap round in int64; its lowest 32 bits stay right.
        mixed = (state + (lane.long() & _MASK) * prime3) & _MASK
        state = (((mixed << 17) | (mixed >> 15)) * prime4) & _MASK
    assert not isinstance(state, int)
    state = ((state ^ (state >> 15)) * prime2) & _MASK
    state = ((state ^ (state >> 13)) * prime3) & _MASK
    return state ^ (state >> 16)


def hashed_vectors(
    weight: Float[Tensor, " M"], words: Int[Tensor, "*N"], dim: int, signed: bool = True, seed: int = 0
) -> Float[Tensor, "*N {dim}"]:
    """Vectors of some words whose elements are shared weights (Chen et al. 2015, section 4).

    Element j of word w is weight xxhash32(w, j) mod M, times a sign from a second hash, which takes the bias out of
    inner products of vectors that share weights by chance.

    Args:
        weight: The shared weights.
        words: Word ids; nothing is computed for others, and nothing kept.
        dim: Size of a vector.
        signed: Whether to use the second hash.
        seed: Of the first hash; the second has the next one.
    """
    places, negative = hashed_elements(len(weight), words, dim, signed, seed)
    # Several times faster than indexing with a tensor, above all backward.
    vectors = weight.index_select(0, places.flatten()).view(places.shape)
    return vectors if negative is None else torch.where(negative, -vectors, vectors)


def hashed_elements(
    num_weights: int, words: Int[Tensor, "*N"], dim: int, signed: bool, seed: int
) -> tuple[Int[Tensor, "*N {dim}"], Bool[Tensor, "*N {dim}"] | None]:
    """Which weight each element of some words' vectors is, and whether with a negative sign; see ``hashed_vectors``."""
    elements = torch.arange(dim, device=words.device)
    places = xxhash32(words[..., None], elements, seed=seed) % num_weights
    if not signed:
        return places, None
    return places, (xxhash32(words[..., None], elements, seed=(seed + 1) & _MASK) & 1).bool()
