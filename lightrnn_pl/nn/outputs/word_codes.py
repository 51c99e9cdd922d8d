"""The contract of outputs that predict a word code by code (LightRNN, Equations 2 and 3).

Evaluation, search and export ask for :class:`CodeOutput`; loss statistics and vocabulary growth ask for
:class:`LinearCodeOutput`, and moves of words to other rows for :class:`WordVectorOutput`.  A new output for several
codes subclasses one of them, and no other module changes.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.types import Hidden, Words, WordScores


class CodeOutput(Output):
    """Abstract: factors the probability of a word into the probabilities of its k codes.

    Each code is predicted from a hidden state of its own, or all codes from the same one (model.steps_per_word).

    Subclasses must mask the codes that no word has, given the preceding codes, so that the probabilities of the words
    sum to one even if the allocation has empty cells.
    """

    @abstractmethod
    def axis_losses(self, hidden: Hidden, targets: Words) -> list[WordScores]:
        """Negative log-likelihood in nats of each code of each target: one (B, T) tensor per axis."""

    @abstractmethod
    def code_log_probabilities(
        self, axis: int, hidden: Float[Tensor, "N H"], prefixes: Int[Tensor, " N"]
    ) -> Float[Tensor, "N side"]:
        """Natural-log probability of each code of ``axis``, given the codes before it; -inf for codes without words.

        Args:
            axis: The axis to predict, counted from 0.
            hidden: Hidden states of the step that predicts this axis.
            prefixes: The preceding codes as one number, as returned by ``WordAllocation.prefixes``: 0 for axis 0, the
                row for axis 1.
        """

    def expected_code_log_probability(
        self,
        axis: int,
        hidden: Float[Tensor, "N H"],
        prefixes: Int[Tensor, " N"],
        shares: Float[Tensor, "N side"],
    ) -> Float[Tensor, " N"]:
        """The sum of the log-probabilities of the codes of ``axis``, weighted with ``shares``.

        Args:
            axis: The axis.
            hidden: Hidden states of the step that predicts this axis.
            prefixes: The preceding codes, as for :meth:`code_log_probabilities`.
            shares: The weight of each code; 0 for codes without words.
        """
        logs = self.code_log_probabilities(axis, hidden, prefixes)
        return (shares * logs.masked_fill(shares == 0, 0.0)).sum(-1)

    def hidden_by_axis(self, hidden: Hidden, targets: Words) -> list[Float[Tensor, "N H"]]:
        """The hidden state that predicts each code of each target: one (B T, H) tensor per axis."""
        steps = hidden.reshape(targets.numel(), -1, self.hidden_dim).unbind(1)
        return list(steps) if len(steps) > 1 else list(steps) * self.allocation.num_components

    @override
    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        return -torch.stack(self.axis_losses(hidden, targets)).sum(0)

    @override
    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        assert self.allocation.num_components == 1, "words with several codes need one hidden state per code"
        prefixes = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        return self.code_log_probabilities(0, hidden, prefixes)[:, self.allocation.cells()]

    @torch.no_grad()
    @override
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """The k most likely words, for one code per word; ``inference.top_k`` handles several codes."""
        values, words = self.log_probabilities(hidden).topk(min(k, self.allocation.num_words), dim=-1)
        return values, words


class LinearCodeOutput(CodeOutput):
    """Abstract: a code output whose logits are linear in the hidden state on every axis, which loss statistics need."""

    @abstractmethod
    def axis_parameters(self) -> tuple[list[Float[Tensor, "side H"]], list[Float[Tensor, " side"]]]:
        """Output vectors and biases per axis: the logits of axis d are ``hidden @ weight[d].T + bias[d]``.

        They are detached views of the parameters.
        """


class WordVectorOutput(CodeOutput):
    """Abstract: for k = 2, predicts the row and then the word itself, by a vector that the word keeps in any row."""

    @abstractmethod
    def row_parameters(self) -> tuple[Float[Tensor, "R H"], Float[Tensor, " R"]]:
        """Detached vectors and biases of the rows: the logits of the rows are ``hidden @ weight.T + bias``."""

    @abstractmethod
    def row_logits(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N R"]:
        """The logits of all rows; -inf for rows without words."""

    @abstractmethod
    def word_logits(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """The logits of all words, which are normalized over the words of a row.  All N x V are computed at once."""
