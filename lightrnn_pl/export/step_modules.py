"""One step of a model in plain operations, as a tracer can follow them, the state handed in and out.

With one code a word a step reads a word and gives the log-probability of every word.  With k codes there are k steps:
the first reads what the model reads of the word before and gives those of the first code (rows), each later one reads a
code of the word itself and gives those of the next (columns), given the codes before it.

What layers compute in ways that no tracer follows (hashes, convolutions over spelling, the gather with a gradient of
its own) is written out here: tables are computed once and kept as tables.  Knows layers; nothing of ONNX.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightrnn_pl.nn.embeddings import (
    CharCNNEmbedding,
    Embedding,
    HashedEmbedding,
    MultiComponentEmbedding,
    SlimEmbedding,
)
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import AdaptiveOutput, CodeOutput, HashedOutput, Output, SlimOutput

_AT_ONCE = 4096
"""Words whose vectors are computed at a time."""

WORD, LAST_CODE = "word", "last code"


class CodeStep(nn.Module):
    """Step ``axis`` of a word, from 0: what it reads and the state in, log-probabilities and the state out.

    Args:
        model: In evaluation mode.
        axis: The code that is predicted.
        most_bytes: The largest table that may be written out.

    Attributes:
        reads: What the input of step 0 is: the word before, or its last code.  Later steps are given the codes so far
            as one number (``WordAllocation.prefixes``), the row for axis 1.
        written_out: Bytes by what was made a table of.

    Raises:
        ValueError: If a table would be larger.
    """

    def __init__(self, model: LanguageModel, axis: int, most_bytes: int) -> None:
        super().__init__()
        self.axis = axis
        self.sides = model.allocation.sides
        self.core = model.core
        self.written_out: dict[str, int] = {}
        self.reads = WORD
        embedding, output = model.embedding, model.output
        if axis:
            self._read: Callable[[Tensor], Tensor] = _ReadCode(embedding, axis - 1, self.sides[axis - 1])
        else:
            self._read = self._first_reader(embedding, most_bytes)
        self._answer: Callable[[Tensor, Tensor], Tensor]
        if len(self.sides) > 1:
            self._answer = _Codes(output, axis)
        else:
            self._answer = self._words(output, most_bytes)

    def forward(self, read: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """(N,) and the state, each (layers, N, H) -> (N, side) and the state."""
        hidden, after = self.core(self._read(read)[:, None], state)
        return self._answer(hidden[:, 0], read), *after

    def _first_reader(self, embedding: Embedding, most_bytes: int) -> Callable[[Tensor], Tensor]:
        if isinstance(embedding, MultiComponentEmbedding) and len(self.sides) > 1:
            self.reads = LAST_CODE
            return _ReadCode(embedding, len(self.sides) - 1, self.sides[-1])
        if isinstance(embedding, SlimEmbedding):
            numbers = _numbers(embedding.map, embedding.allocation.num_words)
            self.written_out["map of input sub-vectors"] = numbers.numel() * numbers.element_size()
            return _ReadParts(numbers, embedding.vectors.weight)
        if isinstance(embedding, HashedEmbedding | CharCNNEmbedding):
            num_words = embedding.allocation.num_words
            self._write_out("vectors of all words", num_words, embedding.embedding_dim, embedding, most_bytes)
            words = torch.arange(num_words).split(_AT_ONCE)
            return _ReadTable(torch.cat([embedding.word_vectors(some) for some in words]))
        return _ReadWord(embedding)

    def _words(self, output: Output, most_bytes: int) -> Callable[[Tensor, Tensor], Tensor]:
        if isinstance(output, SlimOutput):
            numbers = _numbers(output.map, output.num_words)
            self.written_out["map of output sub-vectors"] = numbers.numel() * numbers.element_size()
            return _SlimWords(output, numbers)
        if isinstance(output, HashedOutput):
            self._write_out("output vectors", output.num_words, output.hidden_dim, output, most_bytes)
            words = torch.arange(output.num_words).split(_AT_ONCE)
            return _DenseWords(torch.cat([output.output_vectors(some) for some in words]), output.bias)
        return _AdaptiveWords(output) if isinstance(output, AdaptiveOutput) else _Words(output)

    def _write_out(self, what: str, num_words: int, dim: int, part: nn.Module, most_bytes: int) -> None:
        size = num_words * dim * 4
        if size > most_bytes:
            raise ValueError(
                f"{type(part).__name__} computes its vectors in a way that ONNX cannot: written out, those of "
                f"{num_words:,} words take {size / 2**20:,.0f} MiB, more than largest_table={most_bytes / 2**20:,.0f}; "
                "raise it, or export the model as format=safetensors"
            )
        self.written_out[what] = size


class _ReadWord(nn.Module):
    """Vectors that a layer only looks up, or looks up and multiplies."""

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, words: Tensor) -> Tensor:
        return self.embedding.first_step(words)


class _ReadCode(nn.Module):
    """Vectors of a code; of several codes in one number the last one is read."""

    def __init__(self, embedding: Embedding, axis: int, side: int) -> None:
        super().__init__()
        self.embedding, self.axis, self.side = embedding, axis, side

    def forward(self, prefixes: Tensor) -> Tensor:
        return self.embedding.code_step(self.axis, prefixes % self.side)


class _ReadParts(nn.Module):
    """Sub-vectors side by side."""

    numbers: Tensor

    def __init__(self, numbers: Tensor, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers)
        self.vectors = vectors

    def forward(self, words: Tensor) -> Tensor:
        return F.embedding(F.embedding(words, self.numbers).long(), self.vectors).flatten(1)


class _ReadTable(nn.Module):
    """Vectors that were computed before."""

    vectors: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)

    def forward(self, words: Tensor) -> Tensor:
        return F.embedding(words, self.vectors)


class _Codes(nn.Module):
    """A softmax over the codes of one axis, masked by the codes before."""

    def __init__(self, output: Output, axis: int) -> None:
        super().__init__()
        assert isinstance(output, CodeOutput)
        self.output, self.axis = output, axis

    def forward(self, hidden: Tensor, read: Tensor) -> Tensor:
        prefixes = read if self.axis else torch.zeros_like(read)
        return self.output.code_log_probabilities(self.axis, hidden, prefixes)


class _Words(nn.Module):
    """A layer whose own way to all words can be followed."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output

    def forward(self, hidden: Tensor, read: Tensor) -> Tensor:
        return self.output.log_probabilities(hidden)


