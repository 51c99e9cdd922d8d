"""Output vectors smaller than the hidden state, which is projected first: PM (Slim Embedding, Figure 4) at the output.

score(w) = (A h) . y_w + b_w with A of P x H: the output matrix is the product of V x P and P x H.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.full import FullEmbedding
from lightrnn_pl.nn.embeddings.projected import ProjectedEmbedding
from lightrnn_pl.nn.outputs.softmax import MatrixOutput


class ProjectedOutput(MatrixOutput):
    """V x P + P x H weights and V biases.

    Args:
        allocation: The word table, k = 1.
        hidden_dim: H.
        projection_dim: P, the size of an output vector.
        chunk_size: See :class:`SoftmaxOutput`.
    """

    def __init__(
        self, allocation: WordAllocation, hidden_dim: int, projection_dim: int, chunk_size: int | None = None
    ) -> None:
        super().__init__(allocation, hidden_dim, chunk_size)
        check_count("model.output.projection_dim", projection_dim)
        self.projection_dim = projection_dim
        self.projection = nn.Parameter(torch.zeros(projection_dim, hidden_dim))
        self.weight = nn.Parameter(torch.zeros(self.num_words, projection_dim))

    def tie(self, embedding: Embedding) -> None:
        """Share the vectors with a full or projected embedding whose vectors are of size P too; never the projections.

        Raises:
            ValueError: If the embedding has no such vectors.
        """
        vectors = embedding.vectors.weight if isinstance(embedding, FullEmbedding | ProjectedEmbedding) else None
        if vectors is None or vectors.shape != self.weight.shape:
            size = "" if vectors is None else f" of size {vectors.shape[1]}"
            raise ValueError(
                f"ProjectedOutput of model.output.projection_dim={self.projection_dim} cannot share the vectors of "
                f"{type(embedding).__name__}{size}; set model.tied=false, or model/embedding=projected with "
                f"model.embedding.projection_dim={self.projection_dim}"
            )
        self.weight = cast(nn.Parameter, vectors)

    def query(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N P"]:
        """A h."""
        return F.linear(hidden, self.projection)
