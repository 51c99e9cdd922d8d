"""Word vectors from a convolution over the characters of each word (Kim et al. 2016, section 2; C-HSM in both papers).

The layers are character vectors, one-dimensional filters of several widths, tanh, the maximum over the positions in the
word, and highway layers, whose output is the word vector.  If an embedding size other than the number of features is
requested, which the paper does not have, a linear projection follows.  The number of parameters does not depend on the
number of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_count, check_counts
from lightrnn_pl.nn.characters import spell
from lightrnn_pl.nn.embeddings.word import WordEmbedding
from lightrnn_pl.nn.traceable import TableLookup, Traceable, num_bytes, vectors_of_all_words
from lightrnn_pl.vocabulary import Vocabulary

_CHUNK = 4096
"""Words whose vectors are computed at a time in evaluation."""

_MAX_WORD_LENGTH = 1000
"""Limits the memory of the spellings."""


class CharCNNEmbedding(WordEmbedding):
    """Computes the vector of a word from the vectors of its characters.

    Filters are applied to the windows inside a word, including its begin and end symbols.  A word that is shorter than
    a filter is padded with zeros to a single window.  The vector of a word does not depend on the other words of the
    batch.

    In training, the vector of each distinct word of a batch is computed once.  In evaluation without gradients, vectors
    are cached until parameters are modified or moved, or until ``train`` or ``eval`` is called.  Changes through
    ``parameter.data`` are not detected; call ``eval`` after them.

    Args:
        allocation: The word allocation.
        embedding_dim: D.  None selects the number of features, without a projection, as in the paper.
        vocabulary: The words to spell.
        char_dim: Size of a character vector.
        widths: Widths of the filters, in characters.
        features: Number of filters of each width.
        num_highway_layers: Number of :class:`Highway` layers.
        max_word_length: Longer words are truncated to this number of characters.
        steps_per_word: 1, or the number of codes per word (the default); see :class:`Embedding`.

    Raises:
        ValueError: If an argument is out of range.
    """

    spelling: Tensor

    def __init__(
        self,
        allocation: WordAllocation,
        embedding_dim: int | None,
        vocabulary: Vocabulary,
        char_dim: int = 15,
        widths: Sequence[int] = (1, 2, 3, 4, 5, 6),
        features: Sequence[int] = (25, 50, 75, 100, 125, 150),
        num_highway_layers: int = 1,
        max_word_length: int = 65,
        steps_per_word: int | None = None,
    ) -> None:
        widths = check_counts("model.embedding.widths", widths)
        features = check_counts("model.embedding.features", features)
        if not widths or len(widths) != len(features):
            raise ValueError(
                f"model.embedding.widths={widths} and model.embedding.features={features} must be non-empty lists of "
                "the same length, with a number of filters for each width"
            )
        check_count("model.embedding.max_word_length", max_word_length)
        for key, length in (("widths", max(widths)), ("max_word_length", max_word_length)):
            if length > _MAX_WORD_LENGTH:
                raise ValueError(f"model.embedding.{key} must be at most {_MAX_WORD_LENGTH} characters, got {length}")
        num_features = sum(features)
        super().__init__(allocation, num_features if embedding_dim is None else embedding_dim, steps_per_word)
        check_count("model.embedding.char_dim", char_dim)
        check_count("model.embedding.num_highway_layers", num_highway_layers, at_least=0, at_most=1000)
        spelling = spell(vocabulary, max_word_length, min_row_length=max(widths))
        self.padding = spelling.padding
        # Not saved, because it is determined by the vocabulary, which is saved with the model.
        self.register_buffer("spelling", spelling.table, persistent=False)
        self.characters = nn.Embedding(spelling.num_symbols, char_dim)
        self.filters = nn.ModuleList(
            nn.Conv1d(char_dim, count, width) for width, count in zip(widths, features, strict=True)
        )
        self.highway = nn.Sequential(*(Highway(num_features) for _ in range(num_highway_layers)))
        self.projection = (
            nn.Identity() if num_features == self.embedding_dim else nn.Linear(num_features, self.embedding_dim)
        )
        self._cache: _Cache | None = None

    @property
    @override
    def table_bytes(self) -> int:
        return self.spelling.numel() * self.spelling.element_size()

    @override
    def initialise(self, scale: float) -> None:
        super().initialise(scale)
        for layer in self.highway:
            assert isinstance(layer, Highway)
            nn.init.uniform_(layer.gate.bias, Highway.GATE_BIAS - scale, Highway.GATE_BIAS + scale)

    @override
    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        if self.training or torch.is_grad_enabled() or not words.numel():
            distinct, index = words.unique(return_inverse=True)
            return self.compose(distinct)[index]
        return self._cached_vectors(words)

    def compose(self, words: Int[Tensor, " U"]) -> Float[Tensor, "U D"]:
        """The vector of each word, computed from its characters."""
        symbols = self.spelling[words].long()
        lengths = (symbols != self.padding).sum(1)
        longest = max(filters.kernel_size[0] for filters in self._filters())
        if len(words):
            longest = max(longest, int(lengths.max()))
        # Padding has a zero vector that is not trained.
        characters = F.pad(self.characters.weight, (0, 0, 0, 1))
        vectors = F.embedding(symbols[:, :longest], characters).transpose(1, 2)
        features = [self._max_over_windows(filters, vectors, lengths) for filters in self._filters()]
        return self.projection(self.highway(torch.cat(features, 1)))

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        num_words = self.allocation.num_words
        table = vectors_of_all_words(self, self.word_vectors, num_words, self.embedding_dim, max_bytes)
        return Traceable(TableLookup(table), {"vectors of all words": num_bytes(table)})

    @override
    def train(self, mode: bool = True) -> CharCNNEmbedding:
        self._cache = None
        return super().train(mode)

    def _filters(self) -> list[nn.Conv1d]:
        return [filters for filters in self.filters if isinstance(filters, nn.Conv1d)]

    def _max_over_windows(
        self, filters: nn.Conv1d, vectors: Float[Tensor, "U C L"], lengths: Int[Tensor, " U"]
    ) -> Float[Tensor, "U filters"]:
        """The maximum of each filter over the windows of each word, after tanh."""
        activations = filters(vectors)
        num_windows = (lengths - filters.kernel_size[0] + 1).clamp(min=1)
        outside = torch.arange(activations.shape[2], device=activations.device) >= num_windows[:, None]
        # tanh is monotonic, so it can be applied after the maximum, to far fewer numbers.
        return activations.masked_fill(outside[:, None], float("-inf")).amax(2).tanh()

    def _cached_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        version = self._parameter_version()
        if self._cache is None or self._cache.version != version:
            self._cache = None
        distinct = words.unique()
        missing = distinct if self._cache is None else distinct[~self._cache.is_valid[distinct]]
        for chunk in missing.split(_CHUNK) if len(missing) else ():
            vectors = self.compose(chunk)
            if self._cache is None:
                # An ordinary tensor even in inference mode, so that it can be written to outside of inference mode.
                with torch.inference_mode(False):
                    shape = (self.allocation.num_words, self.embedding_dim)
                    table = torch.empty(shape, dtype=vectors.dtype, device=vectors.device)
                    is_valid = torch.zeros(shape[0], dtype=torch.bool, device=vectors.device)
                self._cache = _Cache(version, table, is_valid)
            self._cache.vectors[chunk] = vectors
            self._cache.is_valid[chunk] = True
        assert self._cache is not None
        return self._cache.vectors[words]

    def _parameter_version(self) -> tuple[Any, ...]:
        """A value that changes whenever the vectors change: PyTorch counts the in-place updates of a tensor."""
        device = self.spelling.device.type
        autocast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        versions = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.parameters()]
        return (autocast, *versions)

    def _apply(self, *args: Any, **options: Any) -> CharCNNEmbedding:
        self._cache = None
        return super()._apply(*args, **options)

    def __getstate__(self) -> dict[str, Any]:
        # Copies start with an empty cache.
        return {**self.__dict__, "_cache": None}


class Highway(nn.Module):
    """y = t * relu(W x + b) + (1 - t) * x, t = sigmoid(U x + c) (Srivastava et al. 2015)."""

    GATE_BIAS = -2.0
    """The mean of the initial c, with which most of the input is carried over unchanged (HighwayMLP.lua of Kim et al.
    2016 adds it to a bias that is initialized as all other parameters)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.transform = nn.Linear(size, size)
        self.gate = nn.Linear(size, size)

    def forward(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        """(N, F) -> (N, F)."""
        gate = self.gate(features).sigmoid()
        return features + gate * (self.transform(features).relu() - features)


@dataclass
class _Cache:
    """The word vectors for one version of the parameters, and which of them are valid."""

    version: tuple[Any, ...]
    vectors: Float[Tensor, "V D"]
    is_valid: Bool[Tensor, " V"]
