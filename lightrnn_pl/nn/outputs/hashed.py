"""Output vectors whose elements are shared one by one (HashNet, Chen et al. 2015, section 4).

Nothing but the weights is kept: which weight an element is, is computed for some words at a time, and again in the
backward pass.  So this layer saves room and costs time: it does all the work of a full output, and hashes besides.
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
from lightrnn_pl.nn.outputs.softmax import WHOLE, WeightOutput
from lightrnn_pl.nn.outputs.surprisal import VectorSource, read_vectors
from lightrnn_pl.nn.sharing import hashed_elements, shared_count
from lightrnn_pl.nn.traceable import DenseSoftmax, Traceable, num_bytes, vectors_of_all_words

_HASHED_AT_ONCE = 2**20
"""Elements whose hashes, a score of passes over 64-bit numbers, stay near the processor: more take twice as long."""


class HashedOutput(WeightOutput):
    """N weights and V biases: element j of word w is weight xxhash(w, j) mod N, with a sign from a second hash.

    Args:
        allocation: The word table, k = 1.
        hidden_dim: H.
        compression: N / (V H); None where ``num_weights`` is given.
        num_weights: N; None where ``compression`` is given.
        signed: Whether shared weights come with a random sign.
        seed: Of the hashes.
        chunk_size: Words whose output vectors and scores are held at a time; None bounds both by 256 MiB.

    Raises:
        ValueError: Unless N is given once and in range.
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
        most = self.num_words * hidden_dim
        self.weight = nn.Parameter(
            torch.zeros(shared_count(compression, num_weights, most, "num_weights", "model.output"))
        )
        check_flag("model.output.signed", signed)
        check_seed("model.output.seed", seed)
        self.compression = compression
        self.signed = signed
        self.seed = seed
        self.source = _HashedRows(hidden_dim, signed, seed)

    def tie(self, embedding: Embedding) -> None:
        """Share the weights with a hashed embedding of the same sizes and hashes.

        Raises:
            ValueError: Naming what must be set for it, if the embedding is another.
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

    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S H"]:
        """See :class:`SoftmaxOutput`."""
        return read_vectors(self.weight, words, self.source)

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        table = vectors_of_all_words(self, self.output_vectors, self.num_words, self.hidden_dim, max_bytes)
        return Traceable(DenseSoftmax(table, self.bias), {"output vectors": num_bytes(table)})

    def _chunk(self, num_positions: int) -> int:
        # An element takes some 16 bytes with its place and sign, a score four.
        return min(super()._chunk(num_positions), self.chunk_size or max(1, WHOLE // (4 * self.hidden_dim)))


_Elements = tuple[Tensor, Tensor | None]
"""Which weights the elements of some words are, and which come with a negative sign."""


class _HashedRows(VectorSource):
    """Vectors whose elements are weights chosen by a hash, a few words' at a time."""

    def __init__(self, dim: int, signed: bool, seed: int) -> None:
        self.dim = dim
        self.signed = signed
        self.seed = seed

    def read(
        self, weight: Float[Tensor, "*weights"], words: slice | Int[Tensor, " S"]
    ) -> tuple[Float[Tensor, "S P"], list[_Elements]]:
        """See :class:`VectorSource`."""
        ids = torch.arange(words.start, words.stop, device=weight.device) if isinstance(words, slice) else words
        vectors = weight.new_empty(len(ids), self.dim)
        elements = []
        for few in self._few(len(ids)):
            places, negative = hashed_elements(len(weight), ids[few], self.dim, self.signed, self.seed)
            places = places.flatten().int()
            found = weight.index_select(0, places).view(-1, self.dim)
            vectors[few] = found if negative is None else torch.where(negative, -found, found)
            elements.append((places, negative))
        return vectors, elements

    def add(
        self, gradient: Float[Tensor, "*weights"], places: list[_Elements], of_vectors: Float[Tensor, "S P"]
    ) -> None:
        """See :class:`VectorSource`."""
        for few, (own, negative) in zip(self._few(len(of_vectors)), places, strict=True):
            of_few = of_vectors[few] if negative is None else torch.where(negative, -of_vectors[few], of_vectors[few])
            gradient.index_add_(0, own, of_few.flatten())

    def _few(self, number: int) -> list[slice]:
        size = max(1, _HASHED_AT_ONCE // self.dim)
        return [slice(start, start + size) for start in range(0, number, size)]
