"""One softmax over the vocabulary, whatever the words' output vectors are made of; for k = 1.

    score(w) = q(h) . y_w + b_w        P(w) = exp score(w) / sum over v of exp score(v)

q is the identity or a projection.  What differs between the layers is how y_w comes about.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.surprisal import MatrixRows, VectorSource, surprisal
from lightrnn_pl.types import Hidden, Words, WordScores

WHOLE = 2**26
"""Scores that are held at once where nothing else is said: 256 MiB of float32."""

_AT_ONCE = 2**14
"""Words whose vectors are made at once where all are asked for."""


class SoftmaxOutput(Output):
    """Abstract: a subclass says what the output vectors are, and may compute scores faster than from them.

    The scores of all words are held at once where they fit into 256 MiB; beyond, they are computed some words at a
    time and again in the backward pass, so that memory does not grow with V x tokens.

    Args:
        allocation: The word table, k = 1.
        hidden_dim: H.
        chunk_size: Words whose scores are held at a time; None chooses as above.

    Raises:
        ValueError: If the words are spelled with more than one code.
    """

    def __init__(self, allocation: WordAllocation, hidden_dim: int, chunk_size: int | None = None) -> None:
        super().__init__(allocation, hidden_dim)
        self._require_one_code()
        if chunk_size is not None:
            check_count("model.output.chunk_size", chunk_size)
        self.num_words = allocation.num_words
        self.chunk_size = chunk_size
        self.bias = nn.Parameter(torch.zeros(self.num_words))

    @abstractmethod
    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S P"]:
        """y of some words."""

    def query(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N P"]:
        """q(h): what is multiplied with the output vectors; the hidden state itself unless overridden."""
        return hidden

    def query_scores(self, query: Float[Tensor, "N P"], start: int, stop: int) -> Float[Tensor, "N _"]:
        """Scores of the words from ``start`` to before ``stop``."""
        words = torch.arange(start, stop, device=query.device)
        return F.linear(query, self.output_vectors(words), self.bias[start:stop])

    def scores(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """Unnormalised log-probabilities of all words."""
        return self.query_scores(self.query(hidden), 0, self.num_words)

    def scores_of(self, hidden: Float[Tensor, "N H"], words: Int[Tensor, " S"]) -> Float[Tensor, "N S"]:
        """Scores of the same few words at every position, without touching the others."""
        return F.linear(self.query(hidden), self.output_vectors(words), self.bias[words])

    def own_scores(self, hidden: Float[Tensor, "N H"], words: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The score of one word a position."""
        found, place = words.unique(return_inverse=True)
        vectors = self.output_vectors(found)[place]
        return (self.query(hidden) * vectors).sum(-1) + self.bias[words]

    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """See :class:`Output`."""
        return self.scores(hidden).log_softmax(-1)

    @torch.no_grad()
    def word_vectors(self) -> Float[Tensor, "V P"]:
        """See :class:`Output`: y of every word."""
        words = torch.arange(self.num_words, device=self.bias.device)
        return torch.cat([self.output_vectors(few) for few in words.split(_AT_ONCE)])

    @abstractmethod
    def log_partition(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
        """log of the sum over all words of exp score; no more than a chunk of scores is in memory at any time."""

    @torch.no_grad()
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """Log-probabilities and ids of the k most likely words, best first; scores are held a chunk at a time.

        No more than V are given; the order of words that are exactly as likely is left open.
        """
        check_count("k", k)
        k = min(k, self.num_words)
        query = self.query(hidden)
        best = query.new_full((len(query), 0), 0.0)
        words = torch.zeros(len(query), 0, dtype=torch.int64, device=query.device)
        totals = []
        for start, stop in self._spans(len(query)):
            scores = self.query_scores(query, start, stop)
            totals.append(scores.logsumexp(-1))
            values, places = scores.topk(min(k, stop - start), dim=-1)
            best, words = torch.cat([best, values], 1), torch.cat([words, places + start], 1)
            best, order = best.topk(min(k, best.shape[1]), dim=-1)
            words = words.gather(1, order)
        return best - torch.stack(totals).logsumexp(0)[:, None], words

    def _refuse_to_tie(self, embedding: Embedding, settings: Sequence[str]) -> NoReturn:
        """Say what must be set so that the vectors can be shared."""
        raise ValueError(
            f"{type(self).__name__} cannot share the vectors of {type(embedding).__name__} as the two are configured; "
            f"set model.tied=false, or set {' '.join(settings)}"
        )

    def _chunk(self, num_positions: int) -> int:
        return self.chunk_size or max(1, WHOLE // max(1, num_positions))

    def _spans(self, num_positions: int) -> list[tuple[int, int]]:
        size = self._chunk(num_positions)
        return [(start, min(start + size, self.num_words)) for start in range(0, self.num_words, size)]


class WeightOutput(SoftmaxOutput):
    """Abstract: all output vectors are read from ``weight``, a parameter that a subclass makes, in the way that
    ``source`` says."""

    weight: nn.Parameter
    source: VectorSource = MatrixRows()

    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Output`."""
        flat, words = hidden.flatten(0, 1), targets.flatten()
        if self._chunk(len(flat)) >= self.num_words:
            return -F.cross_entropy(self.scores(flat), words, reduction="none").view(targets.shape)
        return -self._surprisal(flat, words).view(targets.shape)

    def log_partition(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
        """See :class:`SoftmaxOutput`."""
        return self._surprisal(hidden, None)

    def _surprisal(self, hidden: Float[Tensor, "N H"], words: Int[Tensor, " N"] | None) -> Float[Tensor, " N"]:
        spans = self._spans(len(hidden))
        return surprisal(self.query(hidden), self.weight, self.bias, words, self.source, spans)


class MatrixOutput(WeightOutput):
    """Abstract: the output vectors are the rows of ``weight``."""

    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S P"]:
        """See :class:`SoftmaxOutput`."""
        return F.embedding(words, self.weight)

    def query_scores(self, query: Float[Tensor, "N P"], start: int, stop: int) -> Float[Tensor, "N _"]:
        """See :class:`SoftmaxOutput`."""
        return F.linear(query, self.weight[start:stop], self.bias[start:stop])
