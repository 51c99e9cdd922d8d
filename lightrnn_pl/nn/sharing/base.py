"""What every map of words to shared sub-vectors promises (Slim Embedding, "Random Parameter Sharing").

A word's vector is K sub-vectors side by side, taken from M that all words share.  A map says which; it knows nothing
of the sub-vectors themselves, and is fixed before the training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from lightrnn_pl.checks import check_count, check_flag, check_ratio


def shared_count(
    compression: float | None, number: int | None, most: int, key: str, group: str = "", least: int = 1
) -> int:
    """How many trained things are shared by ``most`` places, given as a number or as a ratio.

    Args:
        compression: The ratio, above 0 and at most 1; None where ``number`` is given.
        number: The number itself; None where ``compression`` is given.
        most: Places, so the number at which nothing would be shared.
        key: What ``number`` is called in the configuration.
        group: Its configuration group, for messages.
        least: What a ratio is rounded up to.

    Raises:
        ValueError: Unless exactly one of the two is given, or where it is out of range.
    """
    ratio, key = (f"{group}.{name}" if group else name for name in ("compression", key))
    if (compression is None) == (number is None):
        raise ValueError(f"give one of {ratio} and {key}, and set the other to null; got {compression} and {number}")
    if number is None:
        assert compression is not None
        check_ratio(ratio, compression)
        return max(least, round(compression * most))
    check_count(key, number)
    if number > most:
        raise ValueError(f"{key} must be at most {most}, beyond which some are never used, got {number}")
    return number


def subvectors_for(
    compression: float | None, num_subvectors: int | None, num_words: int, num_parts: int, group: str = ""
) -> int:
    """M, given itself or as the ratio M / (K V) to what words that share nothing would need.

    Args:
        compression: The ratio, above 0 and at most 1; None where ``num_subvectors`` is given.
        num_subvectors: M; None where ``compression`` is given.
        num_words: V.
        num_parts: K; a ratio never gives less than one sub-vector a part.
        group: Where the keys stand in the configuration, for messages.

    Raises:
        ValueError: Unless exactly one of the two is given, or where it is out of range.
    """
    most = num_words * num_parts
    return shared_count(compression, num_subvectors, most, "num_subvectors", group, least=num_parts)


def smallest_dtype(largest: int) -> torch.dtype:
    """The narrowest integers that can index in torch and hold ``largest``."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if largest <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64


def in_either(key: str) -> str:
    """A key as a message names it that does not know which layer's map it speaks of."""
    return f"model.embedding.{key} (or model.output.{key}, for the map of the output)"


class SubvectorMap(nn.Module, ABC):
    """For each word, the numbers of the K sub-vectors that make its vector.

    Args:
        num_words: V.
        num_parts: K, the parts of a vector.
        num_subvectors: M, the sub-vectors of all parts together.
        disjoint: Part i draws only from a set of its own, the numbers in ``span(i)`` (the paper's K disjoint sets,
            which Algorithm 1 needs); otherwise every part draws from all M.

    Attributes:
        disjoint: As asked for, or True for a map whose sets are always disjoint.

    Raises:
        ValueError: If a size is no count, or M leaves a disjoint set empty.
    """

    def __init__(self, num_words: int, num_parts: int, num_subvectors: int, disjoint: bool) -> None:
        super().__init__()
        check_count("num_words", num_words)
        check_count("num_parts", num_parts)
        check_count("num_subvectors", num_subvectors)
        check_flag("disjoint", disjoint)
        if disjoint and num_subvectors < num_parts:
            raise ValueError(
                f"num_subvectors={num_subvectors} cannot give each of num_parts={num_parts} parts a set of its own; "
                f"raise {in_either('num_subvectors')}, or give fewer parts"
            )
        self.num_words = num_words
        self.num_parts = num_parts
        self.num_subvectors = num_subvectors
        self.disjoint = disjoint

    @property
    def table_bytes(self) -> int:
        """Bytes of what is looked up."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    def span(self, part: int) -> tuple[int, int]:
        """The numbers that part ``part`` draws from: the first, and the one after the last.

        The sizes of disjoint sets differ by one at most.
        """
        if not self.disjoint:
            return 0, self.num_subvectors
        return part * self.num_subvectors // self.num_parts, (part + 1) * self.num_subvectors // self.num_parts

    def table(self) -> Integer[Tensor, "V K"] | None:
        """What :meth:`forward` gives for all words, as it is kept; None for a map that keeps nothing."""
        return None

    @abstractmethod
    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        """Numbers of the sub-vectors of each word, first part first, as int64."""

    def starting_vectors(self) -> Float[Tensor, "M P"] | None:
        """Values for the sub-vectors to start from, where the map knows better than chance; None where not."""
        return None

    def extra_repr(self) -> str:
        """Shown by ``print``."""
        return (
            f"num_words={self.num_words}, num_parts={self.num_parts}, num_subvectors={self.num_subvectors}, "
            f"disjoint={self.disjoint}"
        )
