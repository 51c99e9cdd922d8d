"""The contract of maps from words to shared sub-vectors (Slim Embedding, "Random Parameter Sharing").

The vector of a word is a concatenation of K sub-vectors out of M, which all words share.  A map determines the
sub-vectors of each word, and does not change during training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from lightrnn_pl.checks import check_count, check_flag, check_ratio


def shared_count(
    compression: float | None, number: int | None, maximum: int, key: str, group: str = "", minimum: int = 1
) -> int:
    """The number of shared parameters, which is configured either directly or as a compression ratio.

    Args:
        compression: The number divided by ``maximum``, above 0 and at most 1; None if ``number`` is set.
        number: The number; None if ``compression`` is set.
        maximum: The number without any sharing.
        key: The configuration key of ``number``.
        group: The configuration group of both keys, for messages.
        minimum: The smallest result for a compression ratio.

    Raises:
        ValueError: Unless exactly one of ``compression`` and ``number`` is set and in range.
    """
    ratio, key = (f"{group}.{name}" if group else name for name in ("compression", key))
    if (compression is None) == (number is None):
        raise ValueError(f"set exactly one of {ratio} and {key}, and the other to null; got {compression} and {number}")
    if number is None:
        assert compression is not None
        check_ratio(ratio, compression)
        return max(minimum, round(compression * maximum))
    check_count(key, number)
    if number > maximum:
        raise ValueError(f"{key} must be at most {maximum}, the number without sharing, got {number}")
    return number


def subvector_count(
    compression: float | None, num_subvectors: int | None, num_words: int, num_parts: int, group: str = ""
) -> int:
    """M, which is configured either directly or as the compression ratio M / (K V).

    Args:
        compression: The ratio, above 0 and at most 1; None if ``num_subvectors`` is set.
        num_subvectors: M; None if ``compression`` is set.
        num_words: V.
        num_parts: K, the smallest result for a compression ratio.
        group: The configuration group of both keys, for messages.

    Raises:
        ValueError: Unless exactly one of ``compression`` and ``num_subvectors`` is set and in range.
    """
    maximum = num_words * num_parts
    return shared_count(compression, num_subvectors, maximum, "num_subvectors", group, minimum=num_parts)


def default_parts(dim: int) -> int:
    """The divisor of ``dim`` nearest to 10, and the larger one of two: 10 for 200 and 300, 8 for 64, 128 and 512."""
    divisors = [number for number in range(1, dim + 1) if dim % number == 0]
    return min(divisors, key=lambda number: (abs(number - 10), -number))


def narrowest_dtype(largest: int) -> torch.dtype:
    """The narrowest integer type that torch can index with and that can represent ``largest``."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if largest <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64


def describe_key(key: str) -> str:
    """A configuration key for messages; a map is not aware of whether it belongs to the embedding or the output."""
    return f"model.embedding.{key} (or model.output.{key}, for the map of the output)"


class SubvectorMap(nn.Module, ABC):
    """Abstract: maps each word to the numbers of the K sub-vectors of its vector.

    Args:
        num_words: V.
        num_parts: K, the number of parts of a vector.
        num_subvectors: M, the total number of sub-vectors.
        disjoint: Whether each part i has its own set of sub-vectors, those in ``span(i)`` (the K disjoint sets that
            Algorithm 1 of the paper requires).  Otherwise, each part may use all M sub-vectors.

    Attributes:
        disjoint: The argument, or True for maps whose sets are always disjoint.

    Raises:
        ValueError: If a size is not an integer greater than or equal to 1, or M is too small for disjoint sets.
    """

    def __init__(self, num_words: int, num_parts: int, num_subvectors: int, disjoint: bool) -> None:
        super().__init__()
        check_count("num_words", num_words)
        check_count("num_parts", num_parts)
        check_count("num_subvectors", num_subvectors)
        check_flag("disjoint", disjoint)
        if disjoint and num_subvectors < num_parts:
            raise ValueError(
                f"num_subvectors={num_subvectors} is too small for num_parts={num_parts} disjoint sets; raise "
                f"{describe_key('num_subvectors')}, or use fewer parts"
            )
        self.num_words = num_words
        self.num_parts = num_parts
        self.num_subvectors = num_subvectors
        self.disjoint = disjoint

    @property
    def table_bytes(self) -> int:
        """Size of the map in bytes."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    def span(self, part: int) -> tuple[int, int]:
        """The sub-vectors of part ``part``: the first number, and the one after the last.

        The sizes of disjoint sets differ by at most one.
        """
        if not self.disjoint:
            return 0, self.num_subvectors
        return part * self.num_subvectors // self.num_parts, (part + 1) * self.num_subvectors // self.num_parts

    def table(self) -> Integer[Tensor, "V K"] | None:
        """The stored numbers of all words; None for a map that is computed."""
        return None

    @abstractmethod
    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        """Numbers of the sub-vectors of each word, first part first, as int64."""

    def initial_subvectors(self) -> Float[Tensor, "M P"] | None:
        """Initial values of the sub-vectors, if the map provides them; otherwise None."""
        return None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        table = self.table() if self.table_bytes else None
        if table is not None:
            starts, stops = torch.tensor([self.span(part) for part in range(self.num_parts)]).to(table.device).unbind(1)
            if ((table < starts) | (table >= stops)).any():
                raise ValueError(
                    f"{prefix}numbers contains sub-vectors outside of the sets of {self.num_subvectors} sub-vectors"
                )

    def extra_repr(self) -> str:
        """Description shown by ``print``."""
        return (
            f"num_words={self.num_words}, num_parts={self.num_parts}, num_subvectors={self.num_subvectors}, "
            f"disjoint={self.disjoint}"
        )
