"""Slim output vectors: K shared sub-vectors side by side (Slim Embedding, "Compressing Output Embedding Layer").

Algorithm 1: part i of the hidden state meets only the sub-vectors of set i, so that the scores of all words are

    dots[m] = h_i . a_m   for each m of set i      K dense products, M H / K multiplications a position
    score(w) = sum over i of dots[m_i(w)] + b_w    a gather and a sum, V K additions

Knows nothing of how words come to share (``nn/sharing``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.slim import SlimEmbedding
from lightrnn_pl.nn.outputs.softmax import WHOLE, SoftmaxOutput
from lightrnn_pl.nn.sharing import SubvectorMap, subvectors_for
from lightrnn_pl.nn.traceable import Traceable, map_of_all_words, narrowest, num_bytes
from lightrnn_pl.types import Hidden, Words, WordScores

_CPU_BLOCK = 2**23
"""Scores that a processor works on at once, 32 MiB of float32: beyond, fresh pages cost more than the arithmetic."""

_LEAST_POSITIONS = 16
"""Fewer at once, and reading the sub-vectors costs more than multiplying with them."""

_NUMBERS_AT_ONCE = 2**17
"""Numbers of sub-vectors that are widened or hashed at once: 1 MiB of int64, which stays near the processor."""

_SUMS_AT_ONCE = 2**17
"""Scores that a processor sums and turns at once: 512 KiB of float32, which stay near it too."""


class SlimOutput(SoftmaxOutput):
    """M x H/K weights and V biases, however large the matrix V x H would be; it is never made.

    Memory is bounded by taking some positions at a time, all words of each, rather than some words: the K products
    are then done once.  Where the scores of all positions do not fit into 256 MiB, those of a block are computed again
    in the backward pass.

    Beside the parameters, inference holds the map and nothing else.  Gradients need the map the other way round too, in
    8 bytes a number with what the gathers of the forward pass read; it is kept while the layer trains, and dropped by
    ``eval``.

    Args:
        allocation: The word table, k = 1.
        hidden_dim: H, divisible by K.
        num_parts: K.
        map: Makes the map of words to sub-vectors, given its sizes; its sets are disjoint.
        compression: M / (K V), so the size beside a full output's; None where ``num_subvectors`` is given.
        num_subvectors: M; None where ``compression`` is given.
        chunk_size: Words whose scores would be held at a time at every position: the same number of scores is held as
            all words at fewer positions, at least one.  None chooses as above.

    Raises:
        ValueError: If K does not divide H, or M is not given once and in range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        hidden_dim: int,
        num_parts: int,
        map: Callable[..., SubvectorMap],
        compression: float | None = None,
        num_subvectors: int | None = None,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(allocation, hidden_dim, chunk_size)
        check_count("model.output.num_parts", num_parts)
        if hidden_dim % num_parts:
            raise ValueError(
                f"model.hidden_dim must be divisible by model.output.num_parts={num_parts}, got {hidden_dim}"
            )
        number = subvectors_for(compression, num_subvectors, self.num_words, num_parts, "model.output")
        self.map = map(num_words=self.num_words, num_parts=num_parts, num_subvectors=number, disjoint=True)
        self.subvectors = nn.Parameter(torch.zeros(number, hidden_dim // num_parts))
        self.compression = compression
        self._shares_map = False
        self._layout: tuple[Any, _Layout] | None = None

    @property
    def table_bytes(self) -> int:
        """Bytes of the map, unless the embedding it is shared with counts them: all that inference looks up."""
        return 0 if self._shares_map else self.map.table_bytes

    def train(self, mode: bool = True) -> SlimOutput:
        """See ``torch.nn.Module``; evaluation drops what only gradients need."""
        if not mode:
            self._layout = None
        return super().train(mode)

    def initialise(self, scale: float) -> None:
        """Uniform, except that sub-vectors of the right size that the map knows are taken."""
        super().initialise(scale)
        start = self.map.starting_vectors()
        if start is not None and start.shape == self.subvectors.shape:
            with torch.no_grad():
                self.subvectors.copy_(start)

    def tie(self, embedding: Embedding) -> None:
        """Share sub-vectors and map with a slim embedding of the same sizes whose parts draw from disjoint sets.

        Raises:
            ValueError: Naming what must be set for it, if the embedding is another.
        """
        if not isinstance(embedding, SlimEmbedding) or (missing := self._missing_for(embedding)):
            everything = ["model/embedding=slim", "model.embedding.disjoint=true", *self._sizes()]
            self._refuse_to_tie(embedding, missing if isinstance(embedding, SlimEmbedding) else everything)
        self.map = embedding.map
        self.subvectors = cast(nn.Parameter, embedding.vectors.weight)
        self._shares_map = True

    def _sizes(self) -> list[str]:
        """What an embedding must be given to have as many sub-vectors of the same size."""
        number = [f"model.embedding.compression={self.compression}", "model.embedding.num_subvectors=null"]
        if self.compression is None:
            number = ["model.embedding.compression=null", f"model.embedding.num_subvectors={self.map.num_subvectors}"]
        return [
            f"model.embedding_dim={self.hidden_dim}",
            f"model.embedding.num_parts={self.map.num_parts}",
            *number,
        ]

    def _missing_for(self, embedding: SlimEmbedding) -> list[str]:
        """What must be set so that ``embedding`` can be tied; nothing where it can."""
        own = self.hidden_dim, self.map.num_parts, self.map.num_subvectors
        theirs = embedding.embedding_dim, embedding.map.num_parts, embedding.map.num_subvectors
        disjoint = [] if embedding.map.disjoint else ["model.embedding.disjoint=true"]
        # A ratio stands for another number with another number of parts, so that sizes go together.
        return disjoint + (self._sizes() if own != theirs else [])

    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S H"]:
        """See :class:`SoftmaxOutput`; reads the sub-vectors of these words only."""
        return F.embedding(self.map(words), self.subvectors).flatten(1)

    def scores(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """See :class:`SoftmaxOutput`; where a gradient is wanted, a view with the words' stride the larger one."""
        # Mixed precision hands over narrower hidden states, but sums of K numbers deserve the weights' own.
        factors = hidden.to(self.subvectors.dtype), self.subvectors, self.bias
        if torch.is_grad_enabled() and any(factor.requires_grad for factor in factors):
            return _SharedScores.apply(*factors, self._layout_now()).T
        return _scores_of_words(_dots(*factors[:2], self._spans_of_parts()), self.bias, self._numbers())

    def query_scores(self, query: Float[Tensor, "N H"], start: int, stop: int) -> Float[Tensor, "N _"]:
        """See :class:`SoftmaxOutput`; by Algorithm 1 for all words, from their output vectors for some."""
        if (start, stop) == (0, self.num_words):
            return self.scores(query)
        return super().query_scores(query, start, stop)

    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Output`."""

        def losses(hidden: Tensor, words: Tensor) -> Tensor:
            return F.cross_entropy(self.scores(hidden), words, reduction="none")

        return -self._by_block(losses, hidden.flatten(0, 1), targets.flatten()).view(targets.shape)

    def log_partition(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
        """See :class:`SoftmaxOutput`."""
        return self._by_block(lambda hidden: self.scores(hidden).logsumexp(-1), hidden)

    @torch.no_grad()
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """See :class:`SoftmaxOutput`."""
        check_count("k", k)
        found = []
        for block in hidden.split(self._block(len(hidden), hidden.device)):
            scores = self.scores(block)
            values, words = scores.topk(min(k, self.num_words), dim=-1)
            found.append((values - scores.logsumexp(-1, keepdim=True), words))
        return torch.cat([values for values, _ in found]), torch.cat([words for _, words in found])

    def _by_block(self, compute: Callable[..., Tensor], *columns: Tensor) -> Tensor:
        """``compute`` of some positions at a time, again in the backward pass where all would not fit."""
        num_positions = len(columns[0])
        blocks = zip(*(column.split(self._block(num_positions, column.device)) for column in columns), strict=True)
        fits = self.chunk_size is None and num_positions * self.num_words <= WHOLE
        if fits or not torch.is_grad_enabled():
            return torch.cat([compute(*block) for block in blocks])
        return torch.cat(
            [checkpoint(compute, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks]
        )

    def _block(self, num_positions: int, device: torch.device) -> int:
        """Positions at a time."""
        if self.chunk_size is not None:
            return max(1, self.chunk_size * num_positions // self.num_words)
        # Dots of all sub-vectors are held beside the scores.
        widest = max(self.num_words, self.map.num_subvectors)
        return max(_LEAST_POSITIONS, (_CPU_BLOCK if device.type == "cpu" else WHOLE) // widest)

    def _spans_of_parts(self) -> list[tuple[int, int]]:
        return [self.map.span(part) for part in range(self.map.num_parts)]

    def _numbers(self) -> Iterator[Int32[Tensor, "_ K"]]:
        """The map in the numbers that the gather reads: as it is kept where that will do, else some words at a time."""
        table = self.map.table()
        if table is not None and table.dtype == torch.int32:
            yield table
            return
        size = max(1, _NUMBERS_AT_ONCE // self.map.num_parts)
        for words in torch.arange(self.num_words, device=self.subvectors.device).split(size):
            yield self.map(words).int()

    def _layout_now(self) -> _Layout:
        """The map both ways; in training made anew only when the map has changed or moved."""
        # An inference tensor does not count what is written to it.
        buffers = [(b.data_ptr(), None if b.is_inference() else b._version) for b in self.map.buffers()]
        version = (id(self.map), self.subvectors.device, buffers)
        if self._layout is not None and self._layout[0] == version:
            return self._layout[1]
        first, *rest = self._numbers()
        # A table that is all of it is not copied.
        numbers = torch.cat([first, *rest]) if rest else first
        layout = _Layout.of(numbers, self.map.num_subvectors, self._spans_of_parts())
        self._layout = (version, layout) if self.training else None
        return layout

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes its own.
        return {**self.__dict__, "_layout": None}

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        numbers = map_of_all_words(self.map, self.num_words)
        return Traceable(_AllWords(self, numbers), {"map of output sub-vectors": num_bytes(numbers)})


class _AllWords(nn.Module):
    """Algorithm 1 from a map that is a table."""

    numbers: Tensor

    def __init__(self, output: SlimOutput, numbers: Tensor) -> None:
        super().__init__()
        self.spans = [output.map.span(part) for part in range(output.map.num_parts)]
        starts = torch.tensor([start for start, _ in self.spans])
        # Numbers within a part are small, so that few bytes store them.
        self.register_buffer("numbers", narrowest(numbers.long().T - starts[:, None]))
        self.subvectors, self.bias = output.subvectors, output.bias

    def forward(self, hidden: Tensor) -> Tensor:
        size = self.subvectors.shape[1]
        # Words by positions, so that gathers read whole rows: several times faster than along the other axis.
        scores = self.bias[:, None]
        for part, (start, stop) in enumerate(self.spans):
            # The weights on the right, where they can be quantized.
            dots = F.linear(hidden[:, part * size : (part + 1) * size], self.subvectors[start:stop])
            scores = scores + dots.T.index_select(0, self.numbers[part].long())
        return scores.T.log_softmax(-1)


class _Layout(NamedTuple):
    """A map both ways: the sub-vectors of each word, and the words of each sub-vector."""

    numbers: Int32[Tensor, "V K"]
    spans: list[tuple[int, int]]
    users: Int32[Tensor, " uses"]
    """Words in order of their sub-vectors."""
    offsets: Int32[Tensor, " starts"]
    """Where the words of each sub-vector start in ``users``."""

    @classmethod
    def of(cls, numbers: Int32[Tensor, "V K"], num_subvectors: int, spans: list[tuple[int, int]]) -> _Layout:
        flat = numbers.flatten()
        users = flat.argsort(stable=True) // len(spans)
        offsets = F.pad(torch.bincount(flat, minlength=num_subvectors).cumsum(0), (1, 0))
        return cls(numbers, spans, users.int(), offsets.int())


def _dots(
    hidden: Float[Tensor, "N H"], subvectors: Float[Tensor, "M P"], spans: list[tuple[int, int]]
) -> Float[Tensor, "M N"]:
    """The K products: each sub-vector with its part of each hidden state; part i has the sub-vectors ``spans[i]``."""
    size = subvectors.shape[1]
    dots = hidden.new_empty(len(subvectors), len(hidden))
    with torch.no_grad():
        for part, (start, stop) in enumerate(spans):
            torch.mm(subvectors[start:stop], hidden[:, part * size : (part + 1) * size].T, out=dots[start:stop])
    return dots


def _scores_of_words(
    dots: Float[Tensor, "M N"], bias: Float[Tensor, " V"], numbers: Iterable[Int32[Tensor, "_ K"]]
) -> Float[Tensor, "N V"]:
    """The gather-sum, turned to positions by words while the sums are still near the processor.

    Args:
        dots: Products, a row a sub-vector, as the gathers read whole rows.
        bias: Of each word.
        numbers: The sub-vectors of the words in order, of all words at once or of some at a time.
    """
    num_positions = dots.shape[1]
    at_once = max(1, _SUMS_AT_ONCE // max(1, num_positions)) if dots.device.type == "cpu" else len(bias)
    scores = dots.new_empty(num_positions, len(bias))
    start = 0
    for some in (part for block in numbers for part in block.split(at_once)):
        stop = start + len(some)
        torch.add(F.embedding_bag(some, dots, mode="sum").T, bias[start:stop], out=scores[:, start:stop])
        start = stop
    assert start == len(bias)
    return scores


class _SharedScores(torch.autograd.Function):
    """Algorithm 1 with its gradient.

    The gradient of the dots is a gather-sum too, over the words of each sub-vector: several times faster than
    scattering with ``index_add``, and deterministic on every device.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "N H"],
        subvectors: Float[Tensor, "M P"],
        bias: Float[Tensor, " V"],
        map: _Layout,
    ) -> Float[Tensor, "V N"]:
        ctx.save_for_backward(hidden, subvectors)
        ctx.map = map
        dots = _dots(hidden, subvectors, map.spans)
        return F.embedding_bag(map.numbers, dots, mode="sum").add_(bias[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "V N"]) -> tuple[Tensor | None, ...]:
        hidden, subvectors = ctx.saved_tensors
        map, size = ctx.map, subvectors.shape[1]
        gradient = gradient.contiguous()
        dots = F.embedding_bag(map.users, gradient, map.offsets, mode="sum", include_last_offset=True)
        of_hidden, of_subvectors = torch.empty_like(hidden), torch.empty_like(subvectors)
        for part, (start, stop) in enumerate(map.spans):
            own = slice(part * size, (part + 1) * size)
            torch.mm(dots[start:stop], hidden[:, own], out=of_subvectors[start:stop])
            of_hidden[:, own] = dots[start:stop].T @ subvectors[start:stop]
        return of_hidden, of_subvectors, gradient.sum(1), None
