"""The word table: every word is spelled with k codes (LightRNN, section 3.1).

``k = 2`` is the paper's table, a code for the row and one for the column; ``k = 1`` is an ordinary vocabulary,
``k = 3`` a cube.  Knows words as ids and nothing of vectors, losses or text.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn


def balanced_sides(num_words: int, num_components: int) -> tuple[int, ...]:
    """The most equal sides of a table of ``num_components`` axes that holds ``num_words`` words.

    Each side is the smallest that leaves the rest of the axes able to hold the rest of the words, so that as few
    cells as possible stay empty: 10,000 words give (100, 100), 309,046 give (556, 556).
    """
    if num_words < 1:
        raise ValueError(f"a table needs at least one word, got num_words={num_words}")
    if num_components < 1:
        raise ValueError(f"a word needs at least one code, got components={num_components}")
    sides = []
    remaining = num_words
    for axes_left in range(num_components, 0, -1):
        side = max(1, round(remaining ** (1 / axes_left)))
        while side**axes_left < remaining:
            side += 1
        while side > 1 and (side - 1) ** axes_left >= remaining:
            side -= 1
        sides.append(side)
        remaining = math.ceil(remaining / side)
    return tuple(sides)


def validate_sides(num_words: int, sides: tuple[int, ...]) -> None:
    """Refuse sides that are no table or too small a one.

    Raises:
        ValueError: With the sides, the number of words and a remedy.
    """
    if not sides or any(side < 1 for side in sides):
        raise ValueError(f"every side of the table must be at least 1, got model.sides={list(sides)}")
    if math.prod(sides) < num_words:
        raise ValueError(
            f"{num_words} words do not fit into a table of sides {list(sides)} ({math.prod(sides)} cells); "
            f"give larger model.sides, for example {list(balanced_sides(num_words, len(sides)))}, or a smaller "
            "vocabulary (data.vocabulary.max_size, data.vocabulary.min_count)"
        )


class WordAllocation(nn.Module):
    """Where each word sits: ``codes[w]`` are the k coordinates of word ``w``, no two words share a cell.

    It is a module so that it moves, copies and saves with the model whose parts share it.

    Args:
        codes: Coordinates of each word, shape (V, k).
        sides: Length of each axis, k of them; the table may have more cells than words.

    Raises:
        ValueError: If a coordinate is outside the table or two words share a cell.
    """

    codes: Tensor

    def __init__(self, codes: Int[Tensor, "*sides"], sides: tuple[int, ...]) -> None:
        super().__init__()
        self.sides = tuple(int(side) for side in sides)
        validate_sides(len(codes), self.sides)
        dtype = torch.int16 if max(self.sides) <= torch.iinfo(torch.int16).max else torch.int32
        self.register_buffer("codes", torch.empty(codes.shape, dtype=dtype))
        for axis in range(self.num_components):
            self.register_buffer(f"_allowed_{axis}", None, persistent=False)
        self.assign(codes)

    @classmethod
    def in_order(cls, num_words: int, sides: tuple[int, ...]) -> WordAllocation:
        """Words in order of their ids, the last axis running fastest; empty cells come last."""
        validate_sides(num_words, tuple(sides))
        return cls(_unravel(torch.arange(num_words), sides), sides)

    @classmethod
    def random(cls, num_words: int, sides: tuple[int, ...], seed: int) -> WordAllocation:
        """The paper's cold start: a random permutation of the words over the first V cells (section 3.2, step 1)."""
        validate_sides(num_words, tuple(sides))
        generator = torch.Generator().manual_seed(seed)
        return cls(_unravel(torch.randperm(num_words, generator=generator), sides), sides)

    @property
    def num_words(self) -> int:
        """V."""
        return len(self.codes)

    @property
    def num_components(self) -> int:
        """k, the number of codes of a word and of steps it takes."""
        return len(self.sides)

    @property
    def num_bytes(self) -> int:
        """Bytes that the table itself takes beside a model's parameters."""
        return self.codes.numel() * self.codes.element_size()

    def encode(self, words: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch k"]:
        """Codes of ``words``, as int64."""
        return self.codes[words].long()

    def cells(self) -> Int[Tensor, " V"]:
        """Cell number of each word, rows first."""
        return _ravel(self.codes.long(), self.sides)

    def words(self) -> Int[Tensor, "*sides"]:
        """The table read the other way: the word in each cell, shape ``sides``; -1 where a cell is empty."""
        table = torch.full((math.prod(self.sides),), -1, dtype=torch.int64, device=self.codes.device)
        table[self.cells()] = torch.arange(self.num_words, device=self.codes.device)
        return table.view(self.sides)

    def allowed(self, axis: int) -> Bool[Tensor, "prefixes side"] | None:
        """Which codes of ``axis`` some word has, given the codes before it; None where nothing needs masking.

        Row p is the p-th combination of codes of the axes before (one row for axis 0).  A distribution over the
        vocabulary must give no probability to the others, or it sums to less than one.
        """
        return getattr(self, f"_allowed_{axis}")

    def prefixes(self, codes: Int[Tensor, "*batch k"], axis: int) -> Int[Tensor, "*batch"]:
        """The row of ``allowed(axis)`` that belongs to each word spelled ``codes``."""
        return _ravel(codes[..., :axis], self.sides[:axis])

    def assign(self, codes: Int[Tensor, "*sides"]) -> None:
        """Move every word to its new cell, in place, so that all who share this table see it.

        Raises:
            ValueError: If a coordinate is outside the table or two words share a cell; the table stays as it was.
        """
        sides = torch.tensor(self.sides, device=codes.device)
        if codes.shape != (self.num_words, self.num_components):
            raise ValueError(
                f"codes of shape {tuple(codes.shape)} do not spell {self.num_words} words with "
                f"{self.num_components} codes each"
            )
        outside = ((codes < 0) | (codes >= sides)).any(-1)
        if outside.any():
            word = int(outside.nonzero()[0])
            raise ValueError(f"word {word} has codes {codes[word].tolist()}, outside a table of {list(self.sides)}")
        cells = _ravel(codes.long(), self.sides)
        occupied = torch.bincount(cells, minlength=math.prod(self.sides))
        if (occupied > 1).any():
            cell = int((occupied > 1).nonzero()[0])
            first, second = (cells == cell).nonzero()[:2, 0].tolist()
            raise ValueError(f"words {first} and {second} share the cell {codes[first].tolist()}; each needs its own")
        self.codes.copy_(codes)
        self._derive_masks(occupied.bool())

    def fingerprint(self) -> str:
        """SHA-256 of sides and codes: two models agree on it exactly when they spell every word alike."""
        digest = hashlib.sha256(repr((self.sides, self.num_words)).encode())
        digest.update(self.codes.to("cpu", torch.int32).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def extra_repr(self) -> str:
        """Shown by ``print``."""
        return f"num_words={self.num_words}, sides={self.sides}"

    def _derive_masks(self, occupied: Bool[Tensor, " cells"]) -> None:
        for axis, side in enumerate(self.sides):
            allowed = occupied.view(math.prod(self.sides[:axis]), side, -1).any(-1)
            partly_empty = allowed.any(-1) & ~allowed.all(-1)
            mask = allowed.to(self.codes.device) if partly_empty.any() else None
            setattr(self, f"_allowed_{axis}", mask)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        codes = state_dict.get(prefix + "codes")
        if codes is not None:
            self.assign(codes.to(self.codes.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _ravel(codes: Tensor, sides: tuple[int, ...]) -> Tensor:
    cells = torch.zeros(codes.shape[:-1], dtype=torch.int64, device=codes.device)
    for axis, side in enumerate(sides):
        cells = cells * side + codes[..., axis]
    return cells


def _unravel(cells: Tensor, sides: tuple[int, ...]) -> Tensor:
    return torch.stack(torch.unravel_index(cells, tuple(sides)), -1)
