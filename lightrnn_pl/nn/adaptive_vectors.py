"""Word vectors that are shorter for rarer words (adaptive input representations, Baevski and Auli 2019).

    y_w = A_i e_w    for each word w of band i; e_w has floor(D / div_value^i) elements, and A_0 is the identity

The bands are consecutive ranges of word ids, which are in the order of descending frequency.  At the output, y_w . h is
computed as e_w . (A_i^T h), as in the differentiated softmax of Chen et al. (2016), which takes parts of the hidden
state instead of projections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor, nn
from torch.nn import functional as F

from lightrnn_pl.checks import check_counts, check_number


def frequency_cutoffs(
    cutoffs: Sequence[int] | None, num_words: int, dim: int, div_value: float, layer: str
) -> list[int]:
    """The first word of each band except the first one.

    Args:
        cutoffs: The cutoffs.  None selects V/16 and V/4, which is similar to common choices for 250,000 words, or only
            V/4 if ``dim`` is too small for three bands.
        num_words: V.
        dim: The size of the vectors of the first band.
        div_value: Ratio of the vector sizes of consecutive bands.
        layer: The configuration key of the layer, for error messages.

    Raises:
        ValueError: If an argument is out of range, or the vectors of a band would have no elements.
    """
    option = layer.replace(".", "/")
    size = "model.hidden_dim" if layer == "model.output" else "model.embedding_dim"
    check_number(f"{layer}.div_value", div_value, 1, dim, hint=f" ({size}), so that vectors have at least one element")
    if num_words < 2:
        raise ValueError(
            f"{option}=adaptive needs frequent and rare words, but the vocabulary has only {num_words} word; use "
            f"{option}=full, or a larger vocabulary"
        )
    if cutoffs is None:
        chosen = [num_words // 16, num_words // 4][0 if dim // div_value**2 >= 1 else 1 :]
        return sorted({min(max(1, cutoff), num_words - 1) for cutoff in chosen})
    chosen = check_counts(f"{layer}.cutoffs", cutoffs)
    if not chosen or any(first >= second for first, second in pairwise([*chosen, num_words])):
        raise ValueError(
            f"{layer}.cutoffs={chosen} must be one or more increasing numbers below the vocabulary size {num_words}, "
            "or null to select them automatically"
        )
    if dim // div_value ** len(chosen) < 1:
        raise ValueError(
            f"{layer}.cutoffs={chosen} define {len(chosen) + 1} sizes, and the shortest vectors would have size "
            f"{dim} / {div_value}^{len(chosen)}, below 1; use fewer cutoffs, a smaller {layer}.div_value or longer "
            "vectors"
        )
    return chosen


def vector_sizes(dim: int, div_value: float, num_bands: int) -> list[int]:
    """The size of the vectors of each band: ``dim``, and less by the factor ``div_value`` from band to band."""
    return [int(dim // div_value**number) for number in range(num_bands)]


class AdaptiveVectors(nn.Module):
    """A matrix of vectors for each band of words, and one projection for all bands but the first.

    A vector is also used as a row of size P, the sum of the sizes of all bands, with zeros for other bands.

    Attributes:
        bands: The words of each band.
        columns: The columns of each band among the P columns.
        weights: The vectors of each band.
        projection: The transposed matrices A_i of all bands except the first one.
        positions: The index at which the vector of each word is stored, counted over all bands; None for the word ids.

    Args:
        num_words: V.
        dim: D, the size of the vectors of the first band.
        cutoffs: The first word of each band except the first one.
        div_value: Ratio of the vector sizes of consecutive bands.
    """

    positions: Int32[Tensor, " V"] | None

    def __init__(self, num_words: int, dim: int, cutoffs: Sequence[int], div_value: float) -> None:
        super().__init__()
        self.dim = dim
        starts, stops = [0, *cutoffs], [*cutoffs, num_words]
        self.bands = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
        sizes = vector_sizes(dim, div_value, len(self.bands))
        ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
        self.columns = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(band.stop - band.start, size))
            for band, size in zip(self.bands, sizes, strict=True)
        )
        self.projection = nn.Parameter(torch.zeros(ends[-1] - dim, dim))
        self.register_buffer("positions", None)

    @property
    def shape(self) -> list[tuple[int, int]]:
        """Number of words and size of the vectors of each band."""
        return [(weight.shape[0], weight.shape[1]) for weight in self.weights]

    def initialise(self, scale: float) -> None:
        """Initialize so that the elements of the vectors of all bands have the same variance after the projection."""
        for weight in self.weights:
            nn.init.uniform_(weight, -scale, scale)
        for columns in self.columns[1:]:
            bound = math.sqrt(3 / (columns.stop - columns.start))
            nn.init.uniform_(self.projection.data[columns.start - self.dim : columns.stop - self.dim], -bound, bound)

    def store_in_order(self, words: Int[Tensor, " V"]) -> None:
        """Store the vectors of each band in the order of ``words``, so that those of consecutive words are together.

        The parameters keep their values, so most words get other vectors.
        """
        positions = torch.empty(len(words), dtype=torch.int32, device=words.device)
        for band in self.bands:
            inside = words[(words >= band.start) & (words < band.stop)]
            positions[inside] = torch.arange(band.start, band.stop, dtype=torch.int32, device=words.device)
        self.positions = positions

    @property
    def table_bytes(self) -> int:
        """Size of ``positions`` in bytes."""
        return 0 if self.positions is None else self.positions.numel() * self.positions.element_size()

    def locate(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N"]:
        """The indices at which the vectors of ``words`` are stored."""
        return words if self.positions is None else self.positions[words]

    def forward(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N P"]:
        """The rows of size P of ``words``, without waiting for the host on a GPU."""
        words, parts = self.locate(words), []
        for band, weight in zip(self.bands, self.weights, strict=True):
            inside = (words >= band.start) & (words < band.stop)
            parts.append(F.embedding((words - band.start).clamp(0, len(weight) - 1), weight) * inside[..., None])
        return torch.cat(parts, -1)

    def expand(self, rows: Float[Tensor, "*N P"]) -> Float[Tensor, "*N D"]:
        """The vectors of size D, given the rows of size P."""
        return rows[..., : self.dim] + F.linear(rows[..., self.dim :], self.projection.T)

    def query(self, hidden: Float[Tensor, "*N D"]) -> Float[Tensor, "*N P"]:
        """The vectors whose products with rows of size P are those of ``hidden`` with vectors of size D."""
        return torch.cat([hidden, F.linear(hidden, self.projection)], -1)
