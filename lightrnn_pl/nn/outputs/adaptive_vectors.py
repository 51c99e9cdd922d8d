"""Output vectors that are shorter for rarer words, in one softmax over the vocabulary or over the words of a row.

In contrast to the adaptive softmax (``model/output=adaptive``), the logits of all words are normalized together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.adaptive_vectors import AdaptiveVectors, frequency_cutoffs, vector_sizes
from lightrnn_pl.nn.embeddings.adaptive import AdaptiveEmbedding
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.softmax import WeightOutput
from lightrnn_pl.nn.outputs.vector_sources import VectorSource, Weights, as_ids


class AdaptiveVectorOutput(WeightOutput):
    """See :mod:`~lightrnn_pl.nn.adaptive_vectors`.

    Args:
        allocation: The word allocation, k = 1.
        hidden_dim: H, the size of the vectors of the most frequent words.
        cutoffs: The first word of each band of shorter vectors, in the order of word ids, which is that of descending
            frequency.  None selects V/16 and V/4.
        div_value: Ratio of the vector sizes of consecutive bands.
        chunk_size: See :class:`SoftmaxOutput`.

    Raises:
        ValueError: If words have more than one code, or an argument is out of range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        hidden_dim: int,
        cutoffs: Sequence[int] | None = None,
        div_value: float = 5.0,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(allocation, hidden_dim, chunk_size)
        chosen = frequency_cutoffs(cutoffs, self.num_words, hidden_dim, div_value, "model.output")
        self.cutoffs, self.div_value = chosen, div_value
        self._shares_vectors = False
        self._use(AdaptiveVectors(self.num_words, hidden_dim, chosen, div_value))

    @property
    @override
    def vector_weights(self) -> Weights:
        return tuple(self.vectors.weights)

    @property
    @override
    def table_bytes(self) -> int:
        """Size of the order of the vectors in bytes; 0 if it is shared with an embedding, which counts it."""
        return 0 if self._shares_vectors else self.vectors.table_bytes

    @override
    def store_in_order(self, words: Int[Tensor, " V"]) -> None:
        self.vectors.store_in_order(words)

    @override
    def initialise(self, scale: float) -> None:
        super().initialise(scale)
        self.vectors.initialise(scale)

    @override
    def tie(self, embedding: Embedding) -> None:
        """Share the vectors and the projection of an adaptive embedding with the same bands.

        Raises:
            ValueError: If the embedding is different.  The message lists the settings that are required.
        """
        if not isinstance(embedding, AdaptiveEmbedding) or not self._has_same_bands(embedding):
            settings = [
                "model/embedding=adaptive",
                f"model.embedding.cutoffs={self.cutoffs}",
                f"model.embedding.div_value={self.div_value}",
            ]
            self._refuse_to_tie(embedding, settings)
        self._use(embedding.vectors)
        self._shares_vectors = True
        self._project_to(embedding.embedding_dim)

    def _has_same_bands(self, embedding: AdaptiveEmbedding) -> bool:
        sizes = vector_sizes(embedding.embedding_dim, self.div_value, len(self.vectors.bands))
        return embedding.vectors.bands == self.vectors.bands and sizes == [size for _, size in embedding.vectors.shape]

    @override
    def query(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N P"]:
        return self.vectors.query(super().query(hidden))

    @override
    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S P"]:
        return self.vectors(words)

    @override
    def query_logits(self, query: Float[Tensor, "N P"], start: int, stop: int) -> Float[Tensor, "N _"]:
        if self.vectors.positions is not None:
            return super().query_logits(query, start, stop)
        parts = self.source.locate(self.vector_weights, slice(start, stop))
        weights, bias = self.vector_weights, self.bias[start:stop]
        return torch.cat(
            [F.linear(query[:, part.columns], weights[part.band][part.rows], bias[part.positions]) for part in parts],
            -1,
        )

    def _use(self, vectors: AdaptiveVectors) -> None:
        self.vectors = vectors
        self.source: _RowsOfBands = _RowsOfBands(vectors)


class _Part(NamedTuple):
    """The words of one band among a group of words."""

    band: int
    columns: slice
    rows: slice | Tensor
    """Rows of the band's matrix."""
    positions: slice | Tensor
    """The words among the group."""


class _RowsOfBands(VectorSource):
    """The vectors are rows of one matrix per band, with zeros in the columns of other bands."""

    def __init__(self, vectors: AdaptiveVectors) -> None:
        self.vectors, self.columns = vectors, vectors.columns

    @override
    def locate(self, weights: Weights, words: slice | Int[Tensor, " S"]) -> list[_Part]:
        if isinstance(words, slice) and self.vectors.positions is None:
            return self._parts_of_range(words)
        stored = self.vectors.locate(as_ids(words, weights))
        first, last = (int(end) for end in torch.aminmax(stored)) if len(stored) else (0, -1)
        if last - first + 1 == len(stored) and bool((stored.diff() == 1).all()):
            return self._parts_of_range(slice(first, last + 1))
        parts = []
        for number, (band, columns) in enumerate(zip(self.vectors.bands, self.columns, strict=True)):
            if first >= band.start and last < band.stop:
                return [_Part(number, columns, stored - band.start, slice(None))]
            inside = ((stored >= band.start) & (stored < band.stop)).nonzero()[:, 0]
            if len(inside):
                parts.append(_Part(number, columns, stored[inside] - band.start, inside))
        return parts

    def _parts_of_range(self, stored: slice) -> list[_Part]:
        parts = []
        for number, (band, columns) in enumerate(zip(self.vectors.bands, self.columns, strict=True)):
            start, stop = max(stored.start, band.start), min(stored.stop, band.stop)
            if start < stop:
                rows, positions = (slice(start - offset, stop - offset) for offset in (band.start, stored.start))
                parts.append(_Part(number, columns, rows, positions))
        return parts

    @override
    def read(self, weights: Weights, locations: list[_Part]) -> Float[Tensor, "S P"]:
        vectors = weights[0].new_zeros(_size(locations), self.columns[-1].stop)
        for part in locations:
            vectors[part.positions, part.columns] = _rows(weights[part.band], part.rows)
        return vectors

    @override
    def add(self, gradients: Weights, locations: list[_Part], grad_vectors: Float[Tensor, "S P"]) -> None:
        for part in locations:
            _add_rows(gradients[part.band], part.rows, grad_vectors[part.positions, part.columns])

    @override
    def logits(
        self, query: Float[Tensor, "N P"], weights: Weights, locations: list[_Part], bias: Float[Tensor, " S"]
    ) -> Float[Tensor, "N S"]:
        logits = query.new_empty(len(query), len(bias))
        bias = bias.to(query.dtype)
        for part in locations:
            vectors = _rows(weights[part.band], part.rows).to(query.dtype)
            logits[:, part.positions] = F.linear(query[:, part.columns], vectors, bias[part.positions])
        return logits

    @override
    def add_logit_gradients(
        self,
        grad_logits: Float[Tensor, "N S"],
        query: Float[Tensor, "N P"],
        weights: Weights,
        locations: list[_Part],
        grad_query: Float[Tensor, "N P"],
        gradients: Weights,
    ) -> None:
        for part in locations:
            own = grad_logits[:, part.positions]
            grad_rows = own.T @ query[:, part.columns]
            _add_rows(gradients[part.band], part.rows, grad_rows.to(gradients[part.band].dtype))
            grad_query[:, part.columns] += own @ _rows(weights[part.band], part.rows).to(query.dtype)


def _size(locations: list[_Part]) -> int:
    return sum(
        part.rows.stop - part.rows.start if isinstance(part.rows, slice) else len(part.rows) for part in locations
    )


def _rows(matrix: Tensor, rows: slice | Tensor) -> Tensor:
    return matrix[rows] if isinstance(rows, slice) else matrix.index_select(0, rows)


def _add_rows(gradient: Tensor, rows: slice | Tensor, grad_rows: Tensor) -> None:
    if isinstance(rows, slice):
        gradient[rows] += grad_rows
    else:
        gradient.index_add_(0, rows, grad_rows)
