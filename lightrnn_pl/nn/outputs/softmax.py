"""Base classes of outputs with one softmax over the vocabulary, for k = 1.

    logit(w) = q(h) . y_w + b_w        P(w) = exp logit(w) / sum over v of exp logit(v)

q is the identity or a projection, such as the one to the size of an embedding whose vectors are shared.  Subclasses
differ in how the output vectors y_w are represented.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.surprisal import surprisal
from lightrnn_pl.nn.outputs.vector_sources import MatrixRows, VectorSource, Weights
from lightrnn_pl.types import Hidden, Words, WordScores

MAX_LOGITS = 2**26
"""Logits that are computed at a time by default: 256 MiB of float32."""

_MAX_KEPT = 2**27
"""Exponentials that are stored for the backward pass by default: 512 MiB of float32."""

_CPU_LOGITS = 2**20
"""Logits that a CPU computes at a time: 4 MiB of float32, which fit into the cache."""

_MIN_CHUNK = 256
"""Words per chunk on a CPU; in smaller chunks, overhead takes longer than the arithmetic."""

_CHUNK = 2**14
"""Words whose vectors ``word_vectors`` computes at a time."""


class SoftmaxOutput(Output):
    """Abstract: subclasses define the output vectors, and may compute logits faster than from these vectors.

    Losses are computed for a chunk of words at a time: at most 256 MiB of logits, or on a CPU as many as fit into its
    cache.  The backward pass computes the logits again, unless those of all words fit into 512 MiB, so that memory does
    not grow with V x tokens.

    Args:
        allocation: The word allocation, k = 1.
        hidden_dim: H.
        chunk_size: Number of words whose logits are computed at a time, and again in the backward pass; None selects
            it as described above.

    Raises:
        ValueError: If words have more than one code, or an argument is out of range.
    """

    def __init__(self, allocation: WordAllocation, hidden_dim: int, chunk_size: int | None = None) -> None:
        super().__init__(allocation, hidden_dim)
        self._require_one_code()
        if chunk_size is not None:
            check_count("model.output.chunk_size", chunk_size)
        self.num_words = allocation.num_words
        self.chunk_size = chunk_size
        self.bias = nn.Parameter(torch.zeros(self.num_words))
        self.register_parameter("tied_projection", None)

    tied_projection: nn.Parameter | None
    """The D x H projection of the hidden state to the size of the vectors of an embedding that ``tie`` shares."""

    source: VectorSource = MatrixRows()
    """Computes output vectors from ``vector_weights``."""

    @property
    @abstractmethod
    def vector_weights(self) -> Weights:
        """The parameters that the output vectors are computed from."""

    @abstractmethod
    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S P"]:
        """The output vectors y of ``words``."""

    def store_in_order(self, words: Int[Tensor, " V"]) -> None:
        """Store the vectors of consecutive ``words`` together if possible; called before vectors are initialized.

        ``words`` are all words in the order of the rows of the word table.
        """

    def query(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N P"]:
        """q(h), which is multiplied by the output vectors; the hidden state itself unless projected or overridden."""
        return hidden if self.tied_projection is None else F.linear(hidden, self.tied_projection)

    @override
    def initialise_projection(self, scale: float) -> None:
        if self.tied_projection is not None:
            nn.init.uniform_(self.tied_projection, -scale, scale)

    def _project_to(self, embedding_dim: int) -> None:
        """Project hidden states if they do not have the size of the shared vectors."""
        if embedding_dim != self.hidden_dim:
            self.tied_projection = nn.Parameter(self.bias.new_zeros(embedding_dim, self.hidden_dim))

    def query_logits(self, query: Float[Tensor, "N P"], start: int, stop: int) -> Float[Tensor, "N _"]:
        """Logits of the words from ``start`` to ``stop`` - 1."""
        words = torch.arange(start, stop, device=query.device)
        return F.linear(query, self.output_vectors(words), self.bias[start:stop])

    def logits(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """Logits of all words."""
        return self.query_logits(self.query(hidden), 0, self.num_words)

    def logits_of(self, hidden: Float[Tensor, "N H"], words: Int[Tensor, " S"]) -> Float[Tensor, "N S"]:
        """Logits of the given words at every position, without computing those of other words."""
        return F.linear(self.query(hidden), self.output_vectors(words), self.bias[words])

    def target_logits(self, hidden: Float[Tensor, "N H"], words: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The logit of one word per position."""
        return (self.query(hidden) * self.output_vectors(words)).sum(-1) + self.bias[words]

    @override
    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        return self.logits(hidden).log_softmax(-1)

    @torch.no_grad()
    @override
    def word_vectors(self) -> Float[Tensor, "V P"]:
        words = torch.arange(self.num_words, device=self.bias.device)
        return torch.cat([self.output_vectors(chunk) for chunk in words.split(_CHUNK)])

    @abstractmethod
    def log_partition(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
        """The log-sum-exp of the logits of all words, with at most one chunk of logits in memory."""

    @torch.no_grad()
    @override
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        check_count("k", k)
        k = min(k, self.num_words)
        query = self.query(hidden)
        best = query.new_full((len(query), 0), 0.0)
        words = torch.zeros(len(query), 0, dtype=torch.int64, device=query.device)
        totals = []
        for start, stop in self._spans(len(query)):
            logits = self.query_logits(query, start, stop)
            totals.append(logits.logsumexp(-1))
            values, indices = logits.topk(min(k, stop - start), dim=-1)
            best, words = torch.cat([best, values], 1), torch.cat([words, indices + start], 1)
            best, order = best.topk(min(k, best.shape[1]), dim=-1)
            words = words.gather(1, order)
        return best - torch.stack(totals).logsumexp(0)[:, None], words

    def _refuse_to_tie(self, embedding: Embedding, settings: Sequence[str]) -> NoReturn:
        """Raise an error that lists the settings with which the vectors can be shared."""
        raise ValueError(
            f"{type(self).__name__} cannot share the vectors of {type(embedding).__name__} in this configuration; "
            f"set model.tied=false, or set {' '.join(settings)}"
        )

    def _resolve_chunk_size(self, num_positions: int) -> int:
        return self.chunk_size or max(1, MAX_LOGITS // max(1, num_positions))

    def _spans(self, num_positions: int) -> list[tuple[int, int]]:
        return split_range(self.num_words, self._resolve_chunk_size(num_positions))


def split_range(number: int, size: int) -> list[tuple[int, int]]:
    """Consecutive chunks of at most ``size`` numbers from 0 to ``number`` - 1, as (first, end)."""
    return [(start, min(start + size, number)) for start in range(0, number, size)]


class WeightOutput(SoftmaxOutput):
    """Abstract: the output vectors are computed from the parameter ``weight`` by ``source``.

    Subclasses define both.
    """

    weight: nn.Parameter

    @property
    @override
    def vector_weights(self) -> Weights:
        return (self.weight,)

    @override
    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        return -self._surprisal(hidden.flatten(0, 1), targets.flatten()).view(targets.shape)

    @override
    def log_partition(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
        return self._surprisal(hidden, None)

    def _surprisal(self, hidden: Float[Tensor, "N H"], words: Int[Tensor, " N"] | None) -> Float[Tensor, " N"]:
        keep = self.chunk_size is None and len(hidden) * self.num_words <= _MAX_KEPT
        size = self._resolve_chunk_size(len(hidden))
        if self.chunk_size is None and hidden.device.type == "cpu":
            size = min(size, max(_MIN_CHUNK, _CPU_LOGITS // max(1, len(hidden))))
        spans = split_range(self.num_words, size)
        return surprisal(self.query(hidden), self.vector_weights, self.bias, words, self.source, spans, keep)


class MatrixOutput(WeightOutput):
    """Abstract: the output vectors are the rows of ``weight``."""

    @override
    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S P"]:
        return F.embedding(words, self.weight)

    @override
    def query_logits(self, query: Float[Tensor, "N P"], start: int, stop: int) -> Float[Tensor, "N _"]:
        return F.linear(query, self.weight[start:stop], self.bias[start:stop])
