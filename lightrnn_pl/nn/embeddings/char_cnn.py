"""Word vectors made of the words' characters by convolution (Kim et al. 2016, section 2; C-HSM in both papers).

Character vectors, one-dimensional filters of several widths, tanh, the maximum over the places in the word, highway
layers, and a linear map where their size is not the step vectors'.  So the number of parameters does not depend on
the number of words.  Knows spelling from the vocabulary, and nothing of what words occur together.
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

_AT_ONCE = 4096
"""Words that are convolved at a time where no gradient is wanted."""


class CharCNNEmbedding(WordEmbedding):
    """Vectors of words from vectors of their characters.

    A filter sees windows that lie inside the word, its begin and end symbols included; a word that is shorter than the
    filter is filled up with zeros to one window.  So a word's vector does not depend on its neighbours in the batch.

    In training, the different words of a batch are convolved once each.  In evaluation without gradients a word's
    vector is kept and used again until parameters change or move, or ``train`` or ``eval`` is called.  (What is
    written through ``parameter.data`` goes unnoticed: call ``eval`` after it.)

    Args:
        allocation: The word table.
        embedding_dim: D.
        vocabulary: The words to spell.
        char_dim: Size of a character's vector.
        widths: Characters that a filter sees.
        features: How many filters of each width.
        num_highway_layers: y = t * relu(W x + b) + (1 - t) * x with t = sigmoid(U x + c), one on the other.
        max_word_length: Characters after which a word is cut off.

    Raises:
        ValueError: For impossible sizes.
    """

    spelling: Tensor

    def __init__(
        self,
        allocation: WordAllocation,
        embedding_dim: int,
        vocabulary: Vocabulary,
        char_dim: int = 15,
        widths: Sequence[int] = (1, 2, 3, 4, 5, 6),
        features: Sequence[int] = (25, 50, 75, 100, 125, 150),
        num_highway_layers: int = 1,
        max_word_length: int = 65,
    ) -> None:
        super().__init__(allocation, embedding_dim)
        check_count("model.embedding.char_dim", char_dim)
        check_count("model.embedding.num_highway_layers", num_highway_layers, at_least=0)
        widths = check_counts("model.embedding.widths", widths)
        features = check_counts("model.embedding.features", features)
        if not widths or len(widths) != len(features):
            raise ValueError(
                f"model.embedding.widths={widths} and model.embedding.features={features} must be lists of "
                "one length, a number of filters for each width"
            )
        spelled = spell(vocabulary, max_word_length, shortest_row=max(widths))
        self.padding = spelled.padding
        # The vocabulary says it all, and whoever keeps the model keeps the vocabulary.
        self.register_buffer("spelling", spelled.table, persistent=False)
        num_features = sum(features)
        self.characters = nn.Embedding(spelled.num_symbols, char_dim)
        self.filters = nn.ModuleList(
            nn.Conv1d(char_dim, count, width) for width, count in zip(widths, features, strict=True)
        )
        self.highway = nn.Sequential(*(Highway(num_features) for _ in range(num_highway_layers)))
        self.projection = nn.Identity() if num_features == embedding_dim else nn.Linear(num_features, embedding_dim)
        self._kept: _Kept | None = None

    @property
    def table_bytes(self) -> int:
        """See :class:`Part`: the spelling of all words."""
        return self.spelling.numel() * self.spelling.element_size()

    def initialise(self, scale: float) -> None:
        """See :class:`Part`; highway layers begin with carrying most of their input."""
        super().initialise(scale)
        for layer in self.highway:
            assert isinstance(layer, Highway)
            nn.init.constant_(layer.gate.bias, Highway.FIRST_GATE)

    def word_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        """See :class:`WordEmbedding`."""
        if self.training or torch.is_grad_enabled() or not words.numel():
            found, place = words.unique(return_inverse=True)
            return self.compose(found)[place]
        return self._kept_vectors(words)

    def compose(self, words: Int[Tensor, " U"]) -> Float[Tensor, "U D"]:
        """The vector of each word, computed from its characters."""
        spelled = self.spelling[words].long()
        lengths = (spelled != self.padding).sum(1)
        longest = max(filters.kernel_size[0] for filters in self._filters())
        if len(words):
            longest = max(longest, int(lengths.max()))
        # Padding is one more character, whose vector is zero and not trained.
        characters = F.pad(self.characters.weight, (0, 0, 0, 1))
        vectors = F.embedding(spelled[:, :longest], characters).transpose(1, 2)
        features = [self._strongest(filters, vectors, lengths) for filters in self._filters()]
        return self.projection(self.highway(torch.cat(features, 1)))

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        num_words = self.allocation.num_words
        table = vectors_of_all_words(self, self.word_vectors, num_words, self.embedding_dim, max_bytes)
        return Traceable(TableLookup(table), {"vectors of all words": num_bytes(table)})

    def train(self, mode: bool = True) -> CharCNNEmbedding:
        """See ``torch.nn.Module``."""
        self._kept = None
        return super().train(mode)

    def _filters(self) -> list[nn.Conv1d]:
        return [filters for filters in self.filters if isinstance(filters, nn.Conv1d)]

    def _strongest(
        self, filters: nn.Conv1d, vectors: Float[Tensor, "U C L"], lengths: Int[Tensor, " U"]
    ) -> Float[Tensor, "U filters"]:
        """The largest answer of each filter in each word."""
        answers = filters(vectors)
        num_windows = (lengths - filters.kernel_size[0] + 1).clamp(min=1)
        outside = torch.arange(answers.shape[2], device=answers.device) >= num_windows[:, None]
        # tanh rises, so that it may come after the maximum, on far fewer numbers.
        return answers.masked_fill(outside[:, None], float("-inf")).amax(2).tanh()

    def _kept_vectors(self, words: Int[Tensor, "*N"]) -> Float[Tensor, "*N D"]:
        state = self._state()
        if self._kept is None or self._kept.state != state:
            self._kept = None
        found = words.unique()
        new = found if self._kept is None else found[~self._kept.known[found]]
        for few in new.split(_AT_ONCE) if len(new) else ():
            vectors = self.compose(few)
            if self._kept is None:
                # Also in inference mode an ordinary tensor, which may be written to outside of it.
                with torch.inference_mode(False):
                    shape = (self.allocation.num_words, self.embedding_dim)
                    room = torch.empty(shape, dtype=vectors.dtype, device=vectors.device)
                    known = torch.zeros(shape[0], dtype=torch.bool, device=vectors.device)
                self._kept = _Kept(state, room, known)
            self._kept.vectors[few] = vectors
            self._kept.known[few] = True
        assert self._kept is not None
        return self._kept.vectors[words]

    def _state(self) -> tuple[Any, ...]:
        """What changes whenever the vectors do: PyTorch counts what is written to a tensor."""
        device = self.spelling.device.type
        autocast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        versions = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.parameters()]
        return (autocast, *versions)

    def _apply(self, *args: Any, **options: Any) -> CharCNNEmbedding:
        self._kept = None
        return super()._apply(*args, **options)

    def __getstate__(self) -> dict[str, Any]:
        # A copy computes its own.
        return {**self.__dict__, "_kept": None}


class Highway(nn.Module):
    """y = t * relu(W x + b) + (1 - t) * x, t = sigmoid(U x + c) (Srivastava et al. 2015)."""

    FIRST_GATE = -2.0
    """c at first: little is transformed, most is carried (Kim et al. 2016, section 4.1)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.transform = nn.Linear(size, size)
        self.gate = nn.Linear(size, size)

    def forward(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        """The features, some of them transformed."""
        gate = self.gate(features).sigmoid()
        return features + gate * (self.transform(features).relu() - features)


@dataclass
class _Kept:
    """Vectors of words, and which of them have been computed for which state of the parameters."""

    state: tuple[Any, ...]
    vectors: Float[Tensor, "V D"]
    known: Bool[Tensor, " V"]
