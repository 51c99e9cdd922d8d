"""One vector per word and one softmax over the vocabulary: the standard output."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.full import FullEmbedding
from lightrnn_pl.nn.outputs.softmax import MatrixOutput


class FullOutput(MatrixOutput):
    """V x H weights and V biases."""

    def __init__(self, allocation: WordAllocation, hidden_dim: int, chunk_size: int | None = None) -> None:
        super().__init__(allocation, hidden_dim, chunk_size)
        self.weight = nn.Parameter(torch.zeros(self.num_words, hidden_dim))

    @override
    def tie(self, embedding: Embedding) -> None:
        """Share the vectors of a full embedding."""
        if not isinstance(embedding, FullEmbedding):
            super().tie(embedding)
        else:
            self.weight = cast(nn.Parameter, embedding.vectors.weight)
            self._project_to(embedding.embedding_dim)
