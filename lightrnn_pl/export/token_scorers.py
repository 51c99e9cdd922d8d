"""Traceable modules that score the tokens of an acoustic model, in the two forms that sherpa-onnx reads.

The tokens have ids of their own, which a table maps to the words of the model.  An additional id, after those of the
tokens, stands for the start of a sentence.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lightrnn_pl.export.step_modules import LAST_CODE, CodeStep
from lightrnn_pl.nn.cores import FusedCore
from lightrnn_pl.nn.language_model import LanguageModel


class TokenScorer(nn.Module):
    """Abstract: the steps of a model, and the word of each token.

    Args:
        model: The model, in evaluation mode.
        words_of_tokens: The word of each token, followed by the context word, (tokens + 1,).
        max_bytes: Maximum size of a table that is computed for a layer that cannot be traced.

    Raises:
        ValueError: If a table would exceed ``max_bytes``, or a graph cannot represent the core.
    """

    steps: Any
    """The ``CodeStep`` of each code."""

    words_of_tokens: Tensor

    def __init__(self, model: LanguageModel, words_of_tokens: Tensor, max_bytes: int) -> None:
        super().__init__()
        if not isinstance(model.core, FusedCore):
            raise ValueError(
                f"format=sherpa_onnx computes all steps of a sentence in one operation of ONNX, which does not exist "
                f"for {type(model.core).__name__}; use a model with model/core=lstm, gru or rnn, or format=onnx"
            )
        self.core = model.core
        self.allocation = model.allocation
        self.steps = nn.ModuleList(CodeStep(model, axis, max_bytes) for axis in range(model.allocation.num_components))
        self.register_buffer("words_of_tokens", words_of_tokens)

    def _first_input(self, words: Tensor) -> Tensor:
        """What the first step reads after each of ``words`` (N,): the word, or its last code."""
        return self.allocation.encode(words)[:, -1] if self.steps[0].reads == LAST_CODE else words

    def _prefixes(self, words: Tensor, axis: int) -> Tensor:
        return self.allocation.prefixes(self.allocation.encode(words), axis)


class SentenceScorer(TokenScorer):
    """The negative log-likelihood of each sentence, including the end marker if the vocabulary has one.

    Only the words of the sentences, and with several codes per word only their rows, are scored.

    Args:
        model: The model, in evaluation mode.
        words_of_tokens: The word of each token, followed by the context word, (tokens + 1,).
        max_bytes: Maximum size of a table that is computed for a layer that cannot be traced.
        end: The id of the end marker, or None.
    """

    def __init__(self, model: LanguageModel, words_of_tokens: Tensor, max_bytes: int, end: int | None) -> None:
        super().__init__(model, words_of_tokens, max_bytes)
        self.end = end

    def forward(self, x: Tensor, x_lens: Tensor) -> Tensor:
        """Map tokens (N, L), without markers, and the number of tokens of each sentence (N,) to nats (N,)."""
        batch = x.shape[0]
        start = torch.full_like(x_lens[:, None], len(self.words_of_tokens) - 1)
        words = self.words_of_tokens[torch.cat([start, x], 1)]
        position = torch.arange(words.shape[1])[None]
        targets = torch.cat([words[:, 1:], words[:, :1]], 1)
        scored = position < x_lens[:, None]
        if self.end is not None:
            targets = targets.masked_fill(position == x_lens[:, None], self.end)
            scored = position <= x_lens[:, None]
        read, spelled = words.reshape(-1), targets.reshape(-1)
        inputs = [self._first_input(read), *(self._prefixes(spelled, axis) for axis in range(1, len(self.steps)))]
        vectors = [step.vectors(part) for step, part in zip(self.steps, inputs, strict=True) if step.reads_input]
        zeros = tuple(torch.zeros(self.core.num_layers, batch, self.core.hidden_dim) for _ in self.core.state_names)
        steps = torch.stack(vectors, 1)
        hidden, _ = self.core(steps.reshape(batch, -1, steps.shape[-1]), zeros)
        by_step = list(hidden.reshape(-1, len(vectors), self.core.hidden_dim).unbind(1))
        codes = self.allocation.encode(spelled) if len(self.steps) > 1 else spelled[:, None]
        total = torch.zeros_like(hidden[:, :1, 0])
        for axis, step in enumerate(self.steps):
            scores = step.scores(by_step[min(axis, len(by_step) - 1)], inputs[axis])
            total = total + scores.gather(1, codes[:, axis, None]).reshape(batch, -1)
        return -total.masked_fill(~scored, 0.0).double().sum(1).float()


class NextTokenScorer(TokenScorer):
    """The log-probability of every token after one more token, with the recurrent state as input and output.

    The id after those of the tokens resets the state.  Cores without a second part of the state return ``c`` unchanged.
    """

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map a token (N, 1) and the state (layers, N, H) to log-probabilities (N, 1, tokens) and the next state."""
        words, has_cell = self.words_of_tokens[x[:, 0]], len(self.core.state_names) > 1
        state: tuple[Tensor, ...] = (h, c) if has_cell else (h,)
        for axis, step in enumerate(self.steps):
            if axis and step.reads_input:
                _, state = self.core(step.vectors(self._prefixes(words, axis))[:, None], state)
        starts = x[:, 0] == len(self.words_of_tokens) - 1
        state = tuple(part.masked_fill(starts[None, :, None], 0.0) for part in state)
        read = self._first_input(words)
        hidden, state = self.core(self.steps[0].vectors(read)[:, None], state)
        scores = self._all_words(hidden[:, 0], state, read)[:, None, self.words_of_tokens[:-1]]
        return scores, state[0], state[1] if has_cell else c + 0.0

    def _all_words(self, hidden: Tensor, state: tuple[Tensor, ...], read: Tensor) -> Tensor:
        """The log-probability of every word, (N, V).  With several codes per word, all prefixes are read."""
        sides = self.allocation.sides
        scores = self.steps[0].scores(hidden, read)
        for axis in range(1, len(sides)):
            step, width = self.steps[axis], sides[axis - 1]
            prefixes = torch.arange(math.prod(sides[:axis])).repeat(hidden.shape[0] // math.prod(sides[: axis - 1]))
            hidden, state = _repeat(hidden, 0, width), tuple(_repeat(part, 1, width) for part in state)
            if step.reads_input:
                states, state = self.core(step.vectors(prefixes)[:, None], state)
                hidden = states[:, 0]
            scores = (scores.reshape(-1, 1) + step.scores(hidden, prefixes)).reshape(read.shape[0], -1)
        return scores[:, self.allocation.cells()] if len(sides) > 1 else scores


def _repeat(tensor: Tensor, axis: int, times: int) -> Tensor:
    """Each entry of ``axis``, ``times`` times in succession."""
    shape = [-1] * (tensor.dim() + 1)
    shape[axis + 1] = times
    return tensor.unsqueeze(axis + 1).expand(shape).flatten(axis, axis + 1)
