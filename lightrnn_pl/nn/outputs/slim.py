"""Slim output vectors: concatenations of K shared sub-vectors (Slim Embedding, "Compressing Output Embedding Layer").

Algorithm 1: part i of the hidden state is multiplied only by the sub-vectors of set i, so the logits of all words are

    dots[m] = h_i . a_m   for each m of set i      K dense products, M H / K multiplications per position
    logit(w) = sum over i of dots[m_i(w)] + b_w    a gather and a sum, V K additions per position

The maps from words to sub-vectors are in :mod:`lightrnn_pl.nn.sharing`.
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
from lightrnn_pl.nn.outputs.softmax import MAX_LOGITS, SoftmaxOutput
from lightrnn_pl.nn.outputs.vector_sources import VectorSource, Weights, as_ids
from lightrnn_pl.nn.sharing import SubvectorMap, default_parts, subvector_count
from lightrnn_pl.nn.traceable import Traceable, map_of_all_words, narrow_integers, num_bytes
from lightrnn_pl.types import Hidden, Words, WordScores

_CPU_BLOCK = 2**23
"""Logits per block on a CPU, 32 MiB of float32; in larger blocks, page faults take longer than the arithmetic."""

_MIN_POSITIONS = 16
"""Positions per block; in smaller blocks, reading the sub-vectors takes longer than multiplying by them."""

_MAP_CHUNK = 2**17
"""Entries of the map that are converted or hashed at a time: 1 MiB of int64, which fits into the cache of a CPU."""

_SUM_CHUNK = 2**17
"""Logits that a CPU sums and transposes at a time: 512 KiB of float32, which fit into the cache."""


class SlimOutput(SoftmaxOutput):
    """M x H/K weights and V biases.  A V x H matrix is never created.

    To limit memory, the logits of all words are computed for a block of positions at a time, instead of those of a
    chunk of words for all positions, because the K products are then computed only once.  If the logits of all
    positions do not fit into 256 MiB, those of each block are computed again in the backward pass.

    Inference needs no memory besides the parameters and the map.  Gradients also need the inverse map, and the map as
    int32, in total 8 bytes per entry.  They are stored during training, and freed by ``eval``.

    Args:
        allocation: The word allocation, k = 1.
        hidden_dim: H, divisible by K.
        num_parts: K; None for the divisor of the vectors' size nearest to 10.
        map: Creates the map of words to sub-vectors, given its sizes; its sets are disjoint.
        compression: M / (K V), the size relative to a full output; None if ``num_subvectors`` is set.
        num_subvectors: M; None if ``compression`` is set.
        chunk_size: Limits the logits that are stored at a time to this number per position.  Since blocks contain all
            words, this reduces the number of positions per block, to at least one.  None selects it as described above.

    Raises:
        ValueError: If K does not divide H, if not exactly one of ``compression`` and ``num_subvectors`` is set, or if
            an argument is out of range.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        hidden_dim: int,
        num_parts: int | None,
        map: Callable[..., SubvectorMap],
        compression: float | None = None,
        num_subvectors: int | None = None,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(allocation, hidden_dim, chunk_size)
        num_parts = default_parts(hidden_dim) if num_parts is None else num_parts
        check_count("model.output.num_parts", num_parts)
        if hidden_dim % num_parts:
            raise ValueError(
                f"model.hidden_dim must be divisible by model.output.num_parts={num_parts}, got {hidden_dim}"
            )
        number = subvector_count(compression, num_subvectors, self.num_words, num_parts, "model.output")
        self.map = map(num_words=self.num_words, num_parts=num_parts, num_subvectors=number, disjoint=True)
        self.subvectors = nn.Parameter(torch.zeros(number, hidden_dim // num_parts))
        self.source = _ConcatenatedSubvectors(self.map)
        self.compression = compression
        self._shares_map = False
        self._layout: tuple[Any, _Layout] | None = None

    @property
    @override
    def vector_weights(self) -> Weights:
        return (self.subvectors,)

    @property
    @override
    def table_bytes(self) -> int:
        """Size of the map in bytes; 0 if it is shared with an embedding, which counts it."""
        return 0 if self._shares_map else self.map.table_bytes

    @override
    def train(self, mode: bool = True) -> SlimOutput:
        if not mode:
            self._layout = None
        return super().train(mode)

    @override
    def initialise(self, scale: float) -> None:
        """Initialize uniformly, or with the initial sub-vectors of the map if they have the right shape."""
        super().initialise(scale)
        initial = self.map.initial_subvectors()
        if initial is not None and initial.shape == self.subvectors.shape:
            with torch.no_grad():
                self.subvectors.copy_(initial)

    @override
    def tie(self, embedding: Embedding) -> None:
        """Share the sub-vectors and the map of a slim embedding with as many sub-vectors in disjoint sets.

        Raises:
            ValueError: If the embedding is different.  The message lists the settings that are required.
        """
        if not isinstance(embedding, SlimEmbedding) or (missing := self._missing_settings(embedding)):
            all_settings = ["model/embedding=slim", "model.embedding.disjoint=true", *self._size_settings(embedding)]
            self._refuse_to_tie(embedding, missing if isinstance(embedding, SlimEmbedding) else all_settings)
        self.map = embedding.map
        self.source = _ConcatenatedSubvectors(self.map)
        self.subvectors = cast(nn.Parameter, embedding.vectors.weight)
        self._shares_map = True
        self._project_to(embedding.embedding_dim)

    def _size_settings(self, embedding: Embedding) -> list[str]:
        """Settings with which an embedding has the same number of sub-vectors."""
        number = [f"model.embedding.compression={self.compression}", "model.embedding.num_subvectors=null"]
        if self.compression is None:
            number = ["model.embedding.compression=null", f"model.embedding.num_subvectors={self.map.num_subvectors}"]
        divisible = embedding.embedding_dim % self.map.num_parts == 0
        size = [] if divisible else [f"model.embedding_dim={self.hidden_dim}"]
        return [*size, f"model.embedding.num_parts={self.map.num_parts}", *number]

    def _missing_settings(self, embedding: SlimEmbedding) -> list[str]:
        """Settings that are required to tie ``embedding``; empty if it can be tied."""
        own = self.map.num_parts, self.map.num_subvectors
        theirs = embedding.map.num_parts, embedding.map.num_subvectors
        disjoint = [] if embedding.map.disjoint else ["model.embedding.disjoint=true"]
        # The number that a ratio stands for depends on the number of parts, so all sizes are listed together.
        return disjoint + (self._size_settings(embedding) if own != theirs else [])

    @override
    def output_vectors(self, words: Int[Tensor, " S"]) -> Float[Tensor, "S P"]:
        return F.embedding(self.map(words), self.subvectors).flatten(1)

    @override
    def logits(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """Logits of all words; with gradients, a transposed view of a (V, N) tensor."""
        return self._all_logits(self.query(hidden))

    def _all_logits(self, query: Float[Tensor, "N P"]) -> Float[Tensor, "N V"]:
        # In mixed precision, hidden states have a lower precision; sum the K products in the precision of the weights.
        factors = query.to(self.subvectors.dtype), self.subvectors, self.bias
        if torch.is_grad_enabled() and any(factor.requires_grad for factor in factors):
            return _SharedLogits.apply(*factors, self._current_layout()).T
        return _logits_of_words(_dots(*factors[:2], self._part_spans()), self.bias, self._numbers())

    @override
    def query_logits(self, query: Float[Tensor, "N H"], start: int, stop: int) -> Float[Tensor, "N _"]:
        if (start, stop) == (0, self.num_words):
            return self._all_logits(query)
        return super().query_logits(query, start, stop)

    @override
    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        def losses(hidden: Tensor, words: Tensor) -> Tensor:
            return F.cross_entropy(self.logits(hidden), words, reduction="none")

        return -self._by_block(losses, hidden.flatten(0, 1), targets.flatten()).view(targets.shape)

    @override
    def log_partition(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
        return self._by_block(lambda hidden: self.logits(hidden).logsumexp(-1), hidden)

    @torch.no_grad()
    @override
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        check_count("k", k)
        blocks = []
        for block in hidden.split(self._block(len(hidden), hidden.device)):
            logits = self.logits(block)
            values, words = logits.topk(min(k, self.num_words), dim=-1)
            blocks.append((values - logits.logsumexp(-1, keepdim=True), words))
        return torch.cat([values for values, _ in blocks]), torch.cat([words for _, words in blocks])

    def _by_block(self, compute: Callable[..., Tensor], *columns: Tensor) -> Tensor:
        """``compute`` for a block of positions at a time, and again in the backward pass if not all logits fit."""
        num_positions = len(columns[0])
        blocks = zip(*(column.split(self._block(num_positions, column.device)) for column in columns), strict=True)
        fits = self.chunk_size is None and num_positions * self.num_words <= MAX_LOGITS
        if fits or not torch.is_grad_enabled():
            return torch.cat([compute(*block) for block in blocks])
        return torch.cat(
            [checkpoint(compute, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks]
        )

    def _block(self, num_positions: int, device: torch.device) -> int:
        """Number of positions per block."""
        if self.chunk_size is not None:
            return max(1, self.chunk_size * num_positions // self.num_words)
        # The dots of all sub-vectors are stored in addition to the logits.
        widest = max(self.num_words, self.map.num_subvectors)
        return max(_MIN_POSITIONS, (_CPU_BLOCK if device.type == "cpu" else MAX_LOGITS) // widest)

    def _part_spans(self) -> list[tuple[int, int]]:
        return [self.map.span(part) for part in range(self.map.num_parts)]

    def _numbers(self) -> Iterator[Int32[Tensor, "_ K"]]:
        """The map as int32, which the gather requires: the stored table if it is int32, otherwise chunks of words."""
        table = self.map.table()
        if table is not None and table.dtype == torch.int32:
            yield table
            return
        size = max(1, _MAP_CHUNK // self.map.num_parts)
        for words in torch.arange(self.num_words, device=self.subvectors.device).split(size):
            yield self.map(words).int()

    def _current_layout(self) -> _Layout:
        """The map and its inverse; during training, they are recomputed only if the map was modified or moved."""
        # Inference tensors do not count in-place updates.
        buffers = [(b.data_ptr(), None if b.is_inference() else b._version) for b in self.map.buffers()]
        version = (id(self.map), self.subvectors.device, buffers)
        if self._layout is not None and self._layout[0] == version:
            return self._layout[1]
        first, *rest = self._numbers()
        # A single chunk, such as a stored table, is not copied.
        numbers = torch.cat([first, *rest]) if rest else first
        layout = _Layout.from_numbers(numbers, self.map.num_subvectors, self._part_spans())
        self._layout = (version, layout) if self.training else None
        return layout

    def __getstate__(self) -> dict[str, Any]:
        # Copies compute their own layout.
        return {**self.__dict__, "_layout": None}

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        numbers = map_of_all_words(self.map, self.num_words)
        return Traceable(_AllWords(self, numbers), {"map of output sub-vectors": num_bytes(numbers)})


class _ConcatenatedSubvectors(VectorSource):
    """Vectors that are concatenations of the K sub-vectors of a word."""

    def __init__(self, map: SubvectorMap) -> None:
        self.map = map

    @override
    def locate(self, weights: Weights, words: slice | Int[Tensor, " S"]) -> Int[Tensor, "S K"]:
        return self.map(as_ids(words, weights))

    @override
    def read(self, weights: Weights, locations: Int[Tensor, "S K"]) -> Float[Tensor, "S P"]:
        return weights[0].index_select(0, locations.flatten()).view(len(locations), -1)

    @override
    def add(self, gradients: Weights, locations: Int[Tensor, "S K"], grad_vectors: Float[Tensor, "S P"]) -> None:
        gradients[0].index_add_(0, locations.flatten(), grad_vectors.reshape(locations.numel(), -1))


class _AllWords(nn.Module):
    """Algorithm 1 with the map as a table."""

    numbers: Tensor

    def __init__(self, output: SlimOutput, numbers: Tensor) -> None:
        super().__init__()
        self.spans = [output.map.span(part) for part in range(output.map.num_parts)]
        starts = torch.tensor([start for start, _ in self.spans])
        # Numbers relative to the start of a part are small and can be stored in narrow types.
        self.register_buffer("numbers", narrow_integers(numbers.long().T - starts[:, None]))
        self.subvectors, self.bias, self.projection = output.subvectors, output.bias, output.tied_projection

    def forward(self, hidden: Tensor) -> Tensor:
        if self.projection is not None:
            hidden = F.linear(hidden, self.projection)
        size = self.subvectors.shape[1]
        # (V, N), so that gathers read whole rows, which is several times faster than along the other axis.
        logits = self.bias[:, None]
        for part, (start, stop) in enumerate(self.spans):
            # The weights are the right operand, so that they can be quantized.
            dots = F.linear(hidden[:, part * size : (part + 1) * size], self.subvectors[start:stop])
            logits = logits + dots.T.index_select(0, self.numbers[part].long())
        return logits.T.log_softmax(-1)


class _Layout(NamedTuple):
    """A map and its inverse: the sub-vectors of each word, and the words of each sub-vector."""

    numbers: Int32[Tensor, "V K"]
    spans: list[tuple[int, int]]
    users: Int32[Tensor, " uses"]
    """The words, ordered by sub-vector."""
    offsets: Int32[Tensor, " starts"]
    """The start of the words of each sub-vector in ``users``, followed by the total number."""

    @classmethod
    def from_numbers(cls, numbers: Int32[Tensor, "V K"], num_subvectors: int, spans: list[tuple[int, int]]) -> _Layout:
        flat = numbers.flatten()
        users = flat.argsort(stable=True) // len(spans)
        sizes = flat.new_zeros(num_subvectors).index_add_(0, flat, torch.ones_like(flat))
        offsets = F.pad(sizes.cumsum(0), (1, 0))
        return cls(numbers, spans, users.int(), offsets.int())


def _dots(
    hidden: Float[Tensor, "N H"], subvectors: Float[Tensor, "M P"], spans: list[tuple[int, int]]
) -> Float[Tensor, "M N"]:
    """The K products of the sub-vectors in ``spans[i]`` and part i of the hidden states."""
    size = subvectors.shape[1]
    dots = hidden.new_empty(len(subvectors), len(hidden))
    with torch.no_grad():
        for part, (start, stop) in enumerate(spans):
            torch.mm(subvectors[start:stop], hidden[:, part * size : (part + 1) * size].T, out=dots[start:stop])
    return dots


def _logits_of_words(
    dots: Float[Tensor, "M N"], bias: Float[Tensor, " V"], numbers: Iterable[Int32[Tensor, "_ K"]]
) -> Float[Tensor, "N V"]:
    """The gather and the sum, which are transposed in chunks while the sums are in the cache.

    Args:
        dots: Dot products, one row per sub-vector, so that the gather reads whole rows.
        bias: Bias of each word.
        numbers: The sub-vectors of the words in order, in one or more chunks.
    """
    num_positions = dots.shape[1]
    chunk_size = max(1, _SUM_CHUNK // max(1, num_positions)) if dots.device.type == "cpu" else len(bias)
    logits = dots.new_empty(num_positions, len(bias))
    start = 0
    for chunk in (part for block in numbers for part in block.split(chunk_size)):
        stop = start + len(chunk)
        torch.add(F.embedding_bag(chunk, dots, mode="sum").T, bias[start:stop], out=logits[:, start:stop])
        start = stop
    assert start == len(bias)
    return logits


class _SharedLogits(torch.autograd.Function):
    """Algorithm 1 with a custom gradient.

    The gradient of the dot products is also a gather and a sum, over the words of each sub-vector.  This is several
    times faster than ``index_add``, and deterministic on all devices.
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
        grad_hidden, grad_subvectors = torch.empty_like(hidden), torch.empty_like(subvectors)
        for part, (start, stop) in enumerate(map.spans):
            own = slice(part * size, (part + 1) * size)
            torch.mm(dots[start:stop], hidden[:, own], out=grad_subvectors[start:stop])
            grad_hidden[:, own] = dots[start:stop].T @ subvectors[start:stop]
        return grad_hidden, grad_subvectors, gradient.sum(1), None
