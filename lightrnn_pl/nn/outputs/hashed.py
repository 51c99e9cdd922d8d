"""Output vectors whose elements are shared one by one (HashNet, Chen et al. 2015, section 4).

Nothing but the weights is kept: which weight an element is, is computed for some words at a time, and again in the
backward pass.  So this layer saves room and costs time: it does all the work of a full output, and hashes besides.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightrnn_pl.allocation.table import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.hashed import HashedEmbedding
from lightrnn_pl.nn.outputs.softmax import WHOLE, SoftmaxOutput
from lightrnn_pl.nn.sharing import hashed_vectors, shared_count

_HASHED_AT_ONCE = 2**20
"""Elements whose hashes, a score of passes over 64-bit numbers, stay near the processor: more take twice as long."""


class HashedOutput(SoftmaxOutput):
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
        self.signed = signed
        self.seed = seed

    def tie(self, embedding: Embedding) -> None:
        """Share the weights with a hashed embedding of the same sizes and hashes."""
        if not (
            isinstance(embedding, HashedEmbedding)
            and embedding.embedding_dim == self.hidden_dim
            and embedding.weight.shape == self.weight.shape
            and (embedding.signed, embedding.seed) == (self.signed, self.seed)
        ):
            super().tie(embedding)
        else:
            self.weight = embedding.weight

    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S H"]:
        """See :class:`SoftmaxOutput`."""
        few = words.split(max(1, _HASHED_AT_ONCE // self.hidden_dim))
        return torch.cat([hashed_vectors(self.weight, some, self.hidden_dim, self.signed, self.seed) for some in few])

    def _chunk(self, num_positions: int) -> int:
        # An element leaves some 16 bytes for the backward pass, a score four.
        return min(super()._chunk(num_positions), self.chunk_size or max(1, WHOLE // (4 * self.hidden_dim)))
