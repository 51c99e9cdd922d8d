"""The word allocation: every word has k codes (LightRNN, section 3.1).

k = 2 is the paper's word table, with a code for the row and one for the column.  k = 1 is an ordinary vocabulary, and
k = 3 a cube.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn


def balanced_sides(num_words: int, num_components: int) -> tuple[int, ...]:
    """The most equal sides of a table with ``num_components`` axes for ``num_words`` words.

    Each side is the smallest for which the remaining axes can accommodate the remaining words, so that few cells are
    empty: (100, 100) for 10,000 words, and (556, 556) for 309,046 words.
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
    """Check that a table of these sides has room for all words.

    Raises:
        ValueError: If a side is below 1, or the table has fewer cells than there are words.
    """
    if not sides or any(side < 1 for side in sides):
        raise ValueError(f"every side of the table must be at least 1, got model.sides={list(sides)}")
    if math.prod(sides) < num_words:
        raise ValueError(
            f"{num_words} words do not fit into a table with sides {list(sides)} ({math.prod(sides)} cells); "
            f"set larger model.sides, for example {list(balanced_sides(num_words, len(sides)))}, or use a smaller "
            "vocabulary (data.vocabulary.max_size, data.vocabulary.min_count)"
        )


class WordAllocation(nn.Module):
    """Maps words to cells of a table: ``codes[w]`` are the k codes of word ``w``, and no two words share a cell.

    It is a module, so it is moved, copied and saved together with the model whose parts share it.

    Args:
        codes: Codes of each word, shape (V, k).
        sides: Length of each of the k axes; the table may have more cells than words.

    Raises:
        ValueError: If a code is outside the table or two words share a cell.
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
        """Words in the order of their ids, with the last axis varying fastest; empty cells come last."""
        validate_sides(num_words, tuple(sides))
        return cls(_unravel(torch.arange(num_words), sides), sides)

    @classmethod
    def random(cls, num_words: int, sides: tuple[int, ...], seed: int) -> WordAllocation:
        """A random permutation of the words over the first V cells (LightRNN, section 3.2, step 1)."""
        validate_sides(num_words, tuple(sides))
        generator = torch.Generator().manual_seed(seed)
        return cls(_unravel(torch.randperm(num_words, generator=generator), sides), sides)

    @property
    def num_words(self) -> int:
        """V."""
        return len(self.codes)

    @property
    def num_components(self) -> int:
        """k, the number of codes and of recurrent steps per word."""
        return len(self.sides)

    @property
    def num_cells(self) -> int:
        """The number of cells of the table, with or without words."""
        return math.prod(self.sides)

    @property
    def num_bytes(self) -> int:
        """Size of the codes in bytes; they are not counted among a model's parameters."""
        return self.codes.numel() * self.codes.element_size()

    def encode(self, words: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch k"]:
        """Codes of ``words``, as int64."""
        return self.codes[words].long()

    def cells(self) -> Int[Tensor, " V"]:
        """Cell number of each word, in row-major order."""
        return _ravel(self.codes.long(), self.sides)

    def words(self) -> Int[Tensor, "*sides"]:
        """The inverse mapping: the word in each cell, shape ``sides``; -1 for empty cells."""
        table = torch.full((math.prod(self.sides),), -1, dtype=torch.int64, device=self.codes.device)
        table[self.cells()] = torch.arange(self.num_words, device=self.codes.device)
        return table.view(self.sides)

    def allowed(self, axis: int) -> Bool[Tensor, "prefixes side"] | None:
        """Mask of the codes of ``axis`` that occur after each prefix; None if no masking is needed.

        Row p is the p-th combination of codes of the preceding axes (a single row for axis 0).  A distribution over the
        vocabulary must assign zero probability to the other codes, or it sums to less than one.
        """
        return getattr(self, f"_allowed_{axis}")

    def prefixes(self, codes: Int[Tensor, "*batch k"], axis: int) -> Int[Tensor, "*batch"]:
        """The row of ``allowed(axis)`` for each word with ``codes``."""
        return _ravel(codes[..., :axis], self.sides[:axis])

    def assign(self, codes: Int[Tensor, "*sides"]) -> None:
        """Assign new codes to all words, in place, so that all modules that share this allocation see the change.

        Raises:
            ValueError: If a code is outside the table or two words share a cell.  The allocation is then unchanged.
        """
        sides = torch.tensor(self.sides, device=codes.device)
        if codes.shape != (self.num_words, self.num_components):
            raise ValueError(
                f"expected codes of shape {(self.num_words, self.num_components)} for {self.num_words} words with "
                f"{self.num_components} codes each, got {tuple(codes.shape)}"
            )
        outside = ((codes < 0) | (codes >= sides)).any(-1)
        if outside.any():
            word = int(outside.nonzero()[0])
            raise ValueError(
                f"word {word} has codes {codes[word].tolist()}, outside the table with sides {list(self.sides)}"
            )
        cells = _ravel(codes.long(), self.sides)
        occupied = torch.bincount(cells, minlength=math.prod(self.sides))
        if (occupied > 1).any():
            cell = int((occupied > 1).nonzero()[0])
            first, second = (cells == cell).nonzero()[:2, 0].tolist()
            raise ValueError(
                f"words {first} and {second} share the cell {codes[first].tolist()}; each word needs its own cell"
            )
        self.codes.copy_(codes)
        self._update_masks(occupied.bool())

    def fingerprint(self) -> str:
        """SHA-256 of sides and codes: equal for two models if and only if all words have the same codes."""
        digest = hashlib.sha256(repr((self.sides, self.num_words)).encode())
        digest.update(self.codes.to("cpu", torch.int32).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def extra_repr(self) -> str:
        """Description shown by ``print``."""
        return f"num_words={self.num_words}, sides={self.sides}"

    def _update_masks(self, occupied: Bool[Tensor, " cells"]) -> None:
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
