"""Short output vectors and a projection of the hidden state: the output counterpart of PM (Slim Embedding, Figure 4).

logit(w) = (A h) . y_w + b_w with the P x H matrix A, so the output matrix is a product of a V x P and a P x H matrix.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.full import FullEmbedding
from lightrnn_pl.nn.embeddings.projected import ProjectedEmbedding
from lightrnn_pl.nn.outputs.softmax import MatrixOutput


class ProjectedOutput(MatrixOutput):
    """V x P + P x H weights and V biases.

    Args:
        allocation: The word allocation, k = 1.
        hidden_dim: H.
        projection_dim: P, the size of an output vector.
        chunk_size: See :class:`SoftmaxOutput`.

    Raises:
        ValueError: If words have more than one code, or an argument is out of range.
    """

    def __init__(
        self, allocation: WordAllocation, hidden_dim: int, projection_dim: int, chunk_size: int | None = None
    ) -> None:
        super().__init__(allocation, hidden_dim, chunk_size)
        check_count("model.output.projection_dim", projection_dim)
        self.projection_dim = projection_dim
        self.projection = nn.Parameter(torch.zeros(projection_dim, hidden_dim))
        self.weight = nn.Parameter(torch.zeros(self.num_words, projection_dim))

    @override
    def tie(self, embedding: Embedding) -> None:
        """Share the vectors of a full or projected embedding, if they have size P.  The projections are not shared.

        Raises:
            ValueError: If the embedding has no vectors of size P.
        """
        vectors = embedding.vectors.weight if isinstance(embedding, FullEmbedding | ProjectedEmbedding) else None
        if vectors is None or vectors.shape != self.weight.shape:
            size = "" if vectors is None else f" of size {vectors.shape[1]}"
            raise ValueError(
                f"ProjectedOutput with model.output.projection_dim={self.projection_dim} cannot share the vectors of "
                f"{type(embedding).__name__}{size}; set model.tied=false, or use model/embedding=projected with "
                f"model.embedding.projection_dim={self.projection_dim}"
            )
        self.weight = cast(nn.Parameter, vectors)

    @override
    def query(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N P"]:
        return F.linear(hidden, self.projection)