class _DenseWords(nn.Module):
    """Output vectors that were computed before."""

    vectors: Tensor

    def __init__(self, vectors: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.bias = bias

    def forward(self, hidden: Tensor, read: Tensor) -> Tensor:
        return F.linear(hidden, self.vectors, self.bias).log_softmax(-1)


class _SlimWords(nn.Module):
    """Slim Embedding, Algorithm 1: dots of each part of the hidden state with its sub-vectors, gathered and summed."""

    numbers: Tensor

    def __init__(self, output: SlimOutput, numbers: Tensor) -> None:
        super().__init__()
        self.spans = [output.map.span(part) for part in range(output.map.num_parts)]
        starts = torch.tensor([start for start, _ in self.spans])
        # Numbers within a part are small, and stored in few bytes.
        self.register_buffer("numbers", _smallest(numbers.long().T - starts[:, None]))
        self.subvectors, self.bias = output.subvectors, output.bias

    def forward(self, hidden: Tensor, read: Tensor) -> Tensor:
        size = self.subvectors.shape[1]
        # Words by positions, so that gathers read whole rows: several times faster than along the other axis.
        scores = self.bias[:, None]
        for part, (start, stop) in enumerate(self.spans):
            # The weights on the right, where they can be quantised.
            dots = F.linear(hidden[:, part * size : (part + 1) * size], self.subvectors[start:stop])
            scores = scores + dots.T.index_select(0, self.numbers[part].long())
        return scores.T.log_softmax(-1)


class _AdaptiveWords(nn.Module):
    """PyTorch's adaptive softmax without writing into slices."""

    ranks: Tensor | None

    def __init__(self, output: AdaptiveOutput) -> None:
        super().__init__()
        self.softmax = output.softmax
        self.register_buffer("ranks", output.ranks)

    def forward(self, hidden: Tensor, read: Tensor) -> Tensor:
        first = self.softmax.cutoffs[0]
        head = self.softmax.head(hidden).log_softmax(-1)
        parts = [head[:, :first]]
        for number, cluster in enumerate(self.softmax.tail):
            parts.append(cluster(hidden).log_softmax(-1) + head[:, first + number : first + number + 1])
        by_rank = torch.cat(parts, 1)
        return by_rank if self.ranks is None else by_rank.index_select(1, self.ranks.long())


def _numbers(map: nn.Module, num_words: int) -> Tensor:
    """The map as a table, whatever it is computed from."""
    return _smallest(torch.cat([map(words) for words in torch.arange(num_words).split(_AT_ONCE)]))


def _smallest(numbers: Tensor) -> Tensor:
    for dtype in (torch.uint8, torch.int16):
        if int(numbers.max()) <= torch.iinfo(dtype).max:
            return numbers.to(dtype)
    return numbers.to(torch.int32)
