"""The row of a word, then the word itself: a softmax over rows, and then one over the words of the row.

    P(w | h) = P(row of w | h) P(w | row of w, h')
    P(row | h) = softmax(Y^r h + b^r)[row]        P(w | row, h') = softmax over the words of the row (y_w . h' + b_w)

The rows are those of the word allocation, as in LightRNN, but each word has an output vector y_w of its own, which any
output with one softmax over the vocabulary can define.  With full vectors, this is the two-level softmax of Goodman
(2001), called HSM in both papers.  With slim vectors, it combines LightRNN's table and the sub-vectors of Slim
Embedding.  h' is h (model.steps_per_word=1), or the hidden state after the row was read (model.steps_per_word=2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.softmax import SoftmaxOutput
from lightrnn_pl.nn.outputs.word_codes import WordVectorOutput
from lightrnn_pl.nn.outputs.words_in_row import (
    RowLayout,
    expected_log_probability_in_row,
    log_probabilities_in_row,
    log_probability_in_row,
)
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary


class RowWordOutput(WordVectorOutput):
    """For k = 2: R row vectors of size H with biases, and the vectors and biases of ``vectors``.

    A word keeps its vector when it is moved to another row.  Rows may have different sizes, and may be empty.

    Args:
        allocation: The word allocation, k = 2.
        hidden_dim: H.
        vocabulary: The words; the initial biases are the log-probabilities of rows and words according to their counts.
        vectors: Creates an output with one softmax over the vocabulary, which defines the vectors and biases of words.
        options: Other arguments of ``vectors``.

    Raises:
        ValueError: If words do not have two codes, or ``vectors`` does not create a :class:`SoftmaxOutput`.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        hidden_dim: int,
        vocabulary: Vocabulary,
        vectors: Callable[..., SoftmaxOutput],
        **options: Any,
    ) -> None:
        super().__init__(allocation, hidden_dim)
        if allocation.num_components != 2:
            raise ValueError(
                f"RowWordOutput predicts a row and a word, but each word has {allocation.num_components} codes; use "
                "model.components=2"
            )
        num_words = allocation.num_words
        self.vectors = vectors(
            allocation=WordAllocation.in_order(num_words, (num_words,)), hidden_dim=hidden_dim, **options
        )
        if not isinstance(self.vectors, SoftmaxOutput):
            raise ValueError(
                f"model.output.vectors must create an output with one softmax over the vocabulary, got "
                f"{type(self.vectors).__name__}"
            )
        self.vectors.allocation = allocation
        self._store_by_row()
        self.weight = nn.Parameter(torch.zeros(allocation.sides[0], hidden_dim))
        self.bias = nn.Parameter(torch.zeros(allocation.sides[0]))
        self._counts = torch.from_numpy(vocabulary.counts.copy())
        self._layout: tuple[Any, RowLayout] | None = None

    @property
    @override
    def table_bytes(self) -> int:
        return self.vectors.table_bytes

    @override
    def initialise(self, scale: float) -> None:
        """Initialize the vectors and the biases."""
        nn.init.uniform_(self.weight, -scale, scale)
        self.vectors.initialise(scale)
        self.initialise_for_allocation()

    @torch.no_grad()
    @override
    def initialise_for_allocation(self) -> None:
        """Store vectors by row, and initialize biases as log-probabilities of rows and words by the counts of words."""
        self._store_by_row()
        counts = self._counts.to(self.bias).clamp(min=0.5)
        rows = self.allocation.codes[:, 0].long()
        totals = torch.zeros_like(self.bias).index_add_(0, rows, counts)
        self.bias.copy_((totals.clamp(min=0.5) / counts.sum()).log())
        self.vectors.bias.copy_((counts / totals[rows]).log())

    @override
    def tie(self, embedding: Embedding) -> None:
        """Share the word vectors of the embedding, under the conditions of ``vectors``."""
        self.vectors.tie(embedding)
        self._store_by_row()

    @override
    def initialise_projection(self, scale: float) -> None:
        self.vectors.initialise_projection(scale)

    @override
    def axis_losses(self, hidden: Hidden, targets: Words) -> list[WordScores]:
        first, second = self.hidden_by_axis(hidden, targets)
        words = targets.flatten()
        rows = self.allocation.codes[words, 0].long()
        row_losses = F.cross_entropy(self.row_logits(first), rows, reduction="none")
        word_losses = -log_probability_in_row(self.vectors, second, rows, words, self._current_layout())
        return [row_losses.view(targets.shape), word_losses.view(targets.shape)]

    @override
    def code_log_probabilities(
        self, axis: int, hidden: Float[Tensor, "N H"], prefixes: Int[Tensor, " N"]
    ) -> Float[Tensor, "N side"]:
        if axis == 0:
            return self.row_logits(hidden).log_softmax(-1)
        return log_probabilities_in_row(self.vectors, hidden, prefixes, self._current_layout())

    @override
    def expected_code_log_probability(
        self,
        axis: int,
        hidden: Float[Tensor, "N H"],
        prefixes: Int[Tensor, " N"],
        shares: Float[Tensor, "N side"],
    ) -> Float[Tensor, " N"]:
        if axis == 0 or hidden.device.type != "cpu":
            return super().expected_code_log_probability(axis, hidden, prefixes, shares)
        return expected_log_probability_in_row(self.vectors, hidden, prefixes, shares, self._current_layout())

    @torch.no_grad()
    @override
    def word_vectors(self) -> Float[Tensor, "V _"]:
        """The vector of the row of each word, followed by its own vector."""
        return torch.cat([self.weight[self.allocation.codes[:, 0].long()], self.vectors.word_vectors()], 1)

    @override
    def row_parameters(self) -> tuple[Float[Tensor, "R H"], Float[Tensor, " R"]]:
        return self.weight.detach(), self.bias.detach()

    @override
    def word_logits(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        return self.vectors.logits(hidden)

    @override
    def row_logits(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N R"]:
        logits = F.linear(hidden, self.weight, self.bias)
        allowed = self.allocation.allowed(0)
        return logits if allowed is None else logits.masked_fill(~allowed[0], -torch.inf)

    def _store_by_row(self) -> None:
        self.vectors.store_in_order(self.allocation.cells().argsort())

    def _current_layout(self) -> RowLayout:
        """The words of each row; computed again only if words were moved."""
        # torch.export replaces tensors by ones without memory; the layout is that of an earlier call.
        if torch.compiler.is_exporting() and self._layout is not None:
            return self._layout[1]
        codes = self.allocation.codes
        version = (codes.device, codes.data_ptr(), None if codes.is_inference() else codes._version)
        if self._layout is None or self._layout[0] != version:
            self._layout = version, RowLayout.of(self.allocation, self.vectors)
        return self._layout[1]

    def __getstate__(self) -> dict[str, Any]:
        # Copies compute their own layout.
        return {**self.__dict__, "_layout": None}
