"""Output vectors whose elements are hashed into shared weights (HashNet, Chen et al. 2015, section 4).

Only the weights are stored.  The hashes are computed for a chunk of words at a time, and again in the backward pass.
This saves memory but no time: the layer does all the work of a full output, and computes hashes in addition.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_flag, check_seed
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.hashed import HashedEmbedding
from lightrnn_pl.nn.outputs.softmax import MAX_LOGITS, WeightOutput
from lightrnn_pl.nn.outputs.vector_sources import VectorSource, Weights, as_ids, read_vectors
from lightrnn_pl.nn.sharing import hashed_elements, shared_count
from lightrnn_pl.nn.traceable import DenseSoftmax, Traceable, num_bytes, vectors_of_all_words

_HASH_CHUNK = 2**20
"""Elements that are hashed at a time; larger chunks do not fit into the processor's cache and take twice as long."""


class HashedOutput(WeightOutput):
    """N weights and V biases: element j of word w is weight xxhash(w, j) mod N, with a sign from a second hash.

    Args:
        allocation: The word allocation, k = 1.
        hidden_dim: H.
        compression: N / (V H); None if ``num_weights`` is set.
        num_weights: N; None if ``compression`` is set.
        signed: Whether each element multiplies its weight by a random sign.
        seed: Seed of the hashes.
        chunk_size: Number of words whose output vectors and logits are computed at a time; None limits both to 256 MiB.

    Raises:
        ValueError: Unless exactly one of ``compression`` and ``num_weights`` is set and all arguments are in range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        hidden_dim: int,
        compression: float | None = None,
        num_weights: int | None = None,
        signed: bool = True,
        seed: int = 0,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(allocation, hidden_dim, chunk_size)
        num_elements = self.num_words * hidden_dim
        num_shared = shared_count(compression, num_weights, num_elements, "num_weights", "model.output")
        self.weight = nn.Parameter(torch.zeros(num_shared))
        check_flag("model.output.signed", signed)
        check_seed("model.output.seed", seed)
        self.compression = compression
        self.signed = signed
        self.seed = seed
        self.source = _HashedRows(hidden_dim, signed, seed)

    @override
    def tie(self, embedding: Embedding) -> None:
        """Share the weights of a hashed embedding with the same sizes and hashes.

        Raises:
            ValueError: If the embedding is different.  The message lists the settings that are required.
        """
        number = [f"model.embedding.compression={self.compression}", "model.embedding.num_weights=null"]
        if self.compression is None:
            number = ["model.embedding.compression=null", f"model.embedding.num_weights={len(self.weight)}"]
        sizes = [f"model.embedding_dim={self.hidden_dim}", *number]
        signs, seed = [f"model.embedding.signed={str(self.signed).lower()}"], [f"model.embedding.seed={self.seed}"]
        if not isinstance(embedding, HashedEmbedding):
            self._refuse_to_tie(embedding, ["model/embedding=hashed", *sizes, *signs, *seed])
        same_size = (embedding.embedding_dim, len(embedding.weight)) == (self.hidden_dim, len(self.weight))
        missing = [] if same_size else sizes
        missing += [] if embedding.signed == self.signed else signs
        missing += [] if embedding.seed == self.seed else seed
        if missing:
            self._refuse_to_tie(embedding, missing)
        self.weight = embedding.weight

    @override
    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S H"]:
        return read_vectors(self.vector_weights, words, self.source)

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        table = vectors_of_all_words(self, self.output_vectors, self.num_words, self.hidden_dim, max_bytes)
        return Traceable(DenseSoftmax(table, self.bias), {"output vectors": num_bytes(table)})

    @override
    def _resolve_chunk_size(self, num_positions: int) -> int:
        # An element takes about 16 bytes, including its index and sign; a logit takes four.
        return min(
            super()._resolve_chunk_size(num_positions), self.chunk_size or max(1, MAX_LOGITS // (4 * self.hidden_dim))
        )


_Elements = tuple[Tensor, Tensor | None]
"""The indices of the weights of a chunk of elements, and whether their signs are negative."""


class _HashedRows(VectorSource):
    """Vectors whose elements are hashed into the weights, computed for a chunk of words at a time."""

    keep_locations = False

    def __init__(self, dim: int, signed: bool, seed: int) -> None:
        self.dim = dim
        self.signed = signed
        self.seed = seed

    @override
    def locate(self, weights: Weights, words: slice | Int[Tensor, " S"]) -> list[_Elements]:
        ids, (weight,) = as_ids(words, weights), weights
        elements = []
        for chunk in self._chunks(len(ids)):
            indices, negative = hashed_elements(len(weight), ids[chunk], self.dim, self.signed, self.seed)
            elements.append((indices.flatten().int(), negative))
        return elements

    @override
    def read(self, weights: Weights, locations: list[_Elements]) -> Float[Tensor, "S P"]:
        vectors = []
        for indices, negative in locations:
            values = weights[0].index_select(0, indices).view(-1, self.dim)
            vectors.append(values if negative is None else torch.where(negative, -values, values))
        return torch.cat(vectors)

    @override
    def add(self, gradients: Weights, locations: list[_Elements], grad_vectors: Float[Tensor, "S P"]) -> None:
        for chunk, (indices, negative) in zip(self._chunks(len(grad_vectors)), locations, strict=True):
            grad_elements = grad_vectors[chunk]
            if negative is not None:
                grad_elements = torch.where(negative, -grad_elements, grad_elements)
            gradients[0].index_add_(0, indices, grad_elements.flatten())

    def _chunks(self, number: int) -> list[slice]:
        size = max(1, _HASH_CHUNK // self.dim)
        return [slice(start, start + size) for start in range(0, max(1, number), size)]
