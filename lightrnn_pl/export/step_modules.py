"""One step of a model as a traceable module, with the recurrent state as input and output.

With one code per word, a step reads a word and returns the log-probability of every word.  With k codes there are k
steps: the first reads what the model reads of the previous word and returns the log-probabilities of the first code
(rows); each later one reads a code of the word itself and returns those of the next code (columns), given the codes
before it.
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
    """Step ``axis`` of a word, from 0: its input and the state -> log-probabilities and the new state.

    Args:
        model: In evaluation mode.
        axis: The code that is predicted.
        most_bytes: The largest table that may be computed for a layer that cannot be traced.

    Attributes:
        reads: What the input of step 0 is: the previous word, or its last code.  Later steps get the codes so far as
            one number (``WordAllocation.prefixes``), which is the row for axis 1.
        written_out: Bytes of each table that was computed, by its description.

    Raises:
        ValueError: If a table would be larger than ``most_bytes``.
    """

    def __init__(self, model: LanguageModel, axis: int, most_bytes: int) -> None:
        super().__init__()
        self.axis = axis
        self.core = model.core
        self.written_out: dict[str, int] = {}
        self.reads = WORD
        embedding, output, sides = model.embedding, model.output, model.allocation.sides
        self._read: Callable[[Tensor], Tensor]
        if axis:
            self._read = _ReadCode(embedding, axis - 1, sides[axis - 1])
        elif embedding.reads_last_code:
            self.reads = LAST_CODE
            self._read = _ReadCode(embedding, len(sides) - 1, sides[-1])
        else:
            self._read, tables = embedding.traceable(most_bytes)
            self.written_out |= tables
        self._codes: _Codes | None = None
        self._words: nn.Module | None = None
        if len(sides) > 1:
            self._codes = _Codes(output, axis)
        else:
            self._words, tables = output.traceable(most_bytes)
            self.written_out |= tables

    def forward(self, read: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """(N,) and the state, each (layers, N, H) -> (N, side) and the state."""
        hidden, after = self.core(self._read(read)[:, None], state)
        answer = self._codes(hidden[:, 0], read) if self._codes is not None else self._words(hidden[:, 0])  # type: ignore[misc]
        return answer, *after


class _ReadCode(nn.Module):
    """The vector of a code; of several codes in one number, that of the last one."""

    def __init__(self, embedding: Embedding, axis: int, side: int) -> None:
        super().__init__()
        self.embedding, self.axis, self.side = embedding, axis, side

    def forward(self, prefixes: Tensor) -> Tensor:
        return self.embedding.code_step(self.axis, prefixes % self.side)


class _Codes(nn.Module):
    """A softmax over the codes of one axis, masked by the codes before."""

    def __init__(self, output: Output, axis: int) -> None:
        super().__init__()
        assert isinstance(output, CodeOutput)
        self.output, self.axis = output, axis

    def forward(self, hidden: Tensor, read: Tensor) -> Tensor:
        prefixes = read if self.axis else torch.zeros_like(read)
        return self.output.code_log_probabilities(self.axis, hidden, prefixes)
