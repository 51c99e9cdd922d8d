"""One step of a model as a traceable module, with the recurrent state as input and output.

With one code per word, a step reads a word and returns the log-probability of every word.  With k codes per word, there
are k steps.  The first reads the previous word (or its last code) and returns the log-probabilities of the first code,
the row.  Each later step reads a code of the word itself and returns the log-probabilities of its next code, given the
preceding ones.  With one step per word, later steps read no code, and leave the state unchanged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightrnn_pl.nn.embeddings import Embedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import CodeOutput, Output

WORD, LAST_CODE = "word", "last code"


class CodeStep(nn.Module):
    """Step ``axis`` of a word, counted from 0: maps its input and the state to log-probabilities and the next state.

    Args:
        model: The model, in evaluation mode.
        axis: The code to predict.
        max_bytes: Maximum size of a table that is computed for a layer that cannot be traced.

    Attributes:
        reads: The input of step 0: the previous word, or its last code.  The input of later steps is the preceding
            codes as one number (``WordAllocation.prefixes``), which is the row for axis 1.
        written_out: Description of each computed table -> its size in bytes.

    Raises:
        ValueError: If a table would exceed ``max_bytes``.
    """

    def __init__(self, model: LanguageModel, axis: int, max_bytes: int) -> None:
        super().__init__()
        self.axis = axis
        self.core = model.core
        self.written_out: dict[str, int] = {}
        self.reads = WORD
        embedding, output, sides = model.embedding, model.output, model.allocation.sides
        self._read: Callable[[Tensor], Tensor] | None = None
        if axis and embedding.steps_per_word == 1:
            pass  # all codes are predicted from the same hidden state
        elif axis:
            self._read = _ReadCode(embedding, axis - 1, sides[axis - 1])
        elif embedding.reads_last_code:
            self.reads = LAST_CODE
            self._read = _ReadCode(embedding, len(sides) - 1, sides[-1])
        else:
            self._read, tables = embedding.traceable(max_bytes)
            self.written_out |= tables
        self._codes: _Codes | None = None
        self._words: nn.Module | None = None
        if len(sides) > 1:
            self._codes = _Codes(output, axis)
        else:
            self._words, tables = output.traceable(max_bytes)
            self.written_out |= tables

    def forward(self, read: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Map the input (N,) and the state (layers, N, H) to log-probabilities (N, side) and the next state."""
        if self.reads_input:
            hidden, after = self.core(self.vectors(read)[:, None], state)
            last = hidden[:, 0]
        else:
            last, after = self.core.last_hidden(state), state
        return self.scores(last, read), *after

    @property
    def reads_input(self) -> bool:
        """Whether the core reads the input; otherwise, the step only selects the words of its prefix."""
        return self._read is not None

    def vectors(self, read: Tensor) -> Tensor:
        """The step vectors (N, D) of the input (N,), if the core reads it."""
        assert self._read is not None
        return self._read(read)

    def scores(self, hidden: Tensor, read: Tensor) -> Tensor:
        """The log-probabilities (N, side), given hidden states (N, H) and the input (N,)."""
        return self._codes(hidden, read) if self._codes is not None else self._words(hidden)  # type: ignore[misc]


class _ReadCode(nn.Module):
    """The vector of a code; if the input combines several codes, that of the last one."""

    def __init__(self, embedding: Embedding, axis: int, side: int) -> None:
        super().__init__()
        self.embedding, self.axis, self.side = embedding, axis, side

    def forward(self, prefixes: Tensor) -> Tensor:
        return self.embedding.code_step(self.axis, prefixes % self.side)


class _Codes(nn.Module):
    """A softmax over the codes of one axis, masked according to the preceding codes."""

    def __init__(self, output: Output, axis: int) -> None:
        super().__init__()
        assert isinstance(output, CodeOutput)
        self.output, self.axis = output, axis

    def forward(self, hidden: Tensor, read: Tensor) -> Tensor:
        prefixes = read if self.axis else torch.zeros_like(read)
        return self.output.code_log_probabilities(self.axis, hidden, prefixes)
